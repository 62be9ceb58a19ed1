"""The command line as a user meets it: what it prints, and one clear line for every mistake."""

import gzip
import json

import numpy as np
import pytest

from sysgym.bench.records import append_record
from sysgym.bench.study import expand, read_study
from sysgym.cli import studies
from sysgym.workloads import poisson_pareto, write_swf
from tests.bench.conftest import make_record
from tests.cli.conftest import refused


def test_the_reference_row(command, shared_data):
    path = shared_data("traces/swf/KTH-SP2-1996-raw.swf.gz")
    words = "--clean sc15 --processors 100 --policy easy --pass-rule per_event --json"
    code, out, _ = command("replay", path, *words.split())
    assert code == 0 and '"jobs": 28481' in out
    row = json.loads(out)
    assert f"{row['mean_bounded_slowdown']:.6f}" == "92.576540"
    assert (row["policy"], row["pass_rule"], row["clean"], row["processors"]) == ("easy", "per_event", "sc15", 100)
    assert row["repairs"] == {"drop_nonpositive_run_time": 8, "cut_run_time": 475}


def test_every_command_has_a_help_with_an_example(command):
    for name in ["envs", "run", "train", "evaluate", "replay", "leaderboard", "report", "demo", "simplify"]:
        code, out, _ = command(name, "--help")
        assert code == 0 and f"Example: sysgym {name}" in " ".join(out.split())


def test_envs_are_listed_whole_in_80_columns(command):
    code, out, _ = command("envs")
    assert code == 0 and "sysgym/Placement-v0  over_share (min)" in out and "round_robin" in out


def test_envs_lists_ids_and_heuristics(command):
    code, out, _ = command("envs", "--json")
    rows = {row["id"]: row for row in json.loads(out)}
    assert code == 0 and {"sysgym/JobSched-v0", "sysgym/BatchSched-v0"} <= rows.keys()
    assert "sjf" in rows["sysgym/JobSched-v0"]["heuristics"]


def test_replay_shows_every_policy_as_a_table_and_as_lines(command, log):
    code, out, _ = command("replay", log)
    assert code == 0 and all(name in out for name in ("fcfs", "sjf_commit", "easy_sjbf", "300 jobs on 32 processors"))
    code, out, _ = command("replay", log, "--json", "--policy", "fcfs", "--policy", "smallest", "--backfill", "easy")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["policy"] for row in rows] == ["fcfs", "smallest"] and rows[1]["backfill"] == "easy"


def test_replay_predicts_draws_and_names_a_log_without_contention(command, log, tmp_path):
    arguments = ("replay", log, "--policy", "easy_sjbf", "--policy", "easy", "--predictor", "last_two+tsafrir")
    code, out, error = command(*arguments, "--gantt", tmp_path / "who.svg", "--timeline", tmp_path / "queue.png")
    assert code == 0, error
    drawn = ["queue-easy.png", "queue-easy_sjbf.png", "who-easy.svg", "who-easy_sjbf.svg"]
    assert sorted(path.name for path in tmp_path.glob("*-easy*")) == drawn
    _, out, _ = command(*arguments, "--json")
    assert [json.loads(line)["predictor"] for line in out.splitlines()] == ["last_two+tsafrir"] * 2
    light = tmp_path / "light.csv"
    light.write_text("submit_time,run_time,processors\n0,10,1\n100,10,1\n")
    code, out, _ = command("replay", light, "--processors", "4")
    assert code == 0 and "too light to rank" in out
    code, out, _ = command(
        "predictors", log, "--blocks", "5", "--predictor", "requested", "--predictor", "perfect", "--json"
    )
    assert code == 0 and "difference" in json.loads(out.splitlines()[1])


