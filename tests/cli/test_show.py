"""Tables in a terminal: nothing is cut off, and intervals stay whole. Progress where there is none."""

import pytest
from rich.console import Console

from sysgym.cli import show

ROWS = [
    {
        "rank": "10 (10 to 11)",
        "policy": "PPO, 100k, paid at the start, not discounted",
        "mean [95 % CI]": "15.06 [10.9, 19.2]",
        "score": 0.815,
        "ratio to *": "0.815 [0.660, 1.01]",
        "verdict": "no difference",
    },
    {"rank": "1", "policy": "f1 *", "mean [95 % CI]": "-", "score": None, "ratio to *": "-", "verdict": "best"},
]


@pytest.mark.parametrize("width", [80, 200])
def test_all_that_a_table_says_can_be_read(width, monkeypatch, capsys):
    monkeypatch.setattr(show, "out", Console(width=width))
    show.print_table("A board", ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines) and "…" not in str(lines)
    text = " ".join(lines)
    words = {word for row in ROWS for cell in row.values() for word in show.figure(cell).split(" [")[0].split()}
    assert words <= set(text.split()) and "[10.9, 19.2]" in text and "[0.660, 1.01]" in text
    assert ("15.06 [10.9, 19.2]" in text) == (width == 200)


@pytest.mark.parametrize(
    ("seconds", "lines"), [(-1.0, ["training: 25%, 100 frames", "training: 100%, done"]), (1e9, [])]
)
def test_the_log_of_a_batch_job_hears_of_progress_now_and_then(seconds, lines, monkeypatch, capsys):
    monkeypatch.setattr(show, "log", Console(stderr=True, force_terminal=False))
    monkeypatch.setattr(show, "LINE_SECONDS", seconds)
    with show.bar("training") as advance:
        advance(0.25, "100 frames")
        advance(1.0, "done")
    assert capsys.readouterr().err.splitlines() == lines
