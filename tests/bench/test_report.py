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
from sysgym.bench.leaderboard import leaderboard
from sysgym.bench.records import append_record
from sysgym.bench.report import headline, render_report, write_report
from sysgym.core.errors import RecordError
from tests.bench.conftest import make_record

NOISE = np.random.default_rng(4).pareto(1.2, 30) + 1
RENDER = "import sys; from sysgym.bench.report import write_report; from sysgym.bench.records import find_records; " \
    "write_report(find_records(sys.argv[1]), sys.argv[2])"  # fmt: skip


@pytest.fixture(scope="module")
def records():
    made = [make_record("fcfs", NOISE * 1.3), make_record("sjf", NOISE), make_record("mine <b>", NOISE, kind="code")]
    made += [make_record("PPO", NOISE * factor, seed=seed) for seed, factor in enumerate((0.8, 0.81, 0.82))]
    made += [make_record(name, -NOISE * factor, name="Dark & <odd>", direction="max")
             for factor, name in enumerate(("a", "b", "c"), start=1)]  # fmt: skip
    return [*made, make_record("broken", [], kind="code", failure="ValueError: </td><script>")]


class Page(HTMLParser):
    """Collects what a browser would load, and checks that tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "br", "hr", "line", "rect", "path", "circle", "polygon"):
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
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    references = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert references and all(value.startswith("#") for value in references)
    assert "prefers-color-scheme: dark" in text


def test_names_of_users_are_escaped(records):
    text = render_report(records)
    assert "mine &lt;b&gt;" in text and "Dark &amp; &lt;odd&gt;" in text and "<script>" not in text


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
    assert text.count('class="line c1"') == 2 + 3


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
    figure = plots.mean_figure(leaderboard([make_record("a", NOISE), make_record("b", NOISE * 2)])[0])
    first, second = figure.bars
    assert second.end - second.begin == pytest.approx(2 * (first.end - first.begin), abs=0.2)
    assert first.begin == second.begin == figure.ticks[0].at and figure.ticks[0].label == "0"
    assert first.end == figure.reference and first.low < first.point < first.high


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
    axis = plots.Axis(low, high, 0, 100, log)
    ticks = axis.ticks()
    assert [tick.label for tick in ticks] == labels
    assert all(0 <= tick.at <= 100 for tick in ticks) and ticks == sorted(ticks, key=lambda tick: tick.at)


def test_templates_are_part_of_the_package():
    names = {item.name for item in files("sysgym.bench").joinpath("templates").iterdir()}
    assert {"report.html.j2", "figures.html.j2", "style.css"} <= names
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["sysgym"]
