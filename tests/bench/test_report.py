"""The report: same bytes from the same records, nothing from outside, and what it says."""

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from sysgym.bench import plots
from sysgym.bench.headlines import headline
from sysgym.bench.leaderboard import leaderboard
from sysgym.bench.records import append_record
from sysgym.bench.report import render_report, write_report
from sysgym.core.errors import RecordError
from tests.bench.conftest import make_record

NOISE = np.random.default_rng(4).pareto(1.2, 30) + 1
BOUND = {"kind": "bound", "value": 0.0}
RENDER = "import sys; from sysgym.bench.report import write_report; from sysgym.bench.records import find_records; " \
    "write_report(find_records(sys.argv[1]), sys.argv[2])"  # fmt: skip


@pytest.fixture(scope="module")
def records():
    made = [
        make_record(name, NOISE * factor, bound=BOUND) for name, factor in (("random", 2), ("fcfs", 1.3), ("sjf", 1))
    ]
    made += [make_record("mine <b>", NOISE, kind="code", bound=BOUND)]
    made += [make_record("PPO", NOISE * f, seed=seed, bound=BOUND) for seed, f in enumerate((0.8, 0.81, 0.82))]
    made += [make_record(name, -NOISE * factor, name="Dark & <odd>", direction="max")
             for factor, name in enumerate(("a", "b", "c"), start=1)]  # fmt: skip
    return [*made, make_record("broken", [], kind="code", failure="ValueError: </td><script>", bound=BOUND)]


