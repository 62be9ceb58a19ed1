"""Files that are written whole or not at all, and hashes of files that are read.

A result is written beside its place and renamed over it, so that a crash, a full disk or a killed command leaves what
stood there before.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sysgym.core.errors import OutputError, SettingError

DATA_VARIABLE = "SYSGYM_DATA"
"""Names the folder of data that paths may begin with."""


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file beside `path` and rename it to `path` once the block has ended without an error.

    Args:
        path: Where the result shall stand; its folder is created.
        mode: "w" for UTF-8 text, "wb" for bytes.

    Raises:
        OutputError: The place cannot be written. What stood there before is untouched.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "is a directory; give the name of a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(path: str | Path) -> Iterator[None]:
    """Hold the right to write `path` against other processes that ask for it in this way; waits for it.

    Args:
        path: A file that may not exist yet; the lock is a hidden file beside it.

    Raises:
        OutputError: The place cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = target.with_name(f".{target.name}.lock").open("w")
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def require_writable(path: str | Path) -> None:
    """Find out that a result can be written before hours are spent on it; leaves nothing behind.

    Raises:
        OutputError: The place cannot be written.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "is a directory; give the name of a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256_of(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes; O(size) time, constant memory."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def filled(value: Any) -> Any:
    """A value of arguments, nested or not, with `${SYSGYM_DATA}` in its texts replaced by that variable's folder.

    Raises:
        SettingError: The variable is used and not set.
    """
    if isinstance(value, dict):
        return {name: filled(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(filled(part) for part in value) if type(value) in (list, tuple) else value
    word = f"${{{DATA_VARIABLE}}}"
    if not isinstance(value, str) or word not in value:
        return value
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        raise SettingError(f"{value!r} needs {DATA_VARIABLE}; set it to the folder of the data")
    return value.replace(word, folder)
