"""`sysgym place`: what it prints, writes and refuses."""

import json
import sys

import pytest

from sysgym.placement.pipeline import SCHEDULES
from tests.cli.conftest import refused

NODE = (
    "node{} -- Linear -- forward_compute_time=1.0, backward_compute_time=2.0, activation_size=8.0, parameter_size=4.0"
)


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / "chain.txt"
    path.write_text("\n".join([*(NODE.format(i) for i in range(4)), *(f"\tnode{i} -- node{i + 1}" for i in range(3))]))
    return path


def test_place_prints_one_json_object_and_writes_what_it_is_asked_to(command, profile, tmp_path):
    files = ["--output", tmp_path / "out.json", "--timeline", tmp_path / "time.svg"]
    code, out, _ = command("place", profile, "--devices", "2xV100", "--time-limit", "0.5", "--json", *files)
    assert code == 0
    row = json.loads(out)
    assert row["objective"] == pytest.approx(6.0, rel=1e-3)
    assert sorted(row["assignment"]) == [0, 0, 1, 1]
    assert row["node_ids"] == ["node0", "node1", "node2", "node3"]
    assert json.loads((tmp_path / "out.json").read_text())["assignment"] == row["assignment"]
    assert (tmp_path / "time.svg").read_text().startswith("<svg")


def test_place_shows_a_table(command, profile):
    code, out, _ = command("place", profile, "--devices", "2xV100", "--method", "metis")
    assert code == 0
    assert "V100-1" in out
    assert "max_load" in out


def test_a_torch_model_is_planned_from_its_name(command, tmp_path):
    small = ["--layers", "2", "--width", "32", "--vocabulary", "60", "--length", "8", "--batch", "2"]
    files = ["--output", tmp_path / "plan.json", "--timeline", tmp_path / "step.json"]
    code, out, _ = command("place", "transformer", *small, "--devices", "2xA100", "--schedules", "--json", *files)
    assert code == 0
    row = json.loads(out)
    assert row["device_map"]["tokens"] == 0
    assert row["seconds"] <= row["equal_split_seconds"]
    assert {each["schedule"] for each in row["schedules"]} == {*SCHEDULES, "spilled"}
    assert row["flops"] == 2 * 16 * 12 * 2 * 32**2 + 2 * 16 * 32 * 60 + 4 * 2 * 8**2 * 32 * 2
    assert json.loads((tmp_path / "plan.json").read_text())["split_points"] == row["split_points"]
    assert json.loads((tmp_path / "step.json").read_text())["traceEvents"]


def test_a_module_of_ones_own_is_planned_and_shown(command, tmp_path, monkeypatch):
    (tmp_path / "mymodels.py").write_text(
        "import torch\ndef build():\n    m = torch.nn.Sequential(*[torch.nn.Linear(8, 8) for _ in range(4)])\n"
        "    return m, torch.zeros(2, 8)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, out, _ = command("place", "mymodels:build", "--devices", "2xT4", "--schedules")
    assert code == 0
    for word in ("split points: ", "zb-h1", "equally many blocks", "T4-1"):
        assert word in out


def test_schedules_are_compared_on_a_profile(command, profile):
    code, out, _ = command("place", profile, "--devices", "2xV100", "--schedules", "--json")
    assert code == 0
    rows = {each["schedule"]: each for each in json.loads(out)["schedules"]}
    assert rows["1f1b"]["seconds"] == pytest.approx((8 + 2 - 1) * 6e-3, rel=1e-3)
    assert rows["gpipe"]["in_flight"] == 8
    code, out, _ = command("place", profile, "--devices", "2xV100", "--schedules")
    assert code == 0 and "pipemare" in out


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
def test_mistakes_with_models_are_one_line_and_exit_code_2(command, words, message):
    assert refused(command("place", *words), message)


def test_inference_has_no_backward_pass_in_schedules_either(command, profile):
    code, out, _ = command("place", profile, "--devices", "2xV100", "--schedules", "--inference", "--json")
    assert code == 0
    rows = {each["schedule"]: each for each in json.loads(out)["schedules"]}
    assert rows["gpipe"]["seconds"] < (8 + 2 - 1) * 6e-3 / 2 and rows["gpipe"]["in_flight"] == 1
    assert rows["1f1b"]["seconds"] is None
    assert refused(command("place", profile, "--devices", "2xV100", "--inference"), "--inference is for modules")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "names no devices"),
        (("--devices", "2xABC"), "unknown device"),
        (("--devices", "V100", "--method", "x"), "method"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(command, profile, words, message):
    assert refused(command("place", profile, *words), message)


def test_the_shipped_policy_places_from_the_command_line(command, profile):
    code, out, _ = command("place", profile, "--devices", "2xA100", "--method", "policy", "--json")
    assert code == 0
    row = json.loads(out)
    assert row["method"] == "policy" and set(row["assignment"]) == {0, 1}
