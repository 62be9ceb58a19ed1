"""What a key is: every supported type as an order-preserving map to 64-bit unsigned integers, and queries put into it.

All structures search one kind of number. A stored key stays where the user has it; kernels read its bits as an
unsigned integer and map them by `key ^ sign ^ (flip if its top bit is set)`:

- unsigned integers as they are; signed ones with the sign bit turned over;
- floats with the sign bit turned over, and all other bits too where it was set; -0.0 counts as 0.0;
- datetime64 and timedelta64 as int64; byte strings of up to 8 bytes as big-endian integers, padded with zeros.

A query of another type than the keys is converted exactly or refused, never through a common float. After the map
`right(q) = left(q + 1)`, so that one kernel answers both sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.errors import KeyTypeError, KeyValueError, UnknownNameError
from sysgym.learned_index.machine import Form, unlocked

SUPPORTED = "integers, floats of 16 to 64 bits, datetime64, timedelta64, byte strings of up to 8 bytes"
_TOP = 1 << 64


@dataclass(frozen=True)
class Codec:
    """The map of one key type.

    Attributes:
        dtype: Type of the keys, in the machine's byte order.
        storage: Unsigned integer type of the same width, in which kernels read the keys.
        form: How they become numbers of the same order.
    """

    dtype: np.dtype[Any]
    storage: np.dtype[Any]
    form: Form


@dataclass(frozen=True)
class Mapped:
    """Queries as the kernels take them: the answer is left(values + step), and n where `above`.

    Attributes:
        values: Mapped queries, shape (m,), uint64.
        step: 1 asks for the right side.
        above: Which queries are larger than every possible key, or None.
    """

    values: NDArray[np.uint64]
    step: np.uint64
    above: NDArray[np.bool_] | None = None


def codec_of(dtype: np.dtype[Any]) -> Codec:
    """The map of a key type.

    Raises:
        KeyTypeError: Such keys have no exact order in 64 bits.
    """
    dtype = dtype.newbyteorder("=")
    kind, width = dtype.kind, 8 * dtype.itemsize
    if kind == "S" and width <= 64:
        width = 64
    elif kind not in "uifmM" or width > 64:
        raise KeyTypeError(f"keys of type {dtype} are not supported; give {SUPPORTED}")
    sign = 0 if kind in "uS" else 1 << (width - 1)
    flip = (1 << (width - 1)) - 1 if kind == "f" else 0
    form = Form(np.uint64(sign), np.uint64(flip), np.uint64(width - 1))
    return Codec(dtype, np.dtype(f"u{width // 8}"), form)


def prepare_keys(keys: Any, *, sort: bool = False) -> tuple[NDArray[Any], NDArray[Any], Codec]:
    """Check keys and give them as an array, as unsigned integers over the same memory, and their map.

    Contiguous arrays of the machine's byte order are not copied, unless they are byte strings, hold -0.0, or are
    to be sorted.

    Args:
        keys: Sorted keys, one-dimensional; duplicates are allowed.
        sort: Sort a copy first.

    Raises:
        KeyValueError: Unsorted, NaN or NaT among them, not one-dimensional.
        KeyTypeError: Objects, text, complex numbers and other types without an exact order here.
    """
    array = _as_array(keys, "keys")
    if array.ndim != 1:
        raise KeyValueError(f"keys have {array.ndim} dimensions; give a one-dimensional array")
    codec = codec_of(array.dtype)
    _refuse_unordered(array, "keys")
    array = np.ascontiguousarray(array, dtype=codec.dtype)
    if sort:
        array = np.sort(array, kind="stable")
    stored = store(array, codec)
    if codec.dtype.kind == "f" and bool((stored == codec.form.sign.astype(codec.storage)).any()):
        array = array + codec.dtype.type(0)  # -0.0 becomes 0.0; their bits would not sort
        stored = store(array, codec)
    descent = int(first_descent(stored, codec.form))
    if descent >= 0:
        pair = f"{array[descent]!s} before {array[descent + 1]!s}"
        raise KeyValueError(f"keys are not sorted: {pair} at position {descent}; sort them or build with sort=True")
    return array, stored, codec


def store(array: NDArray[Any], codec: Codec) -> NDArray[Any]:
    """Keys as unsigned integers; the same memory but for byte strings."""
    if codec.dtype.kind != "S":
        return array.view(codec.storage)
    padded = np.zeros((len(array), 8), dtype=np.uint8)
    if codec.dtype.itemsize:
        padded[:, : codec.dtype.itemsize] = array.view(np.uint8).reshape(len(array), codec.dtype.itemsize)
    return padded.view(">u8").ravel().astype(np.uint64)


def side_step(side: str) -> int:
    """0 for "left", 1 for "right".

    Raises:
        UnknownNameError: Any other word.
    """
    if side == "left":
        return 0
    if side == "right":
        return 1
    raise UnknownNameError("side", side, ("left", "right"))


def query_array(queries: Any) -> NDArray[Any]:
    """Queries as an array, Python numbers unrounded (then as objects)."""
    return _as_array(queries, "queries", exact=False)


def map_queries(queries: NDArray[Any], codec: Codec, side: str) -> Mapped:
    """Put queries of any supported type into the order of the keys, exactly.

    Args:
        queries: What `query_array` gave, any shape.
        codec: Of the keys.
        side: "left" or "right".

    Raises:
        KeyValueError: NaN or NaT among them.
        KeyTypeError: A type that cannot be compared with the keys exactly.
        UnknownNameError: Another side.
    """
    step = side_step(side)
    flat = queries.reshape(-1)
    if flat.dtype == object:
        return _map_python_numbers(flat, codec, step)
    _refuse_unordered(flat, "queries")
    kind, own = flat.dtype.kind, codec.dtype.kind
    if own in "mM" and flat.dtype != codec.dtype:
        flat, kind = _convert_time(flat, codec), own
    if flat.dtype == codec.dtype and own != "S":
        return Mapped(_map_own(np.ascontiguousarray(flat, dtype=codec.dtype), codec), np.uint64(step))
    if own in "ui" and kind in "ui":
        return _clamped(flat, _outside(flat, codec), codec, step)
    if own in "ui" and kind == "f" and flat.dtype.itemsize <= 8:
        return _map_floats_on_integers(flat.astype(np.float64), codec, step)
    if own == "f" and (kind in "ui" or (kind == "f" and flat.dtype.itemsize <= 8)):
        return _map_on_floats(flat, codec, step)
    if own == "S" and kind == "S":
        return _map_bytes(flat, step)
    raise KeyTypeError(f"queries of type {flat.dtype} cannot be compared exactly with keys of type {codec.dtype}")


def _as_array(values: Any, what: str, *, exact: bool = True) -> NDArray[Any]:
    """Whatever numpy takes, without its silent rounding of Python integers to floats."""
    if isinstance(values, np.ndarray | np.generic):
        array = np.asarray(values)
    else:
        try:
            array = np.asarray(values)
        except (ValueError, OverflowError) as error:
            raise KeyTypeError(f"{what} are no array of one type: {error}") from error
        if array.dtype.kind in "fO" and array.size:
            array = _unrounded(values, array, what, exact)
    if array.dtype == object and not exact and not isinstance(values, np.ndarray):
        return array
    if array.dtype.kind in "ObcUV" or array.dtype == object:
        raise KeyTypeError(f"{what} of type {array.dtype} are not supported; give {SUPPORTED}")
    return array


def _unrounded(values: Any, array: NDArray[Any], what: str, exact: bool) -> NDArray[Any]:
    """The array, if it holds the given Python numbers unchanged; else an array of objects where that may be."""
    objects = np.asarray(values, dtype=object)
    numbers = all(
        isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool) for x in objects.flat
    )
    if not numbers:
        raise KeyTypeError(f"{what} of mixed or unknown types are not supported; give {SUPPORTED}")
    same = array.dtype.kind == "f" and all(
        isinstance(x, float | np.floating) or (math.isfinite(y) and int(y) == int(x))
        for x, y in zip(objects.flat, array.flat, strict=True)
    )
    if same:
        return array
    if exact:
        raise KeyTypeError(f"{what} mix numbers that no 64-bit type holds together; give an array of one type")
    return objects


def _refuse_unordered(array: NDArray[Any], what: str) -> None:
    if array.dtype.kind == "f" and bool(np.isnan(array).any()):
        raise KeyValueError(f"{what} contain NaN, which has no place in an order; remove it")
    if array.dtype.kind in "mM" and bool(np.isnat(array).any()):
        raise KeyValueError(f"{what} contain NaT, which has no place in an order; remove it")


def _bounds(codec: Codec) -> tuple[int, int]:
    """Smallest and largest integer of the keys' type."""
    limits = np.iinfo(codec.dtype)
    return int(limits.min), int(limits.max)


