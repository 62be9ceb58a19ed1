import pytest

from sysgym.core.errors import OutputError
from sysgym.core.files import atomic_write, sha256_of


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole(tmp_path):
    target = tmp_path / "new" / "result.txt"
    with atomic_write(target) as handle:
        handle.write("done")
        assert not target.exists()
    assert target.read_text() == "done" and names(target.parent) == ["result.txt"]


def test_what_stood_there_survives_a_failure(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(target) as handle:
        handle.write("half")
        raise ZeroDivisionError
    assert target.read_text() == "old" and names(tmp_path) == ["result.txt"]


@pytest.mark.parametrize("place", ["folder", "file/below"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=f"cannot write .*{place}"), atomic_write(tmp_path / place) as handle:
        handle.write("lost")
    assert names(tmp_path) == ["file", "folder"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match="No space left"), atomic_write(target):
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old" and names(tmp_path) == ["result.txt"]


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