class Page(HTMLParser):
    """Collects what a browser would load, and checks that tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "br", "hr", "line", "rect", "path", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_two_processes_with_other_hash_seeds_and_locales_write_the_same_bytes(records, tmp_path):
    for record in records:
        append_record(tmp_path / "records.jsonl", record)
    digests = set()
    for seed, language in ((1, "C"), (2, "de_DE.UTF-8")):
        target = tmp_path / f"{seed}.html"
        surroundings = {**os.environ, "PYTHONHASHSEED": str(seed), "LC_ALL": language, "TZ": f"UTC+{seed}"}
        subprocess.run(
            [sys.executable, "-c", RENDER, str(tmp_path), str(target)], env=surroundings, check=True, cwd=tmp_path
        )
        digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
    assert digests == {hashlib.sha256(render_report(records).encode()).hexdigest()}


def test_the_page_is_small_whole_and_needs_nothing_from_outside(records):
    text = render_report(records)
    page = Page(text)
    assert page.open == [] and len(text.encode()) < 200_000
    assert not re.search(r"https?:|//\w|@import|url\(|javascript:", text)
    assert not {"link", "img", "iframe", "object", "base"} & set(page.tags)
    assert page.tags.count("script") == 1 and not [a for a in page.attributes if a[0] == "script"]
    references = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert references and all(value.startswith("#") for value in references)
    assert "prefers-color-scheme: dark" in text


def test_a_page_of_many_environments_stays_below_a_megabyte():
    several = [
        make_record(policy, NOISE * factor, name=f"environment {number}", run=f"{number}/{policy}/{draw}", draw=draw)
        for number in range(70)
        for policy, factor in (("random", 2.0), ("sjf", 1.0), ("fcfs", 1.5))
        for draw in range(2)
    ]
    text = render_report(several)
    assert len(text.encode()) < 1_000_000 and text.count('<details class="environment"') == 70


def test_names_of_users_are_escaped(records):
    text = render_report(records)
    assert "mine &lt;b&gt;" in text and "Dark &amp; &lt;odd&gt;" in text and text.count("<script>") == 1


def test_it_tells_what_a_reader_must_know(records):
    text = render_report(records)
    for fact in (
        "PPO beats the best heuristic",
        "Is the shortest job first?",
        "sysgym run toy.toml --jobs 2",
        "numpy 2.0.0",
        "12" * 20,
        "ab" * 32,
        "cd" * 32,
        "raise requested time: 3 changed",
        "queue length in the busiest scenario, 2",
        "mean return while training",
        "ValueError",
        "ratio to the best heuristic",
    ):
        assert fact in text
    assert text.count('class="line c1"') == 3 + 1 and text.count('class="line filled c1"') == 2


@pytest.mark.parametrize(("length", "drawn"), [([0.0, 1.0], True), ([0.0, 0.0], False), ([2.0, -1.0], False)])
def test_a_queue_is_drawn_where_something_waits(length, drawn):
    def with_queue(record):
        queue = record.evidence.queue.model_copy(update={"length": length})
        return record.model_copy(update={"evidence": record.evidence.model_copy(update={"queue": queue})})

    text = render_report([with_queue(make_record(name, NOISE * factor)) for factor, name in ((1, "sjf"), (2, "fcfs"))])
    assert ("queue length in the busiest scenario" in text) == drawn


def test_headlines_follow_the_verdict():
    def of(*records):
        return headline(leaderboard(records)[0])

    sjf = make_record("sjf", NOISE)
    good = of(sjf, *(make_record("PPO", NOISE * 0.8, seed=seed) for seed in (0, 1)))
    assert (good.title, good.tone) == ("PPO beats the best heuristic", "good")
    assert "20 % lower than that of sjf (ratio 0.800 to 0.800 at 95 % confidence, 30 paired" in good.detail
    assert "2 training seeds). It does worse on 0 % of them." in good.detail
    bad = of(sjf, make_record("PPO", NOISE * 3, seed=0))
    assert (bad.title, bad.tone) == ("sjf beats PPO", "bad") and "3.00 times that of sjf" in bad.detail
    assert "One training seed" in bad.detail
    even = of(sjf, make_record("mine", NOISE[::-1], kind="code"))
    assert even.title == "No difference found between mine and sjf" and even.tone == "even"
    few = of(make_record("sjf", NOISE[:4]), make_record("mine", NOISE[:4] / 2, kind="code"))
    assert few.title == "Too few scenarios for a verdict"
    assert of(sjf, make_record("fcfs", NOISE * 2)).title == "sjf is the best of 2 heuristics"
    assert of(sjf).detail == "" and of(make_record("mine", NOISE, kind="code")).title == "mine has the best mean"


def test_without_records_there_is_no_report(tmp_path):
    with pytest.raises(RecordError, match="no records to report"):
        render_report([])
    path = write_report([make_record("mine", [], failure="boom")], tmp_path / "deep" / "r.html")
    assert "boom" in path.read_text(encoding="utf-8")


def test_positions_follow_the_data():
    figure = plots.comparison_figure(
        leaderboard([make_record("a", NOISE), make_record("b", NOISE * 2 + NOISE[::-1])])[0]
    )
    first, second = figure.bars
    assert first.point == figure.reference < second.low < second.point < second.high
    assert [tick.at for tick in figure.ticks] == sorted(tick.at for tick in figure.ticks)


@pytest.mark.parametrize(
    ("low", "high", "log", "labels"),
    [
        (0, 10, False, ["0", "2", "4", "6", "8", "10"]),
        (-3, 3, False, ["-2", "0", "2"]),
        (0, 1.2e6, False, ["0", "250k", "500k", "750k", "1M"]),
        (0.5, 60, True, ["1", "3", "10", "30"]),
        (0.9, 1.1, True, ["0.9", "0.95", "1", "1.05", "1.1"]),
        (5, 5, False, ["4.6", "4.8", "5", "5.2", "5.4"]),
    ],
)
def test_ticks_are_round_and_in_range(low, high, log, labels):
    axis = plots.Axis(low, high, 0, 400, log)
    ticks = axis.ticks()
    assert [tick.label for tick in ticks] == labels
    assert all(0 <= tick.at <= 400 for tick in ticks) and ticks == sorted(ticks, key=lambda tick: tick.at)


def test_templates_are_part_of_the_package():
    names = {item.name for item in files("sysgym.bench").joinpath("templates").iterdir()}
    assert {"report.html.j2", "tables.html.j2", "figures.html.j2", "style.css", "sort.js"} <= names
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["sysgym"]
