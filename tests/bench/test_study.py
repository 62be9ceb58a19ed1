"""Studies: what is read, what is refused and how, and what the id of a run depends on."""

import os
import textwrap

import pytest

from sysgym.bench import study_file
from sysgym.bench.study import expand, read_study
from sysgym.core.errors import StudyError

TRAIN = """
[[policies]]
name = "PPO"
train = { algorithm = "ppo", seeds = [3, 4], frames = 100, settings = { epochs = 2 } }
"""


def test_the_example_of_the_documentation_is_a_study(tmp_path, monkeypatch):
    lines = study_file.__doc__.split("A whole one:")[1].split("`policies = ")[0]
    (tmp_path / "sp2.toml").write_text(textwrap.dedent(lines))
    monkeypatch.setenv("SYSGYM_DATA", "/data")
    read = read_study(tmp_path / "sp2.toml")
    everything = expand(read)
    runs = [run for run in everything if not run.choosing]
    assert [run.label for run in everything[len(runs) :]] == [f"{run.label}, valid" for run in runs]
    assert len({run.id for run in everything}) == len(everything) == 2 * len(runs)
    assert {(run.split, run.scenarios) for run in everything} == {("test", 20), ("valid", 10)}
    drawn = [run for run in runs if run.policy.title == "random"]
    runs = [run for run in runs if run.policy.title != "random"]
    assert len({run.id for run in drawn}) == 20 and [run.policy_seed for run in drawn] == list(range(20))
    assert drawn[3].label == "random, draw 3 on SDSC SP2"
    assert [run.label for run in runs] == [
        "sjf on SDSC SP2",
        "mine on SDSC SP2",
        "PPO, seed 0 on SDSC SP2",
        "PPO, seed 1 on SDSC SP2",
        "PPO, seed 2 on SDSC SP2",
    ]
    assert runs[0].arguments["workload"] == "/data/traces/swf/SDSC-SP2-1998-head4961.swf.gz"
    assert read.located("policies/mine.py") == str(tmp_path / "policies" / "mine.py")
    assert read.records == tmp_path / "sp2.results" / "records.jsonl"
    assert runs[2].training_budget == (500_000, None)


def test_short_and_long_ways_to_name_policies_agree(tmp_path):
    short, long = tmp_path / "a.toml", tmp_path / "b.toml"
    head = 'name = "x"\nenvironments = [{ id = "CartPole-v1" }]\n'
    short.write_text(head + 'policies = ["a", "b"]\n')
    long.write_text(head + 'policies = [{ policy = "a" }, { name = "b" }]\n')
    labels = [[run.label for run in expand(read_study(path))] for path in (short, long)]
    assert labels[0] == labels[1] == ["a on CartPole-v1", "b on CartPole-v1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenarios": "scenaros"}, "unknown key 'scenaros'; did you mean scenarios"),
        ({'policy = "first"': 'polcy = "first"'}, "policies number 1: unknown key 'polcy'; did you mean policy"),
        ({"scenarios = 8": 'scenarios = "8"'}, "scenarios: input should be a valid integer, not '8'"),
        ({"scenarios = 8": "scenarios = 0"}, "scenarios: input should be greater than or equal to 1, not 0"),
        ({'id = "tests.bench.toy:Toy-v0"': ""}, "environments number 1, id: is required"),
        ({"scenarios = 8": 'split = "tst"'}, "split: input should be 'train', 'valid', 'test' or 'sealed', not 'tst'"),
        ({'name = "toy"': 'name = "a b"'}, "name: string should match pattern"),
        ({'policy = "shortest"': 'policy = "first"'}, "two of the same policy 'first'"),
        ({"scenarios = 8": "scenarios = "}, "not TOML: .*line 4"),
        ({"jobs = 30": "jobs = nan"}, "environments number 1, arguments, .*finite number, not nan"),
    ],
)
def test_faults_are_named_with_their_place(study, change, message):
    with pytest.raises(StudyError, match=rf"toy.toml: {message}"):
        read_study(study(**change))


