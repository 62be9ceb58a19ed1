"""`sysgym trace`: what it prints, its exit codes, and one clear line for every mistake."""

import json
import os
import re
import threading

import gymnasium as gym
import numpy as np
import pytest

from sysgym.bench.demo import prepare
from sysgym.bench.study import expand, read_study
from sysgym.core.errors import WorkloadError
from sysgym.workloads import poisson_pareto, write_swf
from tests.cli.conftest import refused
from tests.workloads.formats import made_tables as made
from tests.workloads.made_logs import swf_row, write_log


def test_validate_says_what_is_wrong_and_how_bad(command, tmp_path):
    rows = [swf_row(1, run=30), swf_row(2), swf_row(2)]
    code, out, _ = command("trace", "validate", write_log(tmp_path / "log.swf", rows))
    assert code == 0
    assert re.search(r"warning +1 +run_exceeds_requested_time in run_time \(33.33%\)", out)
    assert "lines 2" in out and "clean=sc15 keeps 2 jobs" in out
    assert command("trace", "validate", tmp_path / "log.swf", "--strict")[0] == 1
    code, out, _ = command("trace", "validate", write_log(tmp_path / "bad.swf", ["1 2", *rows]), "--json")
    report = json.loads(out)
    assert code == 1 and report["rows"] == 3
    assert [a["rule"] for a in report["anomalies"] if a["severity"] == "error"] == ["field_count"]
    assert report["anomalies"][0]["first_lines"] == [2]


def test_a_schema_and_a_baseline(command, log, tmp_path):
    schema, base = tmp_path / "schema.toml", tmp_path / "base.json"
    assert command("trace", "infer", log, "--output", schema)[0] == 0
    assert command("trace", "validate", log, "--schema", schema)[0] == 0
    code, out, _ = command("trace", "stats", log, "--json")
    base.write_text(out)
    assert code == 0 and json.loads(out)["summary"]["jobs"] == 300
    assert command("trace", "validate", log, "--against", base)[0] == 0
    write_swf(poisson_pareto(3000, 32, load=20, seed=5), tmp_path / "other.swf")
    code, out, _ = command("trace", "validate", tmp_path / "other.swf", "--against", base)
    assert code == 1 and "drift in gap between arrivals" in " ".join(out.split())


def test_stats_draws_a_page(command, log, tmp_path):
    page = tmp_path / "page.html"
    code, out, _ = command("trace", "stats", log, "--output", page)
    assert code == 0 and "arrivals by hour" in out
    html = page.read_text()
    assert html.count("<svg") == 4 and "<script" not in html and "http" not in html
    assert "run time, s" in html and "prefers-color-scheme:dark" in html
    command("trace", "stats", log, "--output", page)
    assert page.read_text() == html


def test_stats_of_a_pipe(command, log, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(log.read_bytes()))
    writer.start()
    code, out, _ = command("trace", "stats", pipe, "--json")
    writer.join()
    assert code == 0 and out == command("trace", "stats", log, "--json")[1].replace(str(log), str(pipe))


@pytest.mark.parametrize("name", sorted(made.TEXTS))
def test_stats_of_every_format(command, tmp_path, name):
    path = tmp_path / "log"
    path.write_text(made.TEXTS[name][0])
    code, out, _ = command("trace", "stats", path, "--json")
    summary = json.loads(out)["summary"]
    assert code == 0 and sum(summary["arrivals_by_hour"]) == summary["jobs"] > 0
    assert command("trace", "stats", path)[0] == 0


def test_stats_count_hours_on_the_clock_of_the_log(command, tmp_path):
    header = ["; MaxProcs: 8", "; UnixStartTime: 1509865200", "; TimeZoneString: US/Pacific"]  # 2017-11-05 00:00 there
    rows = [swf_row(job, submit=hour * 3600 + 60) for job, hour in enumerate((0, 1, 2, 3, 30), 1)]
    code, out, _ = command("trace", "stats", write_log(tmp_path / "log.swf", rows, header), "--json")
    summary = json.loads(out)["summary"]
    hours = {hour: count for hour, count in enumerate(summary["arrivals_by_hour"]) if count}
    assert code == 0 and summary["clock"] == "US/Pacific"
    assert hours == {0: 1, 1: 2, 2: 1, 5: 1}  # the clock shows one o'clock twice that night
    assert summary["arrivals_by_weekday"] == [1, 0, 0, 0, 0, 0, 4]


def test_mistakes(command, log, tmp_path):
    assert refused(command("trace", "validate", tmp_path / "absent.swf"), "no such file")
    bad = tmp_path / "s.toml"
    bad.write_text("format = ")
    assert refused(command("trace", "validate", log, "--schema", bad), "is not TOML")
    other = tmp_path / "philly.csv"
    other.write_text(made.PHILLY)
    assert refused(command("trace", "validate", log, "--against", other), "give a baseline of the same format")
    assert refused(command("trace", "stats", log, "--output", tmp_path), "is a directory")
    assert refused(command("replay", other), "doesn't tell the size of the machine")
    other.write_text(made.GAVEL)
    assert refused(command("replay", other, "--processors", 64), "format 'gavel'", "no run times")


