"""Where a run was made, as git says it."""

import subprocess

from sysgym.bench.provenance import _revision


def git(folder, *arguments):
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout


def test_records_beside_a_study_are_no_change_and_code_is(tmp_path):
    git(tmp_path, "init", "-q")
    room, records = tmp_path / "room", tmp_path / "room" / "x.results" / "records.jsonl"
    records.parent.mkdir(parents=True)
    for file in (room / "code.py", records):
        file.write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "Begin")
    revision = git(tmp_path, "rev-parse", "HEAD").strip()
    records.write_text("1\n2\n")
    assert _revision(room) == _revision(records.parent) == (revision, False)
    (room / "code.py").write_text("2\n")
    assert _revision(records.parent) == (revision, True)
    assert _revision(tmp_path.parent / "nowhere") == ("", False)
