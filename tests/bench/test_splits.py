"""The valid split behind the shown one: the best heuristic is chosen there, and both figures stand side by side."""

import numpy as np
import pytest

from sysgym.bench.boards import boards
from sysgym.bench.leaderboard import leaderboard
from sysgym.bench.report import render_report
from sysgym.bench.splits import splits_of
from tests.bench.conftest import make_record

NOISE = np.random.default_rng(2).pareto(3.0, 20) + 1
BOUND = {"kind": "bound", "value": 0.0}
TEST = {"random": 2.0, "sjf": 1.05, "fcfs": 1.0, "mine": 0.9}
VALID = {"random": 2.0, "sjf": 1.0, "fcfs": 1.2, "mine": 0.8}


def records(valid=VALID, **changes):
    made = []
    for split, factors in (("test", TEST), ("valid", valid)):
        for name, factor in factors.items():
            kind = "code" if name == "mine" else "heuristic"
            values = (NOISE if split == "test" else NOISE[:12]) * factor
            made.append(make_record(name, values, kind, split=split, run=f"{split}/{name}", bound=BOUND, **changes))
    return made


def test_the_best_heuristic_is_chosen_on_the_valid_split():
    (table,) = leaderboard(records())
    assert table.split == "test" and table.chosen_on == 12
    assert table.best_heuristic.policy == "sjf"  # fcfs is better on the shown scenarios, which did not choose
    (board,) = boards(records())
    assert board.best_heuristic.policy == "sjf" and board.best_heuristic.rank == 3
    assert "chosen on 12 scenarios of the valid split" in render_report(records())
    assert leaderboard(records(), against="fcfs")[0].best_heuristic.policy == "fcfs"


def test_a_heuristic_that_has_not_played_valid_leaves_the_choice_to_the_shown_scenarios():
    incomplete = {name: factor for name, factor in VALID.items() if name != "sjf"}
    shown, chosen = leaderboard(records(incomplete))
    assert (shown.split, chosen.split) == ("test", "valid") and shown.chosen_on == 0
    assert shown.best_heuristic.policy == "fcfs"
    assert "chosen on these very scenarios" in render_report(records(incomplete))


def test_figures_of_both_splits_and_the_share_of_pairs_in_the_same_order():
    (board,) = boards(records())
    figure = splits_of(board)
    assert figure.agreement == pytest.approx(5 / 6)  # sjf and fcfs changed places
    assert figure.best == ("mine", 1)
    assert [row.valid for row in board.rows] == pytest.approx([0.6, 0.4, 0.5, 0.0])
    assert figure.labels[0] == ("0.600", "0.550", "-0.050")
    assert splits_of(boards([r for r in records() if r.environment.split == "test"])[0]) is None
