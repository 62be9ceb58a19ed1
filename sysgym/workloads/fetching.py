"""Download a listed log: resumed where it broke off, checked against its checksum, and never half written.

While it comes, a file is called `NAME.part`; what was wrong is kept as `NAME.wrong`, for people to look at. The
checksum is over the unpacked bytes, so that it does not depend on how a copy was packed.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sysgym.core.errors import FetchError, OutputError
from sysgym.core.files import atomic_write
from sysgym.workloads.catalogue import Listing

Progress = Callable[[int, int | None], None]
"""Told how many bytes are there, and how many there will be if the server says so."""

_CHUNK = 1 << 16
_RESUMED, _NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True)
class Fetched:
    """A log that is there now.

    Attributes:
        path: Where.
        size: Bytes on disk.
        sha256: Over the unpacked bytes.
        verified: Whether that is the listed checksum; False where none is listed.
        downloaded: Whether anything had to be fetched.
        resumed_at: Bytes that an earlier try had left.
    """

    path: Path
    size: int
    sha256: str
    verified: bool
    downloaded: bool
    resumed_at: int = 0


def fetch(
    listing: Listing,
    folder: str | Path = ".",
    *,
    on_progress: Progress | None = None,
    tries: int = 3,
    timeout: float = 30.0,
) -> Fetched:
    """Download a log into a folder, unless it is there already.

    Args:
        listing: The log.
        folder: Where to; it is created.
        on_progress: Called as bytes come.
        tries: How often a connection that breaks off is resumed at once.
        timeout: Seconds without a byte after which a connection counts as broken.

    Raises:
        FetchError: No address, no network, a refusal of the server, an interruption (run again to resume), or a wrong
            checksum. The message says where to put the file by hand.
        OutputError: The folder cannot be written.
    """
    target = Path(folder) / listing.file
    if target.exists():
        return _checked(listing, target, downloaded=False)
    if listing.address is None:
        raise FetchError(f"{listing.name} has no address to fetch it from; {_by_hand(listing, target)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        resumed = part.stat().st_size if part.exists() else 0
        _download(listing, target, part, on_progress or (lambda _here, _all: None), tries, timeout)
        _pack(part, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    return _checked(listing, target, downloaded=True, resumed_at=resumed)


def _by_hand(listing: Listing, target: Path) -> str:
    source = f"download {listing.address}" if listing.address else f"get the file ({listing.note or listing.licence})"
    return f"{source} by hand, put it at {target}, and run the command again to check it"


def _download(listing: Listing, target: Path, part: Path, on_progress: Progress, tries: int, timeout: float) -> None:
    host = urlsplit(str(listing.address)).hostname
    for attempt in range(1, tries + 1):
        try:
            _receive(str(listing.address), part, on_progress, timeout)
        except urllib.error.HTTPError as error:
            message = f"{host} answers {error.code} {error.reason} for {listing.name}"
            raise FetchError(f"{message}; {_by_hand(listing, target)}") from None
        except urllib.error.URLError as error:
            raise FetchError(f"cannot reach {host} ({error.reason}); {_by_hand(listing, target)}") from None
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if attempt < tries:
                time.sleep(min(2.0, 0.2 * attempt))
                continue
            size = part.stat().st_size if part.exists() else 0
            reason = str(error) or type(error).__name__
            raise FetchError(
                f"the download of {listing.name} broke off after {size:,} bytes ({reason}); run the command again to "
                f"resume, or {_by_hand(listing, target)}"
            ) from None
        else:
            return


def _receive(address: str, part: Path, on_progress: Progress, timeout: float) -> None:
    """Append what is missing; a server that does not resume begins anew."""
    have = part.stat().st_size if part.exists() else 0
    tag = part.with_name(part.name + ".tag")
    request = urllib.request.Request(address, headers={"User-Agent": "sysgym", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag.exists():
            request.add_header("If-Range", tag.read_text(encoding="utf-8"))
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != _NOT_SATISFIABLE or not have:
            raise
        if _total(error.headers) == have:
            return None
        part.unlink()
        return _receive(address, part, on_progress, timeout)
    with response:
        resumes = response.status == _RESUMED and str(response.headers.get("Content-Range", "")).startswith(
            f"bytes {have}-"
        )
        if have and not resumes:
            have = 0
        mark = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if mark and not mark.startswith("W/"):
            tag.write_text(mark, encoding="utf-8")
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        with part.open("ab" if have else "wb") as handle:
            while chunk := response.read(_CHUNK):
                handle.write(chunk)
                have += len(chunk)
                on_progress(have, total)
        if total is not None and have < total:
            raise http.client.IncompleteRead(b"", total - have)
    tag.unlink(missing_ok=True)
    return None


def _total(headers: Any) -> int | None:
    """The whole size that a refusal of a range tells, as in `bytes */1234`."""
    text = str(headers.get("Content-Range", "")).rpartition("/")[2]
    return int(text) if text.isdigit() else None


def _pack(part: Path, target: Path) -> None:
    """Give the finished download its name; packed where the name says so and the copy is not."""
    with part.open("rb") as handle:
        is_packed = handle.read(2) == b"\x1f\x8b"
    if target.suffix == ".gz" and not is_packed:
        with atomic_write(target, "wb") as handle:
            handle.write(gzip.compress(part.read_bytes(), 6, mtime=0))
        part.unlink()
    else:
        part.replace(target)


def _checked(listing: Listing, target: Path, downloaded: bool, resumed_at: int = 0) -> Fetched:
    try:
        found = unpacked_sha256(target)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        found = "none: damaged gzip"
    except OSError as error:
        raise FetchError(f"cannot read {target}: {error.strerror or error}") from None
    if found == listing.sha256 or (listing.sha256 is None and len(found) == 64):
        verified = listing.sha256 is not None
        return Fetched(target, target.stat().st_size, found, verified, downloaded, resumed_at)
    wrong = target
    if downloaded:
        wrong = _aside(target)
        target.replace(wrong)
    expected = listing.sha256 or "a sound file"
    raise FetchError(
        f"{listing.name} has the wrong checksum: {found}, expected {expected}; it is kept as {wrong}. "
        + ("Look at it, then fetch again" if downloaded else "Move it away and fetch again")
    )


def _aside(target: Path) -> Path:
    """A name beside the target that is free: NAME.wrong, NAME.wrong2 and so on."""
    number = 1
    while (place := target.with_name(f"{target.name}.wrong{'' if number == 1 else number}")).exists():
        number += 1
    return place


def unpacked_sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes after unpacking gzip; O(size) time, constant memory."""
    with contextlib.ExitStack() as stack:
        handle: Any = stack.enter_context(Path(path).open("rb"))
        if handle.read(2) == b"\x1f\x8b":
            handle = stack.enter_context(gzip.open(path, "rb"))
        else:
            handle.seek(0)
        digest = hashlib.sha256()
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
