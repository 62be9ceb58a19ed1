"""A log as it lies on disk: opened, unpacked, hashed and decoded once, whatever its format.

Compression is recognised by content, not by suffix. Formats look at a `TraceFile` to recognise themselves and read it;
binary formats take `data`, text formats take `text`.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sysgym.core.errors import InputFileError

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class TraceFile:
    """The unpacked bytes of a log.

    Attributes:
        path: Where it lies.
        data: Its bytes, unpacked.
        sha256: Hexadecimal SHA-256 of the file as it lies on disk, packed or not.
    """

    path: Path
    data: bytes
    sha256: str

    @cached_property
    def text(self) -> str:
        r"""The bytes as text: UTF-8, else Latin-1 (old headers), with every line end as \n.

        Raises:
            InputFileError: The bytes are no text.
        """
        if self.is_binary:
            raise InputFileError(self.path, "is a binary file; expected a log as text, plain or gzip")
        try:
            text = self.data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = self.data.decode("latin-1")
        return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text

    @property
    def is_binary(self) -> bool:
        """Whether the first 64 KB hold a zero byte, which no text does."""
        return b"\0" in self.data[:65536]

    @cached_property
    def first_line(self) -> str:
        """The first line that is not blank, or an empty string; binary files have none."""
        if self.is_binary:
            return ""
        return next((line for line in self.text[:65536].split("\n") if line.strip()), "")


def header_names(file: TraceFile, delimiter: str = ",") -> set[str]:
    """The cells of the first line, as the names of columns; none for binary files."""
    return {name.strip().strip('"') for name in file.first_line.split(delimiter)} if file.first_line else set()


def open_trace(path: str | Path | TraceFile) -> TraceFile:
    """Read and unpack a log; what has been opened is handed back, so that a pipe is read once.

    Raises:
        InputFileError: It is missing, a folder, unreadable, empty, or damaged gzip.
    """
    if isinstance(path, TraceFile):
        return path
    packed = _read_bytes(Path(path))
    data = _unpack(Path(path), packed) if packed.startswith(_GZIP_MAGIC) else packed
    if not data.strip():
        raise InputFileError(path, "the file is empty; expected a log with one job a line")
    return TraceFile(Path(path), data, hashlib.sha256(packed).hexdigest())


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputFileError(path, "no such file; check the path") from None
    except IsADirectoryError:
        raise InputFileError(path, "is a folder; give the log file inside it") from None
    except OSError as error:
        raise InputFileError(path, f"cannot be read: {error.strerror or error}") from error


def _unpack(path: Path, packed: bytes) -> bytes:
    try:
        return gzip.decompress(packed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputFileError(path, f"damaged or truncated gzip ({error}); fetch the file again") from error
