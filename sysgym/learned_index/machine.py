"""What numba lacks for fast lookups: cache prefetch, counting in one block of keys, arrays behind an address.

Each function has a plain Python body, which says what it means and runs where numba is switched off, and a compiled
one, registered with `overload`, that emits the LLVM instructions for it. Nothing here knows of indexes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

BLOCK = 16
"""Keys that `count_less` looks at: two cache lines of 64-bit keys, two vector registers of 512 bits."""


class Form(NamedTuple):
    """How stored keys become numbers of the same order: `key ^ sign ^ (flip * (key >> shift))`, see `keys`.

    Attributes:
        sign: Bits that are always turned over.
        flip: Bits that are turned over where the top bit is set.
        shift: Position of the top bit.
    """

    sign: np.uint64
    flip: np.uint64
    shift: np.uint64


IDENTITY = Form(np.uint64(0), np.uint64(0), np.uint64(63))
"""Of numbers that are in order as they are."""


class _Memory:
    """An address in the form that numpy makes an array of."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}
        self.owner = array


def unlocked(array: NDArray[Any]) -> NDArray[Any]:
    """A view that numba takes for writeable: else every kernel would be compiled a second time for read-only arrays.

    Kernels never write to keys, queries or parts of an index.
    """
    return array if array.flags.writeable or not array.size else np.asarray(_Memory(array))


def prefetch(array: NDArray[Any], index: Any) -> None:
    """Ask the machine to bring the cache line of `array[index]` near; the index may lie outside of the array."""


def count_less(keys: NDArray[Any], start: Any, query: Any, form: Any) -> int:
    """How many of `keys[start : start + BLOCK]` map below `query`, without a branch.

    Args:
        keys: Stored keys, unsigned.
        start: Of the block; the whole block must lie inside of the array.
        query: Mapped query, uint64.
        form: See `Form`.
    """
    count, (sign, flip, shift) = 0, map(int, form)
    for i in range(start, start + BLOCK):
        key = int(keys[i])
        count += (key ^ sign ^ (flip * (key >> shift))) < int(query)
    return count


def count_below(values: NDArray[np.uint64], start: Any, query: Any) -> int:
    """How many of `values[start : start + BLOCK]` are below `query`; the values are mapped already."""
    return int(np.count_nonzero(values[start : start + BLOCK] < np.uint64(query)))


def popcount(word: Any) -> int:
    """Number of set bits of an unsigned 64-bit word."""
    return int(word).bit_count()


@overload(popcount, strict=False)
def _overload_popcount(word: Any) -> Any:
    return lambda word: _popcount(word)  # type: ignore[call-arg]  # noqa: PLW0108  a function of its own, as numba asks


@intrinsic
def _popcount(_typing: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@overload(prefetch, strict=False)  # annotations differ from the inner function's
def _overload_prefetch(array: Any, index: Any) -> Any:
    return lambda array, index: _prefetch(array, index)  # type: ignore[call-arg]  # noqa: PLW0108


@overload(count_less, strict=False)  # annotations differ from the inner function's
def _overload_count_less(keys: Any, start: Any, query: Any, form: Any) -> Any:
    return lambda keys, start, query, form: _count_less(keys, start, query, form.sign, form.flip)  # type: ignore[call-arg]


@overload(count_below, strict=False)  # annotations differ from the inner function's
def _overload_count_below(values: Any, start: Any, query: Any) -> Any:
    return lambda values, start, query: _count_below(values, start, query)  # type: ignore[call-arg]  # noqa: PLW0108


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Pointer to an element, without a bounds check or wrap-around."""
    struct = context.make_array(array_type)(context, builder, array)
    return builder.gep(struct.data, [index])


@intrinsic
def _prefetch(_typing: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _address(context, builder, array, *arguments)
        byte_pointer = builder.bitcast(pointer, cgutils.voidptr_t)
        number = ir.IntType(32)
        callee = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number]),
            "llvm.prefetch.p0",
        )
        builder.call(callee, [byte_pointer, number(0), number(3), number(1)])  # read, keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _count(builder: Any, mapped: Any, query: Any) -> Any:
    """Population count of `mapped < query`, lane by lane."""
    lanes = mapped.type.count
    splat = builder.shuffle_vector(
        builder.insert_element(ir.Constant(mapped.type, ir.Undefined), query, ir.IntType(32)(0)),
        ir.Constant(mapped.type, ir.Undefined),
        ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes),
    )
    less = builder.icmp_unsigned("<", mapped, splat)
    bits = builder.bitcast(less, ir.IntType(lanes))
    return builder.zext(builder.ctpop(bits), ir.IntType(64))


def _load_block(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    width = array_type.dtype.bitwidth
    vector = ir.VectorType(ir.IntType(width), BLOCK)
    pointer = builder.bitcast(_address(context, builder, array_type, array, index), vector.as_pointer())
    return builder.load(pointer, align=width // 8)


@intrinsic
def _count_below(_typing: Any, values: Any, start: Any, query: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _count(builder, _load_block(context, builder, values, arguments[0], arguments[1]), arguments[2])

    return types.int64(values, types.intp, types.uint64), generate


@intrinsic
def _count_less(_typing: Any, keys: Any, start: Any, query: Any, sign: Any, flip: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        raw = _load_block(context, builder, keys, arguments[0], arguments[1])
        width = raw.type.element
        undefined = ir.Constant(raw.type, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)

        def spread(value: Any) -> Any:
            narrow = value if width.width == 64 else builder.trunc(value, width)
            return builder.shuffle_vector(
                builder.insert_element(undefined, narrow, ir.IntType(32)(0)), undefined, lanes
            )

        negative = builder.ashr(raw, ir.Constant(raw.type, [width.width - 1] * BLOCK))
        mapped = builder.xor(builder.xor(raw, spread(arguments[3])), builder.and_(negative, spread(arguments[4])))
        if width.width < 64:
            mapped = builder.zext(mapped, ir.VectorType(ir.IntType(64), BLOCK))
        return _count(builder, mapped, arguments[2])

    return types.int64(keys, types.intp, types.uint64, types.uint64, types.uint64), generate
