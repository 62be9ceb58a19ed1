"""`sysgym place`: what it prints, writes and refuses."""

import json
import sys

import pytest

from sysgym.cli import main

NODE = (
    "node{} -- Linear -- forward_compute_time=1.0, backward_compute_time=2.0, activation_size=8.0, parameter_size=4.0"
)


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / "chain.txt"
    path.write_text("\n".join([*(NODE.format(i) for i in range(4)), *(f"\tnode{i} -- node{i + 1}" for i in range(3))]))
    return path


def _run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["sysgym", "place", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code


def test_place_prints_one_json_object_and_writes_what_it_is_asked_to(profile, tmp_path, monkeypatch, capsys):
    files = ["--output", tmp_path / "out.json", "--timeline", tmp_path / "time.svg"]
    assert _run(monkeypatch, profile, "--devices", "2xV100", "--time-limit", "0.5", "--json", *files) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["objective"] == pytest.approx(6.0, rel=1e-3)
    assert sorted(row["assignment"]) == [0, 0, 1, 1]
    assert row["node_ids"] == ["node0", "node1", "node2", "node3"]
    assert json.loads((tmp_path / "out.json").read_text())["assignment"] == row["assignment"]
    assert (tmp_path / "time.svg").read_text().startswith("<svg")


def test_place_shows_a_table(profile, monkeypatch, capsys):
    assert _run(monkeypatch, profile, "--devices", "2xV100", "--method", "metis") == 0
    shown = capsys.readouterr().out
    assert "V100-1" in shown
    assert "max_load" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "names no devices"),
        (("--devices", "2xABC"), "unknown device"),
        (("--devices", "V100", "--method", "x"), "method"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(profile, monkeypatch, capsys, words, message):
    assert _run(monkeypatch, profile, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
