"""The one door: files that cannot be read, recognition, machine size, provenance and lazy imports."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys

import pytest

from sysgym.core.errors import InputFileError, SettingError, UnknownNameError
from sysgym.workloads import FORMATS, read_trace
from tests.workloads.made_logs import swf_row, write_log


def test_bad_files_give_one_clear_line(tmp_path):
    packed = gzip.compress(b"; MaxProcs: 8\n" + b"\n".join(swf_row(job).encode() for job in range(99)))
    contents = {
        "empty.swf": (b"", "the file is empty"),
        "blank.swf": (b" \n\n", "the file is empty"),
        "nothing.swf.gz": (gzip.compress(b""), "the file is empty"),
        "truncated.swf.gz": (packed[: len(packed) // 2], "damaged or truncated gzip"),
        "damaged.swf.gz": (packed[:40] + b"\x00\xff\x00" + packed[43:], "damaged or truncated gzip"),
        "binary.swf": (b"PAR1\x00\x01\x02\x03" * 9, "a binary file is no known format"),
        "prose.swf": (b"Dear reader: this is no log.", "is no known format"),
    }
    for name, (content, what) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputFileError, match=what) as error:
            read_trace(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputFileError, match="no such file"):
        read_trace(tmp_path / "absent.swf")
    with pytest.raises(InputFileError, match="is a folder"):
        read_trace(tmp_path)


def test_unreadable_file(tmp_path):
    path = write_log(tmp_path / "log.swf", [swf_row(1)])
    with pytest.raises(InputFileError, match="cannot be read: Not a directory"):  # root may read everything else
        read_trace(path / "inside.swf")


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_binary_file_under_a_named_format(tmp_path, format):
    (tmp_path / "log").write_bytes(b"\x00\x01\x02" * 100)
    with pytest.raises(InputFileError, match="is a binary file"):
        read_trace(tmp_path / "log", format=format)


def test_unknown_format(tmp_path):
    with pytest.raises(UnknownNameError, match="format 'swff'; did you mean swf"):
        read_trace(write_log(tmp_path / "log.swf", [swf_row(1)]), format="swff")


def test_columns_are_for_formats_with_named_columns(tmp_path):
    with pytest.raises(SettingError, match="leave columns out"):
        read_trace(write_log(tmp_path / "log.swf", [swf_row(1)]), columns={"user": "x"})


def test_machine_size_is_needed(tmp_path):
    path = write_log(tmp_path / "log.swf", [swf_row(1)], ["; MaxProcs: 0"])
    with pytest.raises(InputFileError, match=r"does not tell the size of the machine.*processors="):
        read_trace(path)
    for processors in (0, -4, 1.5):
        with pytest.raises(SettingError, match=f"processors is {processors}"):
            read_trace(path, processors=processors)


def test_provenance(tmp_path):
    path = write_log(tmp_path / "log.swf.gz", [swf_row(1)])
    provenance = read_trace(path, clean="sc15").provenance
    assert provenance.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (provenance.source, provenance.format, provenance.clean) == (str(path), "swf", "sc15")
    assert provenance.header == {"MaxProcs": "8"}


def test_pandas_is_loaded_only_for_reading():
    code = (
        "import sys, sysgym.workloads as room; room.poisson_pareto(10, 4); before = 'pandas' in sys.modules;"
        "room.read_trace; print(before, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