def test_faults_of_policies_are_named(study):
    faults = {
        '[[policies]]\nname = "x"\ntrain = { algorithm = "ppo" }': "x has no training budget",
        '[[policies]]\npolicy = "a"\ntrain = { algorithm = "ppo", frames = 1 }': "both policy and train",
        '[[policies]]\npolicy = "a"\nenvironments = ["Toy queu"]': "unknown environment 'Toy queu'; did you mean",
        '[[policies]]\ntrain = { algorithm = "ppo", frames = 1, seed = 3 }': "unknown key 'seed'; did you mean seeds",
        "[budgets]\ntraining_second = 3": "unknown key 'training_second'; did you mean training_seconds",
    }
    for extra, message in faults.items():
        with pytest.raises(StudyError, match=message):
            read_study(study(extra))
    nothing = {'policy = "first"': 'policy = "first"\nenvironments = []'}
    nothing['policy = "shortest"'] = 'policy = "shortest"\nenvironments = []'
    with pytest.raises(StudyError, match=r"toy.toml: nothing would run"):
        read_study(study(**nothing))
    with pytest.raises(StudyError, match=r"absent.toml: No such file"):
        read_study("absent.toml")


def test_data_variable_must_be_set_where_it_is_used(study, monkeypatch):
    monkeypatch.delenv("SYSGYM_DATA", raising=False)
    path = study(**{"jobs = 30": 'workload = "${SYSGYM_DATA}/a.swf"'})
    with pytest.raises(StudyError, match="needs SYSGYM_DATA"):
        _ = expand(read_study(path))[0].id


def test_ids_of_runs_depend_on_what_matters_and_on_nothing_else(study, tmp_path, monkeypatch):
    def ids(extra=TRAIN, **changes):
        return [run.id for run in expand(read_study(study(extra, **changes)))]

    first = ids()
    assert len(set(first)) == 4 and first == ids()
    assert first == ids(**{'description = "Is the shortest job first?"': 'description = "?"'})
    assert ids(TRAIN.replace("[3, 4]", "[4, 5]"))[2] == first[3]
    for change in ({"jobs = 30": "jobs = 31"}, {"scenarios = 8": "scenarios = 9"}, {"scenarios = 8": "seed = 1"}):
        assert not set(ids(**change)) & set(first)
    assert set(ids(TRAIN.replace("epochs = 2", "epochs = 3"))) & set(first) == set(first[:2])


def test_a_changed_file_makes_a_new_run_and_a_moved_one_does_not(study, tmp_path, monkeypatch):
    def run_id():
        return expand(read_study(path))[-1].id

    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "jobs.swf").write_text("1")
    (tmp_path / "mine.py").write_text("x = 1")
    path = study('[[policies]]\npolicy = "mine.py:Mine"', **{"jobs = 30": 'workload = "${SYSGYM_DATA}/jobs.swf"'})
    monkeypatch.setenv("SYSGYM_DATA", str(tmp_path / "here"))
    before = run_id()
    monkeypatch.setenv("SYSGYM_DATA", str(tmp_path / "there"))
    assert run_id() == before
    (tmp_path / "mine.py").write_text("x = 2")
    changed = run_id()
    assert changed != before
    (tmp_path / "there" / "jobs.swf").write_text("2")
    assert run_id() not in (before, changed)


def test_relative_paths_start_at_the_study(study, tmp_path, monkeypatch):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.swf").write_text("")
    read = read_study(study())
    monkeypatch.chdir(os.sep)
    assert read.located("logs/a.swf") == str(tmp_path / "logs" / "a.swf")
    assert read.located("sysgym/BatchSched-v0") == "sysgym/BatchSched-v0"
    assert read.located("first") == "first"
    assert read.located("zzz.swf") == str(tmp_path / "zzz.swf")
    assert read.located("mine.py:Mine") == str(tmp_path / "mine.py:Mine")
