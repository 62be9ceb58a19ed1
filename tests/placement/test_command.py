"""`sysgym place`: what it prints, writes and refuses."""

import json
import sys

import pytest

from sysgym.cli import main
from sysgym.placement.pipeline import SCHEDULES

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


def test_a_torch_model_is_planned_from_its_name(tmp_path, monkeypatch, capsys):
    small = ["--layers", "2", "--width", "32", "--vocabulary", "60", "--length", "8", "--batch", "2"]
    files = ["--output", tmp_path / "plan.json", "--timeline", tmp_path / "step.json"]
    assert _run(monkeypatch, "transformer", *small, "--devices", "2xA100", "--schedules", "--json", *files) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["device_map"]["tokens"] == 0
    assert row["seconds"] <= row["equal_split_seconds"]
    assert {each["schedule"] for each in row["schedules"]} == {*SCHEDULES, "spilled"}
    assert row["flops"] == 2 * 16 * 12 * 2 * 32**2 + 2 * 16 * 32 * 60 + 4 * 2 * 8**2 * 32 * 2
    assert json.loads((tmp_path / "plan.json").read_text())["split_points"] == row["split_points"]
    assert json.loads((tmp_path / "step.json").read_text())["traceEvents"]


def test_a_module_of_ones_own_is_planned_and_shown(tmp_path, monkeypatch, capsys):
    (tmp_path / "mymodels.py").write_text(
        "import torch\ndef build():\n    m = torch.nn.Sequential(*[torch.nn.Linear(8, 8) for _ in range(4)])\n"
        "    return m, torch.zeros(2, 8)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert _run(monkeypatch, "mymodels:build", "--devices", "2xT4", "--schedules") == 0
    shown = capsys.readouterr().out
    for word in ("split points: ", "zb-h1", "equally many blocks", "T4-1"):
        assert word in shown


def test_schedules_are_compared_on_a_profile(profile, monkeypatch, capsys):
    assert _run(monkeypatch, profile, "--devices", "2xV100", "--schedules", "--json") == 0
    rows = {each["schedule"]: each for each in json.loads(capsys.readouterr().out)["schedules"]}
    assert rows["1f1b"]["seconds"] == pytest.approx((8 + 2 - 1) * 6e-3, rel=1e-3)
    assert rows["gpipe"]["in_flight"] == 8
    assert _run(monkeypatch, profile, "--devices", "2xV100", "--schedules") == 0
    assert "pipemare" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("transformer",), "names no devices"),
        (("transformer", "--devices", "2xABC"), "unknown device"),
        (("transformer", "--devices", "0xA100"), "0 devices"),
        (("transformer", "--devices", "2xA100", "--layers", "0"), "layers is 0"),
        (("transformer", "--devices", "2xA100", "--method", "metis"), "--method is for graphs"),
        (("nowhere:build", "--devices", "2xA100"), "No module named 'nowhere'"),
        (("missing.json", "--devices", "2xA100"), "No such file"),
    ],
)
def test_mistakes_with_models_are_one_line_and_exit_code_2(monkeypatch, capsys, words, message):
    assert _run(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


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


def test_the_shipped_policy_places_from_the_command_line(profile, monkeypatch, capsys):
    assert _run(monkeypatch, profile, "--devices", "2xA100", "--method", "policy", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["method"] == "policy" and set(row["assignment"]) == {0, 1}
