"""Key sets: the generators of the comparisons, and SOSD's binary format, read where it lies.

Each generator draws from a fresh `numpy.random.default_rng(seed)`, so a name, a size and a seed name one key set.
SOSD (Marcus et al., Benchmarking Learned Indexes, PVLDB 14(1), 2020) writes a count in 64 bits, then the keys,
little-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError, require_known, require_range
from sysgym.core.files import atomic_write

Draw = Callable[[np.random.Generator, int], NDArray[np.uint64]]
_OUTLIERS = 21
_LEVELS = 62
_SKEWED_LEVELS = 28
_LARGEST_FLOAT = int(np.finfo(np.float64).max)


def key_set(name: str, size: int, seed: int = 42) -> NDArray[np.uint64]:
    """A sorted set of distinct keys.

    Args:
        name: uniform, lognormal, normal, osm (clusters, as cell numbers of a map have) or steps (dense keys below 2^40
            and 21 far outliers, as the user numbers of SOSD's fb have).
        size: Number of keys; a few less where a generator draws too many equal ones.
        seed: Of the generator.

    Raises:
        UnknownNameError: No such key set.
        SettingError: The size is not positive.
    """
    require_known("key set", name, KEY_SETS)
    require_range("size", size, 1)
    generator = np.random.default_rng(seed)
    keys = _distinct(KEY_SETS[name](generator, int(1.03 * size)))
    if len(keys) > size:
        keys = np.sort(generator.choice(keys, size, replace=False))
    if name == "steps":
        far = min(_OUTLIERS, len(keys))
        keys[len(keys) - far :] = np.uint64(1 << 63) + np.sort(generator.integers(0, 1 << 62, far, dtype=np.uint64))
        keys = _distinct(keys)
    return keys


def _distinct(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sorted, equal ones once; several times faster than `numpy.unique`, which hashes."""
    keys = np.sort(keys)
    return keys[np.append(True, keys[1:] != keys[:-1])]


def present_queries(keys: NDArray[np.uint64], count: int, seed: int = 7) -> NDArray[np.uint64]:
    """Keys drawn with replacement."""
    return keys[np.random.default_rng(seed).integers(0, len(keys), count)]


def read_sosd(path: str | Path) -> NDArray[np.unsignedinteger[np.typing.NBitBase]]:
    """The keys of a SOSD file as a read-only memory map, 64 or 32 bits wide by the file's length; O(1).

    Raises:
        InputFileError: The file cannot be read, or its length doesn't follow from its count.
    """
    try:
        size = Path(path).stat().st_size
        count = int(np.fromfile(path, dtype="<u8", count=1)[0]) if size >= 8 else -1
    except OSError as error:
        raise InputFileError(path, f"cannot be read: {error.strerror or error}") from error
    for dtype in ("<u8", "<u4"):
        if count >= 0 and size == 8 + count * np.dtype(dtype).itemsize:
            return (
                np.memmap(path, dtype=dtype, mode="r", offset=8, shape=(count,)) if count else np.empty(0, dtype=dtype)
            )
    raise InputFileError(
        path, f"is no SOSD file: {size} bytes do not hold a count and as many keys of 64 or 32 bits (count: {count})"
    )


def read_key_lines(path: str | Path) -> NDArray[Any]:
    """Keys of a text file, one number a line, below a heading or none: int64, uint64, or float64 where one has a point.

    Raises:
        InputFileError: The file cannot be read, a line is no number, or no type holds all numbers unrounded.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(path, f"cannot be read as text: {error}") from error
    begin = 1 if lines and _number(lines[0]) is None else 0
    keys = [_number(line) for line in lines[begin:]]
    if None in keys or not keys:
        line = begin + keys.index(None) if keys else 0
        found = repr(lines[line][:40]) if lines else "nothing"
        message = f"{found} is no number; expected one key a line (texts of up to 8 bytes: numpy.save them as S8)"
        raise InputFileError(path, message, line=line + 1)
    if any(isinstance(key, float) for key in keys):
        for place, key in enumerate(keys):
            if isinstance(key, int) and (abs(key) > _LARGEST_FLOAT or int(float(key)) != key):
                message = f"{key} would be rounded, as other keys have a point; give whole numbers alone, or scale them"
                raise InputFileError(path, message, line=begin + place + 1)
        return np.array(keys, dtype=np.float64)
    try:
        return np.array(keys, dtype=np.int64 if any(key is not None and key < 0 for key in keys) else np.uint64)
    except OverflowError:
        raise InputFileError(path, "a key has more than 64 bits; scale the keys") from None


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def write_sosd(keys: NDArray[np.uint64], path: str | Path) -> None:
    """Write keys in SOSD's format, whole or not at all.

    Raises:
        OutputError: The place cannot be written.
    """
    with atomic_write(path, "wb") as file:
        file.write(len(keys).to_bytes(8, "little"))
        file.write(np.ascontiguousarray(keys, dtype="<u8").tobytes())


def _uniform(generator: np.random.Generator, count: int) -> NDArray[np.uint64]:
    return generator.integers(0, 1 << 63, count, dtype=np.uint64)


def _lognormal(generator: np.random.Generator, count: int) -> NDArray[np.uint64]:
    values = generator.lognormal(0.0, 2.0, count)
    return (values / values.max() * 1e18).astype(np.uint64)


def _normal(generator: np.random.Generator, count: int) -> NDArray[np.uint64]:
    return (generator.standard_normal(count) * 1e17 + 2.0**62).astype(np.uint64)


def _steps(generator: np.random.Generator, count: int) -> NDArray[np.uint64]:
    return generator.integers(1, 1 << 40, count, dtype=np.uint64)


def _osm(generator: np.random.Generator, count: int) -> NDArray[np.uint64]:
    """A binary cascade: the chance of each bit depends on the bits above it, so that keys cluster at every scale."""
    keys = np.zeros(count, dtype=np.uint64)
    for level in range(_LEVELS):
        draws = generator.random(count)
        if level < _SKEWED_LEVELS:
            salt = np.uint64((level + 1) * 0x9E3779B97F4A7C15 % (1 << 64))
            mixed = (keys + salt) * np.uint64(0xBF58476D1CE4E5B9)
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(32)
            bits = draws < 0.15 + 0.7 * ((mixed >> np.uint64(11)) / 2.0**53)
        else:
            bits = draws < 0.5
        keys = (keys << np.uint64(1)) + bits.astype(np.uint64)
    return keys


KEY_SETS: dict[str, Draw] = {
    "lognormal": _lognormal,
    "normal": _normal,
    "osm": _osm,
    "steps": _steps,
    "uniform": _uniform,
}