def test_a_policy_of_ones_own_replays_a_log(command, log, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text(
        "class Policy:\n"
        "    def __init__(self, observation_space, action_space): pass\n"
        "    def reset(self): pass\n"
        "    def act(self, observation, action_mask): return 0\n"
    )
    _, out, _ = command("replay", log, "--json", "--policy", own, "--policy", "fcfs")
    mine, fcfs = (json.loads(line) for line in out.splitlines())
    assert mine["mean_wait"] == fcfs["mean_wait"] and mine["policy"] == "mine"


def test_train_evaluate_and_replay_with_the_trained_policy(command, log, tmp_path):
    checkpoint = tmp_path / "policy.safetensors"
    arguments = ("--arg", f"workload={log}", "--arg", "sequence_length=20")
    budget = ("--frames", "600", "--num-envs", "4", "--set", "rollout_steps=32")
    code, out, err = command(
        "train", "--env", "sysgym/BatchSched-v0", *arguments, *budget, "--output", checkpoint, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["frames"] >= 600 and checkpoint.exists()
    code, out, _ = command(
        "evaluate", checkpoint, "--env", "sysgym/BatchSched-v0", *arguments, "--scenarios", 3, "--json"
    )
    row = json.loads(out)
    assert code == 0 and len(row["values"]) == 3 and row["objective"] == "mean_bounded_slowdown"
    code, out, _ = command("replay", log, "--policy", checkpoint, "--json")
    assert code == 0 and json.loads(out)["jobs"] == 300


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no such file"]),
        (b"", ["empty"]),
        (b"1 2 3\n", ["line 1"]),
        (b"; MaxProcs: 4\n1 0 -1 x 1 -1 -1 1 10 -1 1 1 1 -1 -1 -1 -1 -1\n", ["line 2", "number"]),
        (b"; MaxProcs: 4\n1 0 -1 nan 1 -1 -1 1 10 -1 1 1 1 -1 -1 -1 -1 -1\n", ["line 2"]),
        (b"; MaxProcs: 4\n1 0 -1 0 1 -1 -1 1 10 -1 1 1 1 -1 -1 -1 -1 -1\n", ["no job"]),
        (b"1 0 -1 5 1 -1 -1 1 10 -1 1 1 1 -1 -1 -1 -1 -1\n", ["processors"]),
        (bytes(range(256)) * 4, ["bad.swf"]),
    ],
)
def test_a_bad_log_is_one_line(command, tmp_path, content, words):
    path = tmp_path / "bad.swf"
    if content is not None:
        path.write_bytes(content)
    assert refused(command("replay", path, "--format", "swf"), *words)


