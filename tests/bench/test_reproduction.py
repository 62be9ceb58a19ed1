"""Published numbers beside ours: the files, the verdicts, what is kept and what is shown."""

import hashlib
import json
from pathlib import Path

import pytest

from sysgym.bench import published, reproduction
from sysgym.bench.measures import MEASURES, Measured
from sysgym.bench.published import read_reproduction
from sysgym.bench.reproduction import page, read_outcomes, reproduce
from sysgym.core.errors import RecordError, StudyError, UnknownNameError

COMMITTED = sorted((Path(__file__).parents[2] / "experiments" / "published").glob("*.toml"))
HEAD = 'title = "A paper"\nsource = "Somebody, 2020"\n'


def row(**fields):
    words = {"what": "a number", "measure": "constant", "value": 2.0, "digits": 3} | fields
    body = {name: value for name, value in words.items() if value is not None}
    return "[[rows]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in body.items())


@pytest.fixture
def write(tmp_path, monkeypatch):
    asked = []

    def constant(value=2.0, low=None, high=None):
        asked.append(value)
        return Measured(value, value if low is None else low, value if high is None else high)

    def fails():
        raise ValueError("no luck")

    monkeypatch.setattr(reproduction, "MEASURES", {"constant": constant, "fails": fails})

    def write(text, name="paper.toml"):
        (tmp_path / name).write_text(HEAD + text)
        return tmp_path / name

    write.asked, write.records = asked, tmp_path / "records.jsonl"
    return write


@pytest.mark.parametrize(
    ("comparison", "ours", "verdict"),
    [
        ({"digits": 3}, {"value": 2.0004}, "equal"),
        ({"digits": 3}, {"value": 2.0006}, "different"),
        ({"digits": None, "percent": 5.0}, {"value": 2.09}, "within"),
        ({"digits": None, "percent": 5.0}, {"value": 1.89}, "different"),
        ({"digits": None, "spread": 0.5}, {"value": 2.5}, "within"),
        ({"digits": None, "at_most": True}, {"value": 1.9, "low": 1.8, "high": 2.0}, "reached"),
        ({"digits": None, "at_most": True}, {"value": 1.9, "low": 1.8, "high": 2.1}, "missed"),
        ({"digits": None, "at_most": True, "percent": 10.0}, {"value": 2.1}, "reached"),
        ({"digits": None, "at_most": True, "percent": 10.0}, {"value": 2.3}, "missed"),
        ({"digits": None, "at_least": True}, {"value": 2.2, "low": 1.9, "high": 2.3}, "missed"),
        ({"digits": None, "at_least": True}, {"value": 2.2, "low": 2.1, "high": 2.3}, "reached"),
    ],
)
def test_the_verdict_follows_from_number_and_interval(write, comparison, ours, verdict):
    text = row(**comparison) + "[rows.arguments]\n" + "".join(f"{name} = {value}\n" for name, value in ours.items())
    (outcome,) = reproduce([write(text)], write.records)
    assert outcome.verdict == verdict


def test_what_was_measured_is_kept_until_its_arguments_change(write):
    file = write(row(arguments_value=None) + row(what="another"))
    reproduce([file], write.records)
    assert write.asked == [2.0, 2.0]
    reproduce([file], write.records)
    assert write.asked == [2.0, 2.0]
    mended = write(row(value=3.0) + row(what="another") + "[rows.arguments]\nvalue = 4.0\n")
    first, second = reproduce([mended], write.records)
    assert write.asked == [2.0, 2.0, 4.0]
    assert (first.verdict, second.ours) == ("different", 4.0)
    reproduce([mended], write.records, resume=False)
    assert len(write.asked) == 5


def test_other_weights_are_measured_anew_and_named(write, monkeypatch, tmp_path):
    monkeypatch.setattr(published, "PACKAGE", tmp_path)
    (tmp_path / "agents" / "weights").mkdir(parents=True)
    shipped = tmp_path / "agents" / "weights" / "mine.safetensors"
    shipped.write_bytes(b"first")
    file = write(row(weights=["mine"]) + row(what="without"))
    first, _ = reproduce([file], write.records)
    reproduce([file], write.records)
    assert len(write.asked) == 2 and first.weights == {"mine": hashlib.sha256(b"first").hexdigest()}
    shipped.write_bytes(b"second")
    outcomes = reproduce([file], write.records)
    assert len(write.asked) == 3
    assert f"weights mine `{hashlib.sha256(b'second').hexdigest()[:12]}`" in page([file], outcomes)


def test_a_failure_and_missing_data_are_outcomes_and_tried_again(write, monkeypatch, tmp_path):
    file = write(row(measure="fails", expect="equal") + row(what="b") + '[rows.arguments]\nlow = "${SYSGYM_DATA}/x"\n')
    monkeypatch.setenv("SYSGYM_DATA", str(tmp_path))
    failed, missing = reproduce([file], write.records)
    assert (failed.verdict, failed.is_expected) == ("failed", False) and "no luck" in failed.cause
    assert (missing.verdict, missing.is_expected, write.asked) == ("no data", True, [])
    (tmp_path / "x").touch()
    reproduce([file], write.records)
    assert write.asked == [2.0]


def test_rows_of_other_files_stay_in_the_records(write):
    one, other = write(row(), "one.toml"), write(row(what="b"), "other.toml")
    reproduce([other], write.records)
    reproduce([one], write.records)
    assert [outcome.file for outcome in read_outcomes(write.records)] == ["one.toml", "other.toml"]


def test_the_page_shows_every_row_and_repeats(write):
    file = write(row(expect="equal", why="because") + row(what="an interval", digits=None, percent=50.0)
                 + "[rows.arguments]\nvalue = 2.5\nlow = 2.25\nhigh = 2.75\n")  # fmt: skip
    outcomes = reproduce([file], write.records)
    text = page([file], outcomes)
    assert text == page([file], read_outcomes(write.records))
    for words in ("## A paper", "Somebody, 2020", "| 2.000 |", "2.5 [2.25, 2.75]", "because", "1 equal", "1 within"):
        assert words in text


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (row(measure="guess"), UnknownNameError, "guess"),
        (row(percent=5.0), StudyError, "exactly one"),
        (row(colour="red"), StudyError, "colour"),
        ("", StudyError, "rows"),
        ("[[rows]\n", StudyError, "paper.toml"),
    ],
)
def test_mistakes_in_a_file_are_named(write, text, error, words):
    with pytest.raises(error, match=words):
        reproduce([write(text)], write.records)


def test_damaged_records_are_named(write):
    write.records.write_text("{}\n")
    with pytest.raises(RecordError, match="delete it"):
        reproduce([write(row())], write.records)


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_every_committed_number_has_a_record_with_the_expected_verdict(file):
    content = read_reproduction(file)
    records = {outcome.row["what"]: outcome for outcome in read_outcomes(file.parent / "records.jsonl")
               if outcome.file == file.name}  # fmt: skip
    for each in content.rows:
        assert each.measure in MEASURES and each.expect is not None
        kept = records[each.what]
        assert kept.row["arguments"] == each.arguments and set(kept.weights) == set(each.weights)
        assert each.verdict(kept.ours, kept.low, kept.high) == kept.verdict == each.expect
