"""How kernels are compiled: every compiled function of the house carries one of these decorators.

The one file of this room that needs numba. Whoever imports it has a kernel, so numba is loaded with the kernels and by
nobody else. Compiled code is cached on disk and runs without the interpreter lock.

Counting references to all the arrays of a state at every call, and to all views of one row of them, takes two thirds of
the time of a step, so functions that neither allocate nor return arrays do without. Numba lets a function inherit that
choice from whoever calls it first, so one that returns arrays has to say that it counts: compiled for an uncounted
caller, it would hand arrays that nobody counted to the next, who would free them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
_compile: Any = partial(njit, nogil=True, cache=True)  # `_nrt` is an option that numba uses and does not declare


def compiled(function: _Function) -> _Function:
    """Compile a function; whether it counts is up to its callers."""
    return cast(_Function, _compile()(function))


def compiled_ieee(function: _Function) -> _Function:
    """As `compiled`; a division by zero gives infinity or NaN, as in numpy, and a loop of divisions vectorises."""
    return cast(_Function, _compile(error_model="numpy")(function))


def compiled_uncached(function: _Function) -> _Function:
    """As `compiled`, for a loop around a function of the user's: numba caches no closure over a compiled function."""
    return cast(_Function, _compile(cache=False)(function))


def uncounted(function: _Function) -> _Function:
    """Compile a function that neither allocates nor returns arrays."""
    return cast(_Function, _compile(_nrt=False)(function))


def uncounted_inline(function: _Function) -> _Function:
    """As `uncounted`, a copy in every caller: handing over a dozen arrays costs more than what a small part does."""
    return cast(_Function, _compile(_nrt=False, forceinline=True)(function))


def counted(function: _Function) -> _Function:
    """Compile a function that returns arrays and has both kinds of callers."""
    return cast(_Function, _compile(_nrt=True)(function))


def counted_inline(function: _Function) -> _Function:
    """As `counted`, a copy in every caller."""
    return cast(_Function, _compile(_nrt=True, forceinline=True)(function))
