"""The file of an index: one header in JSON, then raw little-endian arrays, each on a cache line.

Opening maps the file and makes views, so it takes the same time at every size. The header is always checked, as are
the length and a few pages; files of up to a few MiB are checked whole. `verify` checks every byte of any file. There
is no code in a file. Writing goes to a temporary file that is renamed, so that a failed save leaves what stood there.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError
from sysgym.core.files import atomic_write

MAGIC = b"sysgymIX"
VERSION = 1
_PREAMBLE = len(MAGIC) + 4 + 4 + 32
_ALIGNMENT = 64
_PAGE = 4096
_PAGES = 64
_WHOLE = 4 << 20
"""Bytes up to which opening reads the whole file; a few milliseconds."""


@dataclass(frozen=True)
class Contents:
    """What a file holds: kind of index, parameters, arrays; and the open file where the arrays are a map of it."""

    kind: str
    parameters: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    source: MappedFile | None


def write_index(path: str | Path, kind: str, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: The place cannot be written; what stood there is untouched.
    """
    tables: list[dict[str, Any]] = []
    offset = 0
    little = {name: _little_endian(array) for name, array in arrays.items()}
    for name, array in little.items():
        data = _bytes(array)
        tables.append(
            {"name": name, "dtype": np.lib.format.dtype_to_descr(array.dtype), "shape": list(array.shape),
             "offset": offset, "bytes": array.nbytes, "sha256": hashlib.sha256(data).hexdigest()}
        )  # fmt: skip
        offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    header: dict[str, Any] = {"kind": kind, "parameters": dict(parameters), "arrays": tables, "bytes": offset}
    header["pages"] = _page_digest(b"".join(_pages(little, tables)))
    text = json.dumps(header).encode()
    preamble = MAGIC + VERSION.to_bytes(4, "little") + len(text).to_bytes(4, "little") + hashlib.sha256(text).digest()
    with atomic_write(path, "wb") as file:
        file.write((preamble + text).ljust(_begin(len(text)), b"\0"))
        for table, array in zip(tables, little.values(), strict=True):
            if array.size:
                file.write(_bytes(array))
            file.write(b"\0" * (-table["bytes"] % _ALIGNMENT))


def read_index(path: str | Path, *, map_memory: bool) -> Contents:
    """Open a file; with `map_memory` its arrays are read-only views of the mapped file, else checked copies.

    Raises:
        InputFileError: Not such a file, of another version, truncated, or damaged.
    """
    source = MappedFile(Path(path))
    if source.header["bytes"] <= _WHOLE or not map_memory:
        source.verify()
    else:
        source.verify_pages()
    arrays = {table["name"]: source.array(table) for table in source.header["arrays"]}
    if not map_memory:
        arrays = {name: _frozen(array.copy()) for name, array in arrays.items()}
    return Contents(source.header["kind"], source.header["parameters"], arrays, source if map_memory else None)


class MappedFile:
    """An open index file in memory; it notices when the file changes beneath it.

    Args:
        path: The file.

    Raises:
        InputFileError: Not such a file, of another version, truncated, or with a damaged header.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
            self._state = self._now()
            if self._state[0] < _PREAMBLE:
                raise InputFileError(path, f"is no index file: {self._state[0]} bytes are too few")
            self._memory = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputFileError(path, f"cannot be read: {error.strerror or error}") from error
        self.header = self._read_header()
        self._data = memoryview(self._memory)[_begin(self._header_length) :]
        if len(self._data) != self.header["bytes"]:
            raise InputFileError(
                path,
                f"is truncated or lengthened: {self.header['bytes']} bytes of data expected, {len(self._data)} found",
            )

    def _read_header(self) -> dict[str, Any]:
        start = self._memory[:_PREAMBLE]
        if start[: len(MAGIC)] != MAGIC:
            raise InputFileError(self.path, "is no index file; build one with `.save(path)`")
        version = int.from_bytes(start[8:12], "little")
        if version != VERSION:
            raise InputFileError(
                self.path, f"has format version {version}; this release reads {VERSION}: build it anew"
            )
        self._header_length = int.from_bytes(start[12:16], "little")
        text = self._memory[_PREAMBLE : _PREAMBLE + self._header_length]
        if hashlib.sha256(text).digest() != start[16:48]:
            raise InputFileError(self.path, "has a damaged header (checksum); build it anew")
        header: dict[str, Any] = json.loads(text)
        return header

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def array(self, table: Mapping[str, Any]) -> NDArray[Any]:
        """A read-only view of one array."""
        dtype = np.lib.format.descr_to_dtype(_descriptor(table["dtype"]))
        data = self._data[table["offset"] : table["offset"] + table["bytes"]]
        array: NDArray[Any] = np.frombuffer(data, dtype=dtype).reshape(table["shape"])
        return _frozen(array.astype(array.dtype.newbyteorder("=")) if sys.byteorder == "big" else array)

    def require_unchanged(self) -> None:
        """Raise `InputFileError` if the file was written to since it was opened; about a microsecond."""
        if self._now() != self._state:
            raise InputFileError(self.path, "was changed while an index had it mapped; load it again")

    def verify_pages(self) -> None:
        """Check a spread of pages; constant time.

        Raises:
            InputFileError: They are not what was written.
        """
        tables = self.header["arrays"]
        arrays = {table["name"]: self._data[table["offset"] : table["offset"] + table["bytes"]] for table in tables}
        if _page_digest(b"".join(_pages(arrays, tables))) != self.header["pages"]:
            raise InputFileError(self.path, "is damaged (checksum of its pages); build it anew")

    def verify(self) -> None:
        """Check every byte.

        Raises:
            InputFileError: The file is damaged, or was changed after it was opened.
        """
        self.require_unchanged()
        for table in self.header["arrays"]:
            data = self._data[table["offset"] : table["offset"] + table["bytes"]]
            if hashlib.sha256(data).hexdigest() != table["sha256"]:
                raise InputFileError(self.path, f"is damaged (checksum of {table['name']!r}); build it anew")


def _begin(header_length: int) -> int:
    """Where the data begins: on a page, so that maps keep the arrays' alignment."""
    return -(-(_PREAMBLE + header_length) // _PAGE) * _PAGE


def _descriptor(given: Any) -> Any:
    """A dtype's description as numpy wants it: JSON has no tuples."""
    return [tuple(field) for field in given] if isinstance(given, list) else given


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(array)
    return array.astype(array.dtype.newbyteorder("<")).view(np.uint8) if sys.byteorder == "big" else _plain(array)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Times as integers: their buffers cannot be cast to bytes."""
    return array.view(np.int64) if array.dtype.kind in "mM" else array


def _bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")  # type: ignore[arg-type]


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _pages(arrays: Mapping[str, Any], tables: list[dict[str, Any]]) -> list[bytes]:
    """The same few pages of each array at writing and at opening."""
    pages = []
    for table in tables:
        data = arrays[table["name"]]
        flat = memoryview(data).cast("B") if table["bytes"] else memoryview(b"")
        last = max(table["bytes"] - _PAGE, 0)
        pages += (
            [bytes(flat[last * i // _PAGES : last * i // _PAGES + _PAGE]) for i in range(_PAGES + 1)]
            if last
            else [bytes(flat)]
        )
    return pages


def _page_digest(pages: bytes) -> str:
    return hashlib.sha256(pages).hexdigest()