def _map_own(array: NDArray[Any], codec: Codec) -> NDArray[np.uint64]:
    """Map values of the keys' own type."""
    if codec.dtype == np.uint64:
        return array
    if codec.dtype.kind == "f":
        array = array + codec.dtype.type(0)
    mapped = np.empty(len(array), dtype=np.uint64)
    map_stored(array.view(codec.storage), codec.form, mapped)
    return mapped


def _stepped(values: NDArray[np.uint64], step: Any, above: NDArray[np.bool_]) -> Mapped:
    """Add a step that differs by query; what overflows is above all keys."""
    steps = np.broadcast_to(np.asarray(step, dtype=np.uint64), values.shape)
    above = above | ((steps == 1) & (values == np.uint64(_TOP - 1)))
    return Mapped(values + steps, np.uint64(0), above if above.any() else None)


def _outside(flat: NDArray[Any], codec: Codec) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    low, high = _bounds(codec)
    return flat < low, flat > high


def _clamped(
    flat: NDArray[Any], outside: tuple[NDArray[np.bool_], NDArray[np.bool_]], codec: Codec, step: int
) -> Mapped:
    """Integers, or whole floats, on integer keys; what is outside their range has answer 0 or n."""
    below, above = outside
    inside = ~(below | above)
    own = np.zeros(flat.shape, dtype=codec.dtype)
    own[inside] = flat[inside].astype(codec.dtype)
    values = _map_own(own, codec)
    values[below] = 0
    return _stepped(values, np.where(below, 0, step), above)


