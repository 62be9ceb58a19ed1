"""How the functions of this room's kernels are compiled: with or without counting references to arrays.

Numba lets a function inherit that choice from whoever calls it first, so one that returns arrays has to say that it
counts: compiled for an uncounted caller, it would hand arrays that nobody counted to the next, who would free them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from numba import njit

_compile: Any = partial(njit, cache=True, nogil=True)  # `_nrt` is an option that numba uses and does not declare

uncounted: Any = _compile(_nrt=False)
"""For functions that neither allocate nor return arrays: counting references to all the arrays of a state, and to all
views of one row of them, would take two thirds of the time of a step."""

uncounted_inline: Any = _compile(_nrt=False, forceinline=True)
"""As `uncounted`, a copy in every caller."""

counted: Any = _compile(_nrt=True)
"""For functions that return arrays and have both kinds of callers."""

counted_inline: Any = _compile(_nrt=True, forceinline=True)
"""As `counted`, a copy in every caller."""
