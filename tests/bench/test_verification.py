"""Records played again, and scenarios that follow from a secret."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from sysgym.bench import environments, records
from sysgym.bench.evaluator import evaluate
from sysgym.bench.records import _identity, canonical, find_records_with_folders
from sysgym.bench.report import render_report
from sysgym.bench.runner import run_study
from sysgym.bench.verification import verify
from sysgym.cli import app
from sysgym.core.errors import SettingError, StudyError

TOY = "tests.bench.toy:Toy-v0"
SECRET = bytes(range(32))
LEARNED = """
[[policies]]
name = "PPO"
train = { algorithm = "ppo", frames = 256, settings = { epochs = 1 } }
"""


def outcomes(folder):
    return [(verdict.fault, verdict.skipped) for verdict in verify(find_records_with_folders(folder))]


def rewrite(path, change):
    """Alter every record and seal it again, as somebody who cheats would."""
    lines = []
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        change(fields)
        fields["record_id"] = _identity(fields)
        lines.append(canonical(fields) + b"\n")
    path.write_bytes(b"".join(lines))


def test_every_record_of_a_study_can_be_played_again_from_its_actions(study, tmp_path):
    run_study(study(LEARNED))
    assert outcomes(tmp_path) == [("", "")] * 3


def test_altered_scores_actions_and_instances_are_found(study, tmp_path):
    run_study(study())
    results = tmp_path / "toy.results"
    kept = (results / "records.jsonl").read_bytes()

    def better(fields):
        fields["result"]["metrics"]["mean_wait"][3] -= 0.25

    rewrite(results / "records.jsonl", better)
    assert all("scenario 3: mean_wait is" in fault for fault, _ in outcomes(tmp_path))

    def elsewhere(fields):
        fields["instance"]["sha256"] = "0" * 64

    (results / "records.jsonl").write_bytes(kept)
    rewrite(results / "records.jsonl", elsewhere)
    assert all("not what was played" in fault for fault, _ in outcomes(tmp_path))
    (results / "records.jsonl").write_bytes(kept)
    first, second = sorted((results / "actions").iterdir())
    first.write_bytes(second.read_bytes())
    assert sum("the actions were altered" in fault for fault, _ in outcomes(tmp_path)) == 1
    first.unlink()
    assert sum("the record's actions must lie beside it" in fault for fault, _ in outcomes(tmp_path)) == 1


def test_failed_and_older_records_are_not_played(study, tmp_path):
    (tmp_path / "broken.py").write_text("x = 1\n")
    run_study(study('[[policies]]\npolicy = "broken.py"\n'))

    def older(fields):
        for name in ("action_log", "action_log_sha256"):
            fields["evidence"].pop(name, None)

    rewrite(tmp_path / "toy.results" / "records.jsonl", older)
    assert sorted(skipped.split(" ")[0] for _, skipped in outcomes(tmp_path)) == ["its", "its", "the"]


def test_sealed_scenarios_follow_from_the_secret_alone():
    seeds = environments.scenario_seeds(TOY, "sealed", 4, secret=SECRET)
    assert seeds == environments.scenario_seeds(TOY, "sealed", 6, secret=SECRET)[:4]
    assert len({*seeds, *environments.scenario_seeds(TOY, "sealed", 4, secret=SECRET[::-1])}) == 8
    assert not {*seeds} & {*environments.scenario_seeds("sysgym/JobSched-v0", "sealed", 4, secret=SECRET)}
    foreign = environments.scenario_seeds("CartPole-v1", "sealed", 50, secret=SECRET)
    assert all(3 * 10**9 <= seed < 4 * 10**9 for seed in foreign)
    for split, secret in (("sealed", b""), ("test", SECRET), ("sealed", b"short")):
        with pytest.raises(SettingError, match="secret"):
            environments.scenario_seeds(TOY, split, 1, secret=secret)


def test_a_sealed_study_commits_to_its_secret_and_can_be_verified(study, tmp_path):
    path = study()
    path.write_text('split = "sealed"\n' + path.read_text())
    with pytest.raises(StudyError, match="needs a secret"):
        run_study(path)
    found = run_study(path, secret=SECRET)
    commitment = hashlib.sha256(SECRET).hexdigest()
    assert {record.seeds.sealed_commitment for record in found} == {commitment}
    assert found[0].seeds.scenarios == environments.scenario_seeds(TOY, "sealed", 8, secret=SECRET)
    assert outcomes(tmp_path) == [("", "")] * 2
    played = evaluate("first", TOY, found[0].environment.arguments, "sealed", 8, secret=SECRET)
    assert played.values == found[0].values
    assert records.latest([*found, *run_study(path, secret=SECRET[::-1])])[-1].seeds.sealed_commitment != commitment


def test_a_page_marks_what_was_played_again_for_it_and_nothing_else(study, tmp_path):
    run_study(study())
    results = tmp_path / "toy.results"
    assert "not played again for this page" in render_report(records.find_records(tmp_path))

    def page():
        verdicts = list(verify(find_records_with_folders(tmp_path)))
        return render_report(records.find_records(tmp_path), verdicts=verdicts)

    assert page().count('title="1 of 1 records played again') == 2 and "2 records were played again" in page()
    kept = (results / "records.jsonl").read_bytes()

    def better(fields):
        fields["result"]["metrics"]["mean_wait"][0] -= 0.25

    rewrite(results / "records.jsonl", better)
    assert page().count("1 differ") == 2 and "scenario 0: mean_wait is" in page()
    (results / "records.jsonl").write_bytes(kept)
    cli = CliRunner().invoke(app, ["leaderboard", str(results), "--verify", "--html", str(tmp_path / "page.html")])
    assert cli.exit_code == 0 and (tmp_path / "page.html").read_text() == page()


def test_weights_that_did_not_play_are_found(study, tmp_path):
    run_study(study(LEARNED))
    (weights,) = (tmp_path / "toy.results" / "weights").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes() + b" ")
    assert [fault.partition(" is not")[0] for fault, _ in outcomes(tmp_path)] == ["", "", f"weights/{weights.name}"]
    cli = CliRunner().invoke(app, ["leaderboard", str(tmp_path), "--verify"])
    said = " ".join(cli.output.split())
    assert cli.exit_code == 1 and "toy 3 2 1 0" in said and "differs: toy: PPO on" in said
    weights.unlink()  # the actions are enough
    assert outcomes(tmp_path) == [("", "")] * 3