def _map_floats_on_integers(flat: NDArray[np.float64], codec: Codec, step: int) -> Mapped:
    whole = np.floor(flat) if step else np.ceil(flat)
    low, high = _bounds(codec)
    return _clamped(whole, (whole < float(low), whole >= float(high + 1)), codec, step)


def _map_on_floats(flat: NDArray[Any], codec: Codec, step: int) -> Mapped:
    """Each query becomes the smallest key that is not below it; the right side steps over it only where it is equal."""
    wide, exact = _ceil_to_float64(flat) if flat.dtype.kind in "ui" else (flat.astype(np.float64), True)
    with np.errstate(over="ignore"):  # what lies above the largest number is infinity
        near = wide.astype(codec.dtype)
        near = np.where(near < wide, np.nextafter(near, codec.dtype.type(np.inf)), near)
    equal = exact & (near == wide)
    values = _map_own(np.ascontiguousarray(near), codec)
    return _stepped(values, np.where(equal, step, 0), np.zeros(flat.shape, dtype=np.bool_))


def _ceil_to_float64(flat: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Smallest float that is not below each integer, and whether it is equal."""
    near = flat.astype(np.float64)
    limit = float(int(np.iinfo(flat.dtype).max) + 1)
    beyond = near >= limit
    back = np.where(beyond, 0, near).astype(flat.dtype)
    wide = np.where(~beyond & (back < flat), np.nextafter(near, np.inf), near)
    return wide, ~beyond & (back == flat)


def exact_queries(array: NDArray[Any], codec: Codec) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Mapped queries, and which of them are numbers that the keys' type holds: only those can be equal to a key."""
    if array.ndim == 0 and array.dtype.kind in "ui" and codec.dtype.kind in "ui":
        limits = np.iinfo(codec.dtype)
        if limits.min <= int(array) <= limits.max:
            array = array.astype(codec.dtype)  # the short way for one number
    left = map_queries(array, codec, "left")
    if array.dtype == codec.dtype and codec.dtype.kind != "S":
        return unlocked(left.values), np.ones(array.size, dtype=np.bool_)
    right = map_queries(array, codec, "right")
    held = right.values + right.step != left.values
    if left.above is not None:
        held &= ~left.above
    return left.values, held


def _map_bytes(flat: NDArray[Any], step: int) -> Mapped:
    """Byte strings; one longer than 8 bytes lies just behind its first 8."""
    size = flat.dtype.itemsize
    if size <= 8:
        return Mapped(store(np.ascontiguousarray(flat), codec_of(flat.dtype)), np.uint64(step))
    letters = np.ascontiguousarray(flat).view(np.uint8).reshape(len(flat), size)
    values = np.ascontiguousarray(letters[:, :8]).view(">u8").ravel().astype(np.uint64)
    longer = letters[:, 8:].any(axis=1)
    return _stepped(values, np.where(longer, 1, step), np.zeros(len(flat), dtype=np.bool_))


def _convert_time(flat: NDArray[Any], codec: Codec) -> NDArray[Any]:
    """Times in another unit, if every one is a whole number of the keys' unit."""
    if flat.dtype.kind == codec.dtype.kind:
        converted = flat.astype(codec.dtype)
        if bool((converted.astype(flat.dtype) == flat).all()) and bool((converted == flat).all()):
            return converted
    raise KeyTypeError(f"queries of type {flat.dtype} cannot be converted exactly to keys of type {codec.dtype}")


def _map_python_numbers(flat: NDArray[Any], codec: Codec, step: int) -> Mapped:
    """Python integers of any size among numbers, one at a time."""
    if codec.dtype.kind not in "uif":
        raise KeyTypeError(f"numbers cannot be compared with keys of type {codec.dtype}")
    values, above = np.zeros(len(flat), dtype=np.uint64), np.zeros(len(flat), dtype=np.bool_)
    for i, query in enumerate(flat):
        low, high = (-(1 << 63), _TOP - 1) if codec.dtype.kind == "f" else _bounds(codec)
        if isinstance(query, int | np.integer) and not low <= int(query) <= high:
            if codec.dtype.kind == "f":
                one = map_queries(
                    _float_above(int(query)), codec, "left" if not _is_float(int(query)) else ("left", "right")[step]
                )
            else:
                above[i] = int(query) > high
                continue
        else:
            one = map_queries(np.asarray([query]), codec, ("left", "right")[step])
        mapped = int(one.values[0]) + int(one.step)
        above[i] = mapped >= _TOP or (one.above is not None and bool(one.above[0]))
        values[i] = mapped % _TOP
    return Mapped(values, np.uint64(0), above if above.any() else None)


def _is_float(query: int) -> bool:
    try:
        return int(float(query)) == query
    except OverflowError:
        return False


def _float_above(query: int) -> NDArray[np.float64]:
    """Smallest float that is not below an integer of any size."""
    try:
        near = float(query)
    except OverflowError:
        return np.array([math.inf if query > 0 else -np.finfo(np.float64).max])
    return np.array([near if int(near) >= query else math.nextafter(near, math.inf)])


def unmap(values: NDArray[np.uint64], codec: Codec) -> NDArray[Any]:
    """Keys of their own type from mapped ones."""
    if codec.dtype.kind == "S":
        letters = values.astype(">u8").view(np.uint8).reshape(len(values), 8)[:, : codec.dtype.itemsize]
        return np.ascontiguousarray(letters).reshape(-1).view(codec.dtype)
    negative = (values >> codec.form.shift) == 0
    stored = values ^ codec.form.sign ^ np.where(negative, codec.form.flip, np.uint64(0))
    return stored.astype(codec.storage).view(codec.dtype)


@uncounted
def mapped_key(key: Any, form: Form) -> np.uint64:
    """A stored key in the order of unsigned integers."""
    wide = np.uint64(key)
    return np.uint64(wide ^ form.sign ^ (form.flip * (wide >> form.shift)))


@uncounted
def map_stored(stored: NDArray[Any], form: Form, out: NDArray[np.uint64]) -> None:
    """Map an array of stored keys."""
    for i in range(len(stored)):
        out[i] = mapped_key(stored[i], form)


@uncounted
def first_descent(stored: NDArray[Any], form: Form) -> int:
    """First position whose key is larger than the next one; -1 if the keys are sorted."""
    for begin in range(0, len(stored) - 1, 4096):
        end = min(begin + 4096, len(stored) - 1)
        wrong = 0
        for i in range(begin, end):  # counted without a branch, so that it compiles to vector instructions
            wrong += int(mapped_key(stored[i], form) > mapped_key(stored[i + 1], form))
        if wrong:
            for i in range(begin, end):
                if mapped_key(stored[i], form) > mapped_key(stored[i + 1], form):
                    return i
    return -1