def test_a_truncated_archive_and_a_directory_are_one_line(command, log, tmp_path):
    cut = tmp_path / "cut.swf.gz"
    cut.write_bytes(log.read_bytes()[:-300])
    assert refused(command("replay", cut), "cut.swf.gz")
    assert gzip.decompress(log.read_bytes())
    assert refused(command("replay", tmp_path), "folder")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--processors", "0"], "processors"),
        (["--processors", "-3"], "processors"),
        (["--processors", "many"], "processors"),
        (["--policy", "eassy"], "did you mean easy"),
        (["--format", "swff"], "did you mean swf"),
        (["--clean", "sc51"], "did you mean sc15"),
        (["--pass-rule", "per-event"], "per_event"),
        (["--engine", "simpi"], "simpy"),
        (["--polcy", "easy"], "--policy"),
        (["--backfill", "eazy", "--policy", "smallest"], "easy"),
        (["--columns", "a=b", "--columns", "run_time"], "name=header"),
        (["--predictor", "last_too"], "did you mean last_two"),
        (["--predictor", "last_two", "--policy", "conservative"], "easy_sjbf"),
        (["--predictor", "last_two", "--policy", "smallest"], "named scheduler"),
        (["--gantt", "who.gif"], ".svg or .png"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_nearest(command, log, words, expected):
    assert refused(command("replay", log, *words), expected)


def test_other_commands_refuse_alike(command, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text('name = "s"\nscenaros = 3\n')
    assert refused(command("run", study), "study.toml", "scenarios")
    assert refused(command("run", tmp_path / "none.toml"), "none.toml")
    assert refused(command("evaluate", "sjf", "--env", "sysgym/JobShed-v0"), "did you mean sysgym/JobSched-v0")
    assert refused(command("evaluate", "sfj", "--env", "sysgym/JobSched-v0"), "did you mean sjf")
    assert refused(command("train", "--env", "sysgym/JobSched-v0", "--algorithm", "pppo"), "ppo")
    assert refused(command("train", "--env", "sysgym/JobSched-v0", "--set", "learning_rat=1"), "learning_rate")
    assert refused(command("leaderboard", tmp_path / "nothing"), "no records")
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(b"not weights")
    assert refused(command("evaluate", corrupt, "--env", "sysgym/JobSched-v0"), "corrupt.safetensors")


def test_an_unwritable_output_is_refused_before_training(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "policy.safetensors"
    result = command("train", "--env", "sysgym/JobSched-v0", "--frames", 100, "--output", target)
    assert refused(result, "cannot write")


def test_a_study_runs_resumes_and_is_shown(command, log, tmp_path):
    study = tmp_path / "small.toml"
    study.write_text(
        'name = "small"\nsplit = "test"\nscenarios = 6\npolicies = ["fcfs", "sjf"]\n'
        '[[environments]]\nid = "sysgym/BatchSched-v0"\n'
        f'arguments = {{ workload = "{log.name}", sequence_length = 10 }}\n'
    )
    code, out, _ = command("run", study, "--dry-run")
    assert code == 0 and out.count("would run") == 2
    code, out, _ = command("run", study, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["policy"]["name"] for row in rows] == ["fcfs", "sjf"]
    code, out, _ = command("run", study)
    assert code == 0 and "best heuristic" in out
    records = study.with_name("small.results") / "records.jsonl"
    assert len(records.read_text().splitlines()) == 2
    code, out, _ = command("leaderboard", study, "--json")
    assert code == 0 and len(json.loads(out)[0]["rows"]) == 2
    code, out, _ = command("leaderboard", study, "--markdown")
    assert code == 0 and out.startswith("## Cluster scheduling\n\n### ")
    page = tmp_path / "page.html"
    assert command("leaderboard", study, "--html", page)[0] == 0 and "</html>" in page.read_text()
    page.unlink()
    assert command("report", study, "--output", page)[0] == 0 and "</html>" in page.read_text()


def test_what_ones_own_code_raises_in_training_is_one_line(command, tmp_path, monkeypatch):
    (tmp_path / "strict.py").write_text(
        "import gymnasium as gym\nimport sysgym\n\n\n"
        "def reward(before, action, after):\n    return 1 / (action - action)\n\n\n"
        'base = gym.spec("sysgym/AdmissionQueue-v0")\n'
        'gym.register("Strict-v0", entry_point=base.entry_point, kwargs={"reward": reward, "engine": "simpy"})\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ("--env", "strict:Strict-v0", "--frames", 64, "--output", tmp_path / "p.safetensors", "--no-tensorboard")
    assert refused(command("train", *words), "strict:Strict-v0: ZeroDivisionError", "strict.py, line 6", "step 1")


def test_an_id_that_nobody_registered_is_told_alike_in_training_and_evaluation(command):
    for words in (("train", "--env"), ("evaluate", "sjf", "--env")):
        assert refused(command(*words, "Valve-v0"), "unknown environment 'Valve-v0'", "mymodule:Valve-v0")
        code, _, err = command(*words, "json:Valve-v0")
        assert code == 2 and len(err) < 600 and "mymodule" not in err
        assert refused(command(*words, "sysgym/JobShed-v0"), "did you mean sysgym/JobSched-v0")


def test_a_study_says_where_what_it_trained_lies(tmp_path, capsys):
    study = tmp_path / "many.toml"
    study.write_text(
        'name = "many"\nsplit = "test"\nscenarios = 6\nvalid = 2\n[[environments]]\nid = "sysgym/AdmissionQueue-v0"\n'
        '[[policies]]\nname = "mine"\ntrain = { algorithm = "ppo", frames = 10, seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8] }\n'
    )
    places = list(dict.fromkeys(run.weights for run in expand(read_study(study))))
    places[0].parent.mkdir(parents=True)
    places[3].touch()
    studies.show_weights(study)
    assert capsys.readouterr().out == f"trained mine, seed 3 on sysgym/AdmissionQueue-v0: {places[3]}\n"
    for place in places:
        place.touch()
    studies.show_weights(study)
    assert capsys.readouterr().out.splitlines()[-1] == f"and 1 more in {places[0].parent}"


@pytest.mark.parametrize("size", ["1,024", "1024 (8 a node)", " 1024"])
def test_a_machine_size_is_read_whole_or_asked_for(command, log, tmp_path, size):
    rows = [line for line in gzip.decompress(log.read_bytes()).decode().splitlines() if not line.startswith(";")]
    path = tmp_path / "sized.swf"
    path.write_text("\n".join([f"; MaxProcs: {size}", *rows]) + "\n")
    _, out, _ = command("replay", path, "--policy", "fcfs", "--json")
    assert json.loads(out)["processors"] == 1024 and json.loads(out)["jobs"] == 300
    for other in ("1.5e3", "64 x", "99999999999999999999"):
        path.write_text("\n".join([f"; MaxProcs: {other}", *rows]) + "\n")
        assert refused(command("replay", path), "processors")
    assert refused(command("replay", log, "--processors", 10**12), "processors")


def test_settings_and_backfilling_are_checked_before_anything_runs(command, log):
    assert refused(command("train", "--env", "sysgym/JobSched-v0", "--frames", 10, "--set", "seed=5"), "--set seed")
    assert refused(command("train", "--env", "sysgym/JobSched-v0", "--frames", 10, "--arg", "arrival_rate=x"), "number")
    assert refused(command("evaluate", "sjf", "--env", "sysgym/JobSched-v0", "--arg", "slots=2.5"), "integer")
    assert refused(command("replay", log, "--policy", "fcfs", "--backfill", "foo"), "none")


def test_index_bench_verifies_and_index_build_saves(command, tmp_path):
    picture, saved = tmp_path / "plot.svg", tmp_path / "keys.index"
    code, out, _ = command(
        "index", "bench", "steps", "--size", 3000, "--queries", 500, "--rounds", 1, "--plot", picture, "--json"
    )
    rows = {row["name"]: row for row in map(json.loads, out.splitlines())}
    assert code == 0 and {"BPlusTree", "PGMIndex epsilon=16", "numpy.searchsorted", "dict"} <= rows.keys()
    assert any(row["front"] for row in rows.values()) and rows["BPlusTree"]["keys"] == 3000
    assert picture.read_text().startswith("<svg") and "BPlusTree" in picture.read_text()
    code, out, _ = command("index", "bench", "uniform", "--size", 2000, "--queries", 100, "--rounds", 1)
    assert code == 0 and "RadixSpline" in out and "all answers verified" in " ".join(out.split())
    code, out, _ = command("index", "build", "osm", saved, "--size", 3000, "--structure", "RadixSpline", "--json")
    assert code == 0 and json.loads(out)["structure"] == "RadixSpline" and saved.exists()
    code, out, _ = command("index", "build", "osm", saved, "--size", 3000)
    assert code == 0 and "Measured, for latency" in out
    for name in ("bench", "build"):
        code, out, _ = command("index", name, "--help")
        assert code == 0 and f"Example: sysgym index {name}" in " ".join(out.split())


def test_mistakes_with_keys_are_one_line(command, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    (tmp_path / "bad_sosd").write_bytes(b"123456789")
    np.save(tmp_path / "unsorted.npy", np.array([3, 1]))
    refused(command("index", "bench", "unifrom"), "uniform")
    refused(command("index", "bench", "osm", "--size", 0), "size is 0")
    refused(command("index", "bench", tmp_path / "bad.npy"), "no .npy file")
    refused(command("index", "bench", tmp_path / "bad_sosd"), "no SOSD file")
    refused(command("index", "build", tmp_path / "unsorted.npy", tmp_path / "i"), "not sorted")
    refused(command("index", "build", "osm", tmp_path / "i", "--structure", "rmi"), "unknown structure")
    assert not (tmp_path / "i").exists()


def test_published_numbers_are_measured_kept_and_shown(command, tmp_path):
    file = tmp_path / "gpipe.toml"
    row = '[[rows]]\nwhat = "{}"\nmeasure = "pipeline_time"\nvalue = {}\ndigits = 3\nexpect = "equal"\n' + (
        'arguments = {{ schedule = "gpipe", stages = 2, micro_batches = 3 }}\n'
    )
    file.write_text('title = "GPipe"\nsource = "closed form"\n' + row.format("right", 12.0))
    words = ("reproduce", file, "--records", tmp_path / "records.jsonl", "--output", tmp_path / "page.md")
    code, out, _ = command(*words)
    assert code == 0 and "equal" in out and "| right | 12.000 |" in (tmp_path / "page.md").read_text()
    file.write_text('title = "GPipe"\nsource = "closed form"\n' + row.format("right", 12.5))
    code, out, _ = command(*words)
    assert code == 1 and "different, expected equal" in out
    code, _, err = command("reproduce", tmp_path / "nowhere.toml", "--records", tmp_path / "records.jsonl")
    assert code == 2 and "nowhere.toml" in err


@pytest.mark.parametrize(
    "reader", [("leaderboard",), ("leaderboard", "--verify"), ("leaderboard", "--json"), ("report",)]
)
def test_records_that_were_altered_or_are_of_another_version_are_refused(command, tmp_path, reader):
    path = tmp_path / "records.jsonl"
    append_record(path, make_record("sjf", [1.0, 2.0, 3.0]))
    whole = path.read_text()
    for change, words in (
        (("3.0", "2.0"), "the record was altered"),
        (('"schema_version":4', '"schema_version":5'), "schema_version is 5; this sysgym reads 1, 2, 3, 4"),
        (("{", ""), "not canonical JSON"),
    ):
        assert change[0] in whole
        path.write_text(whole.replace(*change, 1))
        assert refused(command(reader[0], path, *reader[1:]), "records.jsonl, line 1", words)


def test_splits_and_secrets_are_named_where_they_are_wrong(command, tmp_path):
    short, absent = tmp_path / "short.bin", tmp_path / "absent.bin"
    short.write_bytes(b"12345678")
    queue = ("evaluate", "random", "--env", "sysgym/AdmissionQueue-v0")
    assert refused(command(*queue, "--split", "tets"), "unknown split 'tets'; did you mean test")
    assert refused(command(*queue, "--split", "sealed"), "needs a secret")
    assert refused(command(*queue, "--split", "sealed", "--secret", short), "at least 16")
    assert refused(command(*queue, "--split", "sealed", "--secret", absent), "absent.bin")
    study = tmp_path / "later.toml"
    text = (
        'name = "later"\nscenarios = 6\npolicies = ["random"]\nenvironments = [{ id = "sysgym/AdmissionQueue-v0" }]\n'
    )
    study.write_text(f'{text}split = "sealed"\n')
    assert refused(command("run", study), "later.toml", "needs a secret")
    study.write_text(text + "study_version = 2\n")  # of a sysgym that knows more than this one
    assert refused(command("run", study), "unknown key 'study_version'")
    study.write_text(f'{text}split = "tets"\n')
    assert refused(command("run", study), "'train', 'valid', 'test' or 'sealed', not 'tets'")


@pytest.mark.xdist_group("batch")
def test_a_demo_trains_on_a_log_tests_it_and_leaves_everything_in_its_folder(command, tmp_path):
    path, folder = tmp_path / "mine.swf", tmp_path / "demo"
    write_swf(poisson_pareto(jobs=7_800, processors=32, load=0.9, seed=3), path)
    code, out, err = command("demo", path, "--output", folder, "--seconds", 1)
    assert code == 0, err
    replayed = out.partition("The whole log")[2]
    assert "easy" in replayed and "trained" in replayed, out
    assert "PPO" in (folder / "report.html").read_text() and (folder / "trained.safetensors").is_file()
    kinds = [json.loads(line)["policy"]["kind"] for line in (folder / "demo.results" / "records.jsonl").open()]
    assert kinds.count("learned") == 1 and kinds.count("heuristic") == len(kinds) - 1
