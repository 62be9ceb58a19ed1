"""Running studies: what is recorded, what is kept, and what happens when a run fails or the user stops."""

import json
import shutil
import signal

import pytest

from sysgym import cli
from sysgym.agents import Training, load
from sysgym.bench import environments, execution, runner
from sysgym.bench.leaderboard import leaderboard
from sysgym.bench.provenance import command_line
from sysgym.bench.records import append_record, find_records, latest, read_records
from sysgym.bench.runner import run_study
from sysgym.bench.verification import verify
from sysgym.core.errors import OutputError, RecordError, SettingError, StudyError
from tests.bench import toy

BROKEN = """
class Policy:
    def __init__(self, observation_space, action_space):
        pass
    def act(self, observation, action_mask):
        return {}["nothing"]
"""
CODE = '[[policies]]\nname = "broken"\npolicy = "broken.py"\n'


@pytest.fixture
def broken(tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    return CODE


TRAINED = """
[[policies]]
name = "PPO"
train = { algorithm = "ppo", seeds = [0, 1], frames = 512, settings = { epochs = 1 } }
"""


def states(path, **options):
    seen = []
    found = run_study(path, progress=seen.append, **options)
    return found, [change.state for change in seen]


def test_records_hold_what_a_reader_needs(study, tmp_path):
    found, seen = states(study())
    assert seen == ["started", "done", "started", "done"]
    first = found[0]
    assert first.environment.model_dump() == {
        "name": "Toy queue",
        "id": "tests.bench.toy:Toy-v0",
        "arguments": {"jobs": 30},
        "split": "test",
        "objective": "mean_wait",
        "direction": "min",
        "domain": "Toys",
        "bound": {"kind": "bound", "value": 0.0, "metric": "", "policy": ""},
    }
    assert first.instance.name == "toy.swf" and first.instance.changes[0].model_dump() == {
        "rule": "raise",
        "count": 3,
        "dropped": False,
    }
    assert (first.policy.name, first.policy.kind, first.study) == ("first", "heuristic", "toy")
    assert first.seeds.scenarios == list(range(8)) and first.result.steps == 240
    assert first.values == first.result.metrics["mean_wait"] and first.result.metrics["never"] == [None] * 8
    assert len(set(first.evidence.event_logs)) == 8 and len(first.evidence.queue.length) == 160
    assert first.provenance.packages["numpy"] and first.cost.total > first.cost.environment > 0
    assert str(tmp_path) not in first.line().decode()
    assert read_records(tmp_path / "toy.results" / "records.jsonl") == found


def test_what_is_there_is_kept_and_only_the_missing_runs(study, tmp_path):
    found, _ = states(study())
    again, seen = states(study('[[policies]]\npolicy = "longest"'))
    assert seen == ["kept", "kept", "started", "done"]
    assert again[:2] == found and again[2].policy.name == "longest"
    anew, seen = states(study(), resume=False)
    assert seen.count("done") == 2 and [r.run for r in anew] == [r.run for r in found]
    assert [r.values for r in anew] == [r.values for r in found] and anew[0].record_id != found[0].record_id
    assert len(read_records(tmp_path / "toy.results" / "records.jsonl")) == 5


def test_a_dry_run_runs_nothing(study, tmp_path):
    assert states(study(), dry_run=True) == ([], ["planned", "planned"])
    assert not (tmp_path / "toy.results").exists()


def test_a_failing_run_is_recorded_tried_again_and_stops_no_other(study, broken, tmp_path):
    order = broken + '[[policies]]\npolicy = "longest"'
    found, seen = states(study(order))
    assert seen == ["started", "done", "started", "done", "started", "failed", "started", "done"]
    assert found[2].result.failure == "broken: KeyError: 'nothing' (broken.py, line 6)"
    assert found[2].values == [] and found[2].failed and not found[3].failed
    _, seen = states(study(order))
    assert seen == ["kept", "kept", "kept", "started", "failed"]
    (tmp_path / "broken.py").write_text(BROKEN.replace('{}["nothing"]', "0"))
    found, seen = states(study(order))
    assert found[2].values == found[0].values and "failed" not in seen


def test_what_was_left_unanswered_is_played_again_within_other_limits(study, broken, tmp_path):
    now_and_then = BROKEN.replace("pass", "self.first = 0").replace(
        'return {}["nothing"]',
        'self.first = self.first or observation[0]; return 0 if self.first < 5 else {}["nothing"]',
    )
    (tmp_path / "broken.py").write_text(now_and_then)
    first, seen = states(study(f"{broken}[budgets]\nstep_seconds = 2.0\n"))
    assert seen.count("done") == 3 and 0 < first[2].result.crashes < 8
    assert states(study(f"{broken}[budgets]\nstep_seconds = 2.0\n"))[1] == ["kept"] * 3
    again, seen = states(study(f"{broken}[budgets]\nstep_seconds = 3.0\n"))
    assert seen == ["kept", "kept", "started", "done"] and again[2].policy.isolation.step_seconds == 3.0
    assert states(study(f"{broken}trusted = true\n"))[1] == ["kept", "kept", "started", "failed"]


def test_processes_give_the_same_results(study, broken):
    alone, _ = states(study(broken))
    pooled, seen = states(study(broken), jobs=2, resume=False)
    assert sorted(seen) == ["done", "done", "failed"]
    assert [r.result for r in pooled] == [r.result for r in alone]
    assert [r.evidence for r in pooled] == [r.evidence for r in alone]


@pytest.mark.xdist_group("ray")
def test_ray_gives_the_same_results(study, broken, local_ray):
    alone, _ = states(study(broken))
    spread, seen = states(study(broken), resume=False, backend="ray")
    assert sorted(seen) == ["done", "done", "failed"]
    assert [r.result for r in spread] == [r.result for r in alone]
    assert [r.evidence for r in spread] == [r.evidence for r in alone]


@pytest.mark.xdist_group("ray")
def test_a_run_that_is_lost_on_ray_is_recorded_and_stops_no_other(study, local_ray, tmp_path):
    (tmp_path / "deadly.py").write_text("import os\n" + BROKEN.replace('{}["nothing"]', "os.kill(os.getpid(), 9)"))
    found, _ = states(study('[[policies]]\npolicy = "deadly.py"\ntrusted = true'), backend="ray")
    assert [record.failed for record in found] == [False, False, True]
    assert found[2].result.failure.startswith("lost on Ray (WorkerCrashedError: out of memory, killed")


def test_a_backend_that_does_not_exist_is_named(study):
    with pytest.raises(SettingError, match="backend is 'slurm'; it must be 'processes' or 'ray'"):
        run_study(study(), backend="slurm")
    with pytest.raises(SettingError, match="address is 'auto'; only backend='ray' has one"):
        run_study(study(), address="auto")


def test_an_interrupted_study_goes_on_where_it_stopped(study, monkeypatch):
    path = study('[[policies]]\npolicy = "longest"')

    def interrupted(run, *rest):
        if run.policy.title == "shortest":
            raise KeyboardInterrupt
        return execution.execute(run, *rest)

    monkeypatch.setattr(runner, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(path)
    monkeypatch.setattr(runner, "execute", execution.execute)
    found, seen = states(path)
    assert seen == ["kept", "started", "done", "started", "done"] and len(found) == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_a_training_stops_the_study_and_keeps_the_checkpoint(number, code, study, monkeypatch):
    """The command, a real signal, and the same weights as without it; no run counts as failed."""
    path, update = study(TRAINED.replace("[0, 1]", "[0]").replace("512", "8192")), Training._update
    monkeypatch.setattr("sys.argv", ["sysgym", "run", str(path)])
    # a test run in the background ignores the one, and Ray handles the other
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {each: signal.signal(each, handler) for each, handler in usual.items()}

    def hit(training, share):
        done = update(training, share)
        signal.raise_signal(number)
        return done

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as stop:
        patched.setattr(Training, "_update", hit)
        cli.main()
    after = [signal.signal(each, handler) for each, handler in before.items()]
    assert stop.value.code == code and after == list(usual.values())
    records = path.parent / "toy.results"
    assert [record.policy.kind for record in read_records(records / "records.jsonl")] == ["heuristic"] * 2
    (checkpoint,) = records.rglob("*.safetensors")
    assert load(checkpoint).frames == 4096
    found, seen = states(path)
    assert seen[:3] == ["kept", "kept", "started"] and seen[-1] == "done" and not found[2].failed
    stopped = load(checkpoint).weights_sha256()
    checkpoint.unlink()
    states(path, resume=False)
    assert load(checkpoint).frames == 8192 and load(checkpoint).weights_sha256() == stopped


def test_misspelt_names_are_found_before_anything_runs(study, tmp_path):
    for old, new, message in (
        ('"shortest"', '"shortst"', "unknown policy 'shortst'; did you mean shortest"),
        ("Toy-v0", "Tuy-v0", "unknown environment 'Tuy-v0'; did you mean Toy-v0"),
    ):
        with pytest.raises(StudyError, match=message):
            run_study(study(**{old: new}))
    extra = '[[policies]]\ntrain = { algorithm = "pop", frames = 1 }'
    with pytest.raises(StudyError, match="unknown algorithm 'pop'; did you mean ppo"):
        run_study(study(extra))
    assert not (tmp_path / "toy.results").exists()


def test_policies_are_trained_on_their_split_and_resumed_from_their_checkpoint(study, tmp_path):
    found, seen = states(study(TRAINED))
    assert seen.count("training") >= 2 and seen.count("done") == 4
    trained = found[2:]
    assert [r.policy.training.seed for r in trained] == [0, 1]
    for record in trained:
        assert record.policy.kind == "learned" and record.policy.training.frames >= 512
        assert record.policy.training.curve[-1]["frames"] == record.policy.training.frames
        assert (tmp_path / "toy.results" / record.evidence.checkpoint).is_file() and len(record.policy.sha256) == 64
    (tmp_path / "toy.results" / "records.jsonl").unlink()
    shutil.rmtree(tmp_path / "toy.results" / "checkpoints")
    resumed, seen = states(study(TRAINED))
    assert "training" not in seen and [r.result for r in resumed] == [r.result for r in found]
    assert [r.policy for r in resumed] == [r.policy for r in found]
    arguments = environments.training_arguments(trained[0].environment.id, {"jobs": 30})
    assert arguments == {"jobs": 30, "split": "train"}
    for checkpoint in tmp_path.rglob("*.safetensors"):
        assert str(tmp_path).encode() not in checkpoint.read_bytes()


def test_an_altered_line_is_found(study, tmp_path):
    run_study(study())
    path = tmp_path / "toy.results" / "records.jsonl"
    whole = path.read_text()
    value = json.loads(whole.splitlines()[1])["result"]["metrics"]["mean_wait"][0]
    path.write_text(whole.replace(repr(value), repr(value / 2)))
    with pytest.raises(RecordError, match="line 2: the record was altered"):
        read_records(path)
    path.write_text(whole.replace('"schema_version":4', '"schema_version":9', 1))
    with pytest.raises(RecordError, match="line 1: schema_version is 9; this sysgym reads 1, 2, 3, 4"):
        read_records(path)
    path.write_text("[1]\n" + whole)
    with pytest.raises(RecordError, match="line 1"):
        read_records(path)


def test_unknown_fields_are_refused_even_with_a_fitting_id(study, tmp_path):
    from sysgym.bench.records import _identity, canonical

    run_study(study())
    path = tmp_path / "toy.results" / "records.jsonl"
    fields = json.loads(path.read_text().splitlines()[0])
    fields["result"]["my_score"] = 1.0
    fields["record_id"] = _identity(fields)
    path.write_bytes(canonical(fields) + b"\n")
    with pytest.raises(RecordError, match="my_score: extra inputs"):
        read_records(path)


def test_an_unfinished_last_line_is_no_record_and_is_cut_by_the_next_append(study, tmp_path):
    found, _ = states(study())
    path = tmp_path / "toy.results" / "records.jsonl"
    whole = path.read_bytes()
    for kept in (len(whole) - 1, len(whole) - 200, len(found[0].line()) + 1):
        path.write_bytes(whole[:kept])
        assert read_records(path) == found[:1]
        seen = []
        assert run_study(path.parent.with_name("toy.toml"), progress=seen.append)[0] == found[0]
        notices = [change.text for change in seen if change.state == "notice"]
        cut = kept - len(found[0].line())
        assert notices == [f"{path}: cut an unfinished last line of {cut} bytes"]
        assert len(read_records(path)) == 2
    path.write_bytes(b"torn")
    assert append_record(path, found[0]) == 4 and read_records(path) == found[:1]


def test_records_are_canonical_and_found_in_many_ways(study, tmp_path):
    found, _ = states(study())
    line = found[0].line()
    assert line == (json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")) + "\n").encode()
    for place in ("toy.toml", "toy.results", "toy.results/records.jsonl", "."):
        assert find_records(tmp_path / place) == found
    assert latest([*found, *found[::-1]]) == found[::-1]
    with pytest.raises(RecordError, match="run the study first"):
        find_records(tmp_path / "other.toml")
    with pytest.raises(OutputError, match="cannot write"):
        append_record(tmp_path, found[0])


@pytest.mark.parametrize("version", [1, 2])
def test_records_of_older_versions_are_read_as_they_are(study, tmp_path, version):
    from sysgym.bench.records import _identity, canonical

    run_study(study())
    path = tmp_path / "toy.results" / "records.jsonl"
    fields = json.loads(path.read_text().splitlines()[0])
    now = fields.pop("instance")
    fields["workload"] = {
        "name": now["name"],
        "file_sha256": now["file_sha256"],
        "sha256": now["sha256"],
        "jobs": now["size"],
        "processors": now["facts"]["processors"],
        "clean": now["facts"]["clean"],
        "repairs": now["changes"],
    }
    fields["schema_version"] = version
    if version == 1:
        del fields["seeds"]["training"]
    fields["record_id"] = _identity(fields)
    path.write_bytes(canonical(fields) + b"\n")
    (old,) = read_records(path)
    assert old.seeds.training is None and old.line() == path.read_bytes()
    assert old.played.model_dump() == now


def test_a_policy_is_trained_once_elsewhere_and_played_everywhere(study, tmp_path):
    text = TRAINED_ELSEWHERE
    (tmp_path / "elsewhere.toml").write_text(text)
    found = run_study(tmp_path / "elsewhere.toml")
    learned = [record for record in found if record.policy.kind == "learned"]
    assert [record.environment.name for record in learned] == ["short", "long"]
    assert [record.policy.training.environment for record in learned] == ["", "short"]
    assert learned[0].evidence.checkpoint == learned[1].evidence.checkpoint
    assert learned[0].policy.sha256 == learned[1].policy.sha256
    assert len(list((tmp_path / "elsewhere.results" / "weights").glob("*.safetensors"))) == 1
    drawing = '[[policies]]\nname = "drawing"\nplay = "sampled"\n' + text.split("[[policies]]")[2].split("\n", 2)[2]
    (tmp_path / "elsewhere.toml").write_text(text + drawing)
    sampled = [record for record in run_study(tmp_path / "elsewhere.toml") if record.policy.name == "drawing"]
    assert [record.policy.play for record in sampled] == ["sampled"] * 2
    assert {record.policy.sha256 for record in sampled} == {learned[0].policy.sha256}
    assert sampled[0].values != learned[0].values
    (tmp_path / "elsewhere.toml").write_text(text.replace("scenarios = 6", "scenarios = 7"))
    again = run_study(tmp_path / "elsewhere.toml")
    assert {record.policy.sha256 for record in again if record.policy.kind == "learned"} == {learned[0].policy.sha256}
    (tmp_path / "elsewhere.toml").write_text(text.replace('environment = "short"', 'environment = "shrt"'))
    with pytest.raises(StudyError, match=r"unknown environment 'shrt'; did you mean short"):
        run_study(tmp_path / "elsewhere.toml")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"\\ud800"', "[" * 100_000 + "]" * 100_000, "9" * 5000])
def test_what_json_alone_would_let_pass_is_no_record(study, tmp_path, value):
    run_study(study())
    path = tmp_path / "toy.results" / "records.jsonl"
    path.write_text(path.read_text().replace('"failure":null', f'"failure":{value}', 1))
    with pytest.raises(RecordError, match=r"line 1: not canonical JSON"):
        read_records(path)


TRAINED_ELSEWHERE = """
name = "elsewhere"
scenarios = 6
[[environments]]
name = "short"
id = "tests.bench.toy:Toy-v0"
arguments = { jobs = 20 }
[[environments]]
name = "long"
id = "tests.bench.toy:Toy-v0"
arguments = { jobs = 40 }
[[policies]]
policy = "first"
[[policies]]
name = "PPO"
train = { algorithm = "ppo", environment = "short", frames = 256, settings = { epochs = 1 } }
"""

EXITS = """
import sys
print("module")
class Policy:
    def __init__(self, observation_space, action_space):
        print("built")
    def act(self, observation, action_mask):
        sys.exit()
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_policy_that_exits_ends_its_own_run_only(study, tmp_path, jobs, capfd):
    (tmp_path / "exits.py").write_text(EXITS)
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    extra = '[[policies]]\npolicy = "exits.py"\n[[policies]]\npolicy = "leaves.py"\n[[policies]]\npolicy = "longest"'
    found, seen = states(study(extra), jobs=jobs)
    assert sorted(state for state in seen if state != "started") == ["done"] * 3 + ["failed"] * 2
    assert found[2].result.failure == "exits: SystemExit (exits.py, line 8)"
    assert found[3].result.failure == f"{tmp_path / 'leaves.py'}, line 2: SystemExit: 3"
    assert "module" not in "".join(capfd.readouterr())


def test_a_failure_of_any_words_can_be_recorded(study, tmp_path):
    text = BROKEN.replace('return {}["nothing"]', 'raise ValueError("\\ud800\\nline")')
    (tmp_path / "broken.py").write_text(text)
    assert states(study(CODE))[0][2].result.failure == "broken: ValueError: ? line (broken.py, line 6)"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("jobs = 30", "slots = 3", "Toy queue: environment .*unexpected keyword argument 'slots'"),
        ("jobs = 30", 'split = "all"', "Toy queue: .*'split', which the evaluation decides"),
        ('id = "tests.bench.toy:Toy-v0"', 'id = "no_such_module:Toy-v0"', "Toy queue: .*no_such_module.*importable"),
        ('policy = "shortest"', 'policy = "absent.py"', "/absent.py: no such policy file"),
        ('policy = "shortest"', 'policy = "absent.safetensors"', "/absent.safetensors: no such policy file"),
    ],
)
def test_what_cannot_run_is_found_before_anything_runs(study, tmp_path, old, new, message):
    with pytest.raises(StudyError, match=message):
        run_study(study(**{old: new}))
    assert not (tmp_path / "toy.results").exists()


TRANSFER = """
[[environments]]
name = "Twin"
id = "tests.bench.toy:Twin-v0"
arguments = {{ jobs = 30 }}

[[policies]]
name = "PPO"
{transfer}
train = {{ algorithm = "ppo", environment = "Toy queue", frames = 256, settings = {{ epochs = 1 }} }}
"""


def test_a_policy_of_another_environment_plays_only_where_the_study_says_so(study, tmp_path):
    with pytest.raises(StudyError, match=r"PPO is trained in tests\.bench\.toy:Toy-v0, not in tests\.bench\.toy:Twin"):
        run_study(study(TRANSFER.format(transfer="")))
    assert not any(record.failed for record in run_study(study(TRANSFER.format(transfer="transfer = true"))))
    (kept,) = (tmp_path / "toy.results" / "weights").glob("*.safetensors")
    file = f'policy = "toy.results/weights/{kept.name}"'
    twin = {"Toy-v0": "Twin-v0", 'policy = "shortest"': file}
    with pytest.raises(StudyError, match=rf"Toy queue: .*{kept.name}: .*was trained in Toy-v0, not in Twin-v0"):
        run_study(study(**twin))
    twin['policy = "shortest"'] = f"{file}\ntransfer = true"
    assert run_study(study(**twin))[1].policy.kind == "learned"


def test_a_missing_log_and_a_foreign_environment_say_what_to_do(tmp_path):
    path = tmp_path / "s.toml"
    head = 'name = "x"\npolicies = ["fcfs"]\n'
    path.write_text(head + 'environments = [{ id = "sysgym/BatchSched-v0", arguments = { workload = "zzz.swf" } }]')
    with pytest.raises(StudyError, match=rf"sysgym/BatchSched-v0: {tmp_path}/zzz.swf: no such file"):
        run_study(path)
    path.write_text(head + 'environments = [{ id = "CartPole-v1" }]')
    with pytest.raises(StudyError, match="unknown policy 'fcfs'; the environment has no heuristics, give"):
        run_study(path)
    path.write_text('name = "x"\nseed = 2000000000\npolicies = ["p.py"]\nenvironments = [{ id = "CartPole-v1" }]')
    (tmp_path / "p.py").write_text(BROKEN)
    with pytest.raises(StudyError, match=r"seed .* is 2000000000; it must be at least 0 and at most"):
        run_study(path)


SEARCH = """
[[policies]]
policy = "dice"
best_of = 4

[[policies]]
policy = "dice"
name = "dice itself"
draws = 3
"""


def test_a_search_is_the_best_of_its_tries_and_draws_are_runs_of_one_policy(study, monkeypatch):
    with pytest.raises(StudyError, match="dice, best of 4 has best_of = 4; what comes is not known there"):
        run_study(study(SEARCH))
    monkeypatch.setattr(toy.ToyEnv, "known_at_once", True)
    found = run_study(study(SEARCH))
    (search,) = [record for record in found if record.policy.kind == "search"]
    drawn = [record for record in found if record.policy.name == "dice itself"]
    assert search.policy.name == "dice, best of 4" and search.policy.best_of == 4
    assert [record.seeds.policy for record in drawn] == [0, 1, 2] and len({r.run for r in found}) == len(found)
    assert all(best <= first for best, first in zip(search.values, drawn[0].values, strict=True))
    table = leaderboard(found)[0]
    assert {row.policy: row.runs for row in table.rows} == {
        "dice, best of 4": 1, "dice itself": 3, "first": 1, "shortest": 1,
    }  # fmt: skip
    assert all(verdict.verified for verdict in verify((study().with_name("toy.results"), r) for r in found))


@pytest.mark.parametrize("program", ["/somewhere/bin/sysgym", "/somewhere/sysgym/__main__.py"])
def test_a_command_is_remembered_without_the_folder_of_its_program(monkeypatch, program):
    monkeypatch.setattr("sys.argv", [program, "run", "a study.toml"])
    assert command_line() == "sysgym run 'a study.toml'"