def test_generate_writes_a_log_that_replays(command, tmp_path):
    path = tmp_path / "made.swf.gz"
    words = "--jobs 400 --processors 64 --load 0.9 --estimates tsafrir --seed 3"
    code, out, _ = command("trace", "generate", "lublin", *words.split(), "--output", path, "--json")
    assert code == 0 and json.loads(out)["bytes"] == path.stat().st_size
    once = path.read_bytes()
    command("trace", "generate", "lublin", *words.split(), "--output", path)
    assert path.read_bytes() == once
    code, out, _ = command("replay", path, "--policy", "easy", "--json")
    assert code == 0 and json.loads(out)["jobs"] == 400
    assert command("trace", "generate", "lublin_typed", "--jobs", "50", "--output", path)[0] == 0
    assert command("trace", "generate", "downey", "--jobs", "50", "--set", "night_rate=0.5", "--output", path)[0] == 0
    assert refused(command("trace", "generate", "lubin", "--output", path), "did you mean lublin")
    assert refused(command("trace", "generate", "downey", "--set", "nights=2", "--output", path), "unknown setting")


def test_replay_of_a_part_at_another_load(command, log):
    words = "--policy easy --json --window 50:250 --load 0.7"
    code, out, _ = command("replay", log, *words.split())
    assert code == 0 and json.loads(out)["jobs"] == 200
    code, out, _ = command("replay", log, "--policy", "easy", "--json", "--drop-flurries", "1", "--arrivals", "0.5")
    row = json.loads(out)
    assert code == 0 and row["repairs"]["drop_flurries"] == 300 - row["jobs"] > 0
    pods = log.with_name("pods.csv")
    pods.write_text(made.OPENB)
    assert refused(command("replay", pods, "--processors", "32"), "no run time for 1 of 3 jobs", "--with-run-times")
    code, out, _ = command("replay", pods, "--processors", "32", "--with-run-times", "--policy", "easy", "--json")
    assert code == 0 and json.loads(out)["repairs"]["drop_unknown_run_time"] == 1
    assert refused(command("replay", log, "--window", "9"), "write it as i:j")
    assert refused(command("replay", log, "--window", "0:999"), "must lie within the 300 jobs")
    assert refused(command("replay", log, "--drop-user", "999"), "user 999 has no job")
    assert refused(command("replay", log, "--load", "-1"), "load is -1")


def test_fetch_lists_logs_and_says_what_to_do_without_a_network(command, tmp_path):
    code, out, _ = command("trace", "fetch")
    assert code == 0 and "KTH-SP2-1996" in out and "unverified" in out
    manifest = tmp_path / "MANIFEST.toml"
    manifest.write_text('[[log]]\nname = "mine"\nfile = "mine.swf"\naddress = "http://127.0.0.1:9/mine.swf"\n')
    words = ("trace", "fetch", "mine", "--manifest", manifest, "--folder", tmp_path)
    assert refused(command(*words), "cannot reach 127.0.0.1", "by hand", str(tmp_path / "mine.swf"))
    write_log(tmp_path / "mine.swf", [swf_row(1)])
    code, out, _ = command(*words, "--json")
    assert code == 0 and json.loads(out)["verified"] is False and len(json.loads(out)["sha256"]) == 64
    assert refused(command("trace", "fetch", "KTH-SP3-1996"), "did you mean KTH-SP2-1996")


def test_a_table_of_ones_own_goes_through_every_command_about_logs(command, tmp_path):
    rng = np.random.default_rng(0)
    queued = np.datetime64("2024-03-10T01:00:00") + np.cumsum(rng.integers(0, 60, 400)).astype("timedelta64[s]")
    rows = zip(queued, rng.integers(1, 400, 400), rng.integers(1, 9, 400), strict=True)
    path = tmp_path / "mine.csv"
    path.write_text("queued,elapsed,cores\n" + "".join(f"{time},{run},{size}\n" for time, run, size in rows))
    mapping = {"submit_time": "queued", "run_time": "elapsed", "processors": "cores"}
    columns = [word for name, header in mapping.items() for word in ("--columns", f"{name}={header}")]
    code, out, _ = command("trace", "validate", path, *columns)
    assert code == 0 and out.count("missing_optional_column") == 1
    machine = [*columns, "--processors", 8]
    code, out, _ = command(
        "replay", path, *machine, "--backfill", "easy", "--policy", "sjf", "--policy", "f1", "--json"
    )
    assert code == 0 and out.count('"backfill": "easy"') == 2
    windows = ["--policy", "sjf", "--policy", "f1", "--split", "all", "--length", 50, "--stride", 50, "--blocks", 4]
    code, out, _ = command("compare", path, *machine, *windows, "--json")
    assert code == 0 and out.count("\n") == 2
    code, out, _ = command("predictors", path, *machine, "--blocks", 4, "--predictor", "requested", "--json")
    assert code == 0 and out.count("\n") == 1


def test_the_study_of_a_demo_reads_the_table_as_the_demo_does(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("queued,elapsed,cores\n" + "".join(f"{60 * i},{i % 9 + 1},1\n" for i in range(1920)))
    mapping = {"submit_time": "queued", "run_time": {"column": "elapsed", "unit": "min"}, "processors": "cores"}
    study, _ = prepare(tmp_path / "demo", path, processors=8, columns=mapping)
    environment = expand(read_study(study))[0].environment
    assert gym.make(environment.id, **environment.arguments).unwrapped.workload.run_time.max() == 540
    assert environment.arguments["sequence_length"] == 64  # a short log is tested on short windows
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1000]))
    with pytest.raises(WorkloadError, match="too few for a test on the last fifth; bring at least 1920"):
        prepare(tmp_path / "demo", path, processors=8, columns=mapping)
