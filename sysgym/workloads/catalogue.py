"""The list of logs that can be fetched: `traces/MANIFEST.toml`, or one of a user's own in the same form.

[[log]]
name = "KTH-SP2-1996"
file = "KTH-SP2-1996.swf.gz"      # what it is called on disk; packed where it ends in .gz
address = "https://..."           # http or https; without one the log cannot be fetched
licence = "..."
citation = "..."
sha256 = "..."                    # over the unpacked file; without one it is unverified
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sysgym.core.errors import InputFileError, UnknownNameError

_PLACES = (Path(__file__).parent / "MANIFEST.toml", Path(__file__).parents[2] / "traces" / "MANIFEST.toml")


@dataclass(frozen=True)
class Listing:
    """One log of the list.

    Attributes:
        name: What users call it.
        file: Name of the file on disk.
        licence: Under which terms.
        citation: Whom to cite.
        address: Where it is fetched from, or None.
        sha256: Hexadecimal, over the unpacked file, or None where it is not known.
        note: What else to know.
    """

    name: str
    file: str
    licence: str
    citation: str
    address: str | None = None
    sha256: str | None = None
    note: str = ""


def read_manifest(path: str | Path | None = None) -> tuple[Listing, ...]:
    """The logs of a manifest; None takes the project's.

    Raises:
        InputFileError: It cannot be read, is not TOML, or an entry lacks what a listing needs.
    """
    place = Path(path) if path is not None else next((place for place in _PLACES if place.is_file()), _PLACES[-1])
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputFileError(place, f"cannot read the manifest: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputFileError(place, f"the manifest is not TOML ({error})") from None
    entries = content.get("log")
    if not isinstance(entries, list) or not entries:
        raise InputFileError(place, "the manifest lists no log; write [[log]] with name, file and address")
    return tuple(_listing(place, entry) for entry in entries)


def _listing(path: Path, entry: Mapping[str, Any]) -> Listing:
    texts = {key: entry.get(key) for key in ("name", "file", "licence", "citation", "address", "sha256", "note")}
    for key, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise InputFileError(path, f"{key} is {value!r}; it must be text")
    name, file, address, sha256 = texts["name"], texts["file"], texts["address"], texts["sha256"]
    if not name or not file:
        raise InputFileError(path, f"a log without name or file: {dict(entry)!r:.80}")
    if Path(file).name != file or file.startswith("."):
        raise InputFileError(path, f"the file {file!r} of {name} must be a plain file name")
    if address is not None and not re.match(r"https?://[^/\s]+/", address):
        raise InputFileError(path, f"the address {address!r} of {name} must begin with http:// or https://")
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InputFileError(path, f"the sha256 of {name} is {sha256!r}; it must be 64 hexadecimal digits")
    citation, licence = texts["citation"] or "unknown", texts["licence"] or "unknown"
    return Listing(name, file, licence, citation, address, sha256, texts["note"] or "")


def listing_of(name: str, manifest: str | Path | None = None) -> Listing:
    """A log by its name or the name of its file, in any case.

    Raises:
        UnknownNameError: There is none.
    """
    listings = read_manifest(manifest)
    for listing in listings:
        plain = listing.file.removesuffix(".gz")
        if name.lower() in {key.lower() for key in (listing.name, listing.file, plain, Path(plain).stem)}:
            return listing
    raise UnknownNameError("log", name, [listing.name for listing in listings])
