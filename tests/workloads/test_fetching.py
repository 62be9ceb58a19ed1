"""Fetching from a server on this machine: resuming, checksums, refusals, and what is said to people."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sysgym.core.errors import FetchError, InputFileError, OutputError, UnknownNameError
from sysgym.workloads.catalogue import Listing, listing_of, read_manifest
from sysgym.workloads.fetching import fetch, unpacked_sha256

TEXT = b"".join(b"%d 0 -1 10 1 -1 -1 1 20 -1 1 -1 -1 -1 -1 -1 -1 -1\n" % job for job in range(9_000))
PACKED = gzip.compress(TEXT, mtime=0)
SHA = hashlib.sha256(TEXT).hexdigest()


class Server:
    """A server whose manners a test sets: how often it breaks off, whether it resumes, with which tag."""

    def __init__(self):
        self.body, self.break_offs, self.resumes, self.tag, self.status = TEXT, 0, True, '"one"', 200
        self.ranges = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.http.server_port}/log.swf"

    def answer(self, request):
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        if self.status != 200:
            request.send_error(self.status)
            return
        same = request.headers.get("If-Range", self.tag) == self.tag
        start = int(asked[6:-1]) if asked and self.resumes and same else 0
        if start >= len(self.body):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(self.body)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        rest = self.body[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        request.send_header("Content-Length", str(len(rest)))
        if self.tag:
            request.send_header("ETag", self.tag)
        request.end_headers()
        if self.break_offs > 0:
            self.break_offs -= 1
            rest = rest[: len(rest) // 2]
            request.close_connection = True
        request.wfile.write(rest)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def listing(server):
    return Listing("a log", "log.swf", "free", "somebody", server.address, SHA)


def test_a_whole_download(server, listing, tmp_path):
    seen = []
    done = fetch(listing, tmp_path / "new", on_progress=lambda *sizes: seen.append(sizes))
    assert done.path.read_bytes() == TEXT and done.verified and done.downloaded and done.sha256 == SHA
    assert seen[-1] == (len(TEXT), len(TEXT)) and server.ranges == [None]
    assert [path.name for path in done.path.parent.iterdir()] == ["log.swf"]
    again = fetch(listing, tmp_path / "new")
    assert not again.downloaded and again.verified and len(server.ranges) == 1


def test_an_interrupted_download_is_resumed_by_the_next_command(server, listing, tmp_path):
    server.break_offs = 1
    with pytest.raises(FetchError, match=r"broke off after [\d,]+ bytes .*run the command again to resume") as caught:
        fetch(listing, tmp_path, tries=1)
    assert "\n" not in str(caught.value) and not (tmp_path / "log.swf").exists()
    half = (tmp_path / "log.swf.part").stat().st_size
    assert 0 < half < len(TEXT)
    done = fetch(listing, tmp_path)
    assert server.ranges == [None, f"bytes={half}-"] and done.resumed_at == half
    assert done.path.read_bytes() == TEXT and not list(tmp_path.glob("*.part*"))


def test_a_connection_that_breaks_off_is_resumed_at_once(server, listing, tmp_path):
    server.break_offs = 2
    assert fetch(listing, tmp_path).path.read_bytes() == TEXT
    assert len(server.ranges) == 3


@pytest.mark.parametrize("manner", ["does not resume", "another file by now", "sends no tag"])
def test_resuming_never_glues_what_does_not_belong_together(server, listing, tmp_path, manner):
    server.break_offs, server.tag = 1, None if manner == "sends no tag" else '"one"'
    with pytest.raises(FetchError):
        fetch(listing, tmp_path, tries=1)
    if manner == "does not resume":
        server.resumes = False
    elif manner == "another file by now":
        server.tag, server.body = '"two"', TEXT[::-1]
        listing = replace(listing, sha256=hashlib.sha256(server.body).hexdigest())
    assert fetch(listing, tmp_path).path.read_bytes() == server.body


def test_a_part_that_is_whole_already_and_one_that_is_too_long(server, listing, tmp_path):
    (tmp_path / "log.swf.part").write_bytes(TEXT)
    assert fetch(listing, tmp_path).path.read_bytes() == TEXT
    (tmp_path / "log.swf").unlink()
    (tmp_path / "log.swf.part").write_bytes(TEXT + b"more")
    assert fetch(listing, tmp_path).path.read_bytes() == TEXT


def test_the_checksum_is_of_the_unpacked_bytes(server, listing, tmp_path):
    packed = replace(listing, file="log.swf.gz")
    assert fetch(packed, tmp_path / "plain").verified  # packed on arrival
    assert gzip.decompress((tmp_path / "plain" / "log.swf.gz").read_bytes()) == TEXT
    server.body = gzip.compress(TEXT, 1)
    assert fetch(packed, tmp_path / "packed").path.read_bytes() == server.body
    assert unpacked_sha256(tmp_path / "packed" / "log.swf.gz") == SHA


def test_a_wrong_checksum_is_kept_aside_and_named(server, listing, tmp_path):
    server.body = b"something else\n"
    for name in ("log.swf.wrong", "log.swf.wrong2"):
        with pytest.raises(FetchError, match=f"wrong checksum: [0-9a-f]{{64}}, expected {SHA}; it is kept as .*{name}"):
            fetch(listing, tmp_path)
        assert (tmp_path / name).read_bytes() == b"something else\n" and not (tmp_path / "log.swf").exists()
    (tmp_path / "log.swf").write_bytes(b"by hand")
    with pytest.raises(FetchError, match="Move it away and fetch again"):
        fetch(listing, tmp_path)
    assert (tmp_path / "log.swf").read_bytes() == b"by hand"


def test_without_a_checksum_it_is_unverified(server, listing, tmp_path):
    done = fetch(replace(listing, sha256=None), tmp_path)
    assert not done.verified and done.sha256 == SHA
    server.body = PACKED[:-20]
    with pytest.raises(FetchError, match="damaged gzip"):
        fetch(replace(listing, sha256=None, file="other.swf.gz"), tmp_path)


def test_no_network_no_address_and_a_refusal_say_what_to_do(server, listing, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/log.swf"
    place = tmp_path / "log.swf"
    with pytest.raises(FetchError, match=r"cannot reach 127.0.0.1 .*download http://.* by hand, put it at .*log\.swf"):
        fetch(replace(listing, address=nobody), tmp_path)
    with pytest.raises(FetchError, match="has no address to fetch it from; get the file"):
        fetch(replace(listing, address=None), tmp_path)
    server.status = 404
    with pytest.raises(FetchError, match=r"answers 404 Not Found .* by hand"):
        fetch(listing, tmp_path)
    place.write_bytes(TEXT)
    assert fetch(replace(listing, address=nobody), tmp_path).verified


def test_a_folder_that_cannot_be_written(listing, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        fetch(listing, tmp_path / "file")


def test_our_manifest():
    listings = read_manifest()
    assert len({one.name for one in listings}) == len({one.file for one in listings}) == len(listings) > 15
    assert all(one.licence != "unknown" and (one.citation != "unknown" or one.address is None) for one in listings)
    assert listing_of("kth-sp2-1996").file == "KTH-SP2-1996-raw.swf.gz"
    assert listing_of("ANL-Intrepid-2009-1.swf").sha256 is None
    with pytest.raises(UnknownNameError, match="log 'KTH-SP3-1996'; did you mean KTH-SP2-1996"):
        listing_of("KTH-SP3-1996")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("log = ", "the manifest is not TOML"),
        ("", "the manifest lists no log"),
        ('[[log]]\nname = "a"', "a log without name or file"),
        ('[[log]]\nname = "a"\nfile = "../b"', "must be a plain file name"),
        ('[[log]]\nname = "a"\nfile = "b"\naddress = "ftp://x/y"', "must begin with http"),
        ('[[log]]\nname = "a"\nfile = "b"\nsha256 = "12"', "must be 64 hexadecimal digits"),
        ('[[log]]\nname = "a"\nfile = 3', "file is 3; it must be text"),
    ],
)
def test_manifests_that_are_none(tmp_path, text, what):
    path = tmp_path / "MANIFEST.toml"
    path.write_text(text)
    with pytest.raises(InputFileError, match=what):
        read_manifest(path)
    with pytest.raises(InputFileError, match="cannot read the manifest"):
        read_manifest(tmp_path / "absent.toml")
