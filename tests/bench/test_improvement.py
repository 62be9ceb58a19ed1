"""The matrix of probabilities of improvement, against the definition over runs and tasks."""

import numpy as np
import pytest

from sysgym.bench import statistics
from sysgym.bench.boards import boards
from tests.bench.conftest import make_record

GENERATOR = np.random.default_rng(5)
SCENARIOS = GENERATOR.pareto(2.0, 40) + 1


def test_scenarios_are_the_tasks_and_seeds_the_runs():
    learned = [SCENARIOS * GENERATOR.uniform(0.8, 1.1, 40) for _ in range(3)]
    sjf = SCENARIOS * GENERATOR.uniform(0.9, 1.2, 40)
    records = [make_record("sjf", sjf), make_record("twin", sjf)]
    records += [make_record("PPO", values, seed=seed) for seed, values in enumerate(learned)]
    (board,) = boards(records)
    found = board.improvements
    chances = np.array(found.chances)
    ppo, rule, twin = (found.policies.index(name) for name in ("PPO", "sjf", "twin"))
    expected = statistics.probability_of_improvement(-np.array(learned), -sjf[None, :])  # small waits are good
    assert chances[ppo, rule] == pytest.approx(expected, abs=1e-12) and found.shown[ppo][rule]
    assert chances[rule, twin] == 0.5 and not found.shown[rule][twin]  # ties count half
    assert np.allclose(chances + chances.T, 1.0) and np.array_equal(found.shown, np.transpose(found.shown))


def test_environments_count_alike_whatever_their_scenarios():
    better, worse = SCENARIOS * 0.9, SCENARIOS * 1.1
    records = [make_record(name, values, name="long", run=f"long/{name}") for name, values in
               (("a", SCENARIOS), ("b", better))]  # fmt: skip
    records += [make_record(name, values[:8], name="short", run=f"short/{name}") for name, values in
                (("a", SCENARIOS), ("b", worse))]  # fmt: skip
    (board,) = boards(records)
    assert board.improvements.chances[0][1] == 0.5


def test_few_scenarios_show_nothing():
    (board,) = boards([make_record("a", [1.0, 2.0, 3.0]), make_record("b", [2.0, 3.0, 4.0])])
    assert board.improvements.chances[0][1] == 1.0 and not np.any(board.improvements.shown)
