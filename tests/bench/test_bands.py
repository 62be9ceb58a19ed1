"""Reference bands, held to MLPerf's published examples, and how a page shows many trainings."""

import numpy as np
import pytest

from sysgym.bench.bands import reference_band
from sysgym.bench.contests import contests
from sysgym.bench.curves import expected_trainings, training_figure
from sysgym.core.errors import SettingError
from tests.bench.conftest import make_record


@pytest.mark.parametrize(
    ("epochs", "mean", "limit"),
    [
        ([16, 14, 16, 17, 16, 16, 15, 16, 15, 16], 15.75, 15.21),
        ([20, 21, 21, 20, 22, 22, 21, 21, 20, 20], 20.75, 19.93),
    ],
)
def test_limits_are_those_of_the_published_appendix(epochs, mean, limit):
    band = reference_band(epochs, runs=5)
    assert band.mean == mean and round(band.low, 2) == limit and band.high - mean == pytest.approx(mean - band.low)


def test_too_good_is_noticed_like_too_bad():
    band = reference_band([16, 14, 16, 17, 16, 16, 15, 16, 15, 16])
    assert band.verdict([15, 16, 16, 16, 15], minimise=True) == "as expected"
    assert band.verdict([12, 13, 12, 13, 12], minimise=True) == "too good"
    assert band.verdict([19, 18, 18, 19, 18], minimise=True) == "too bad"
    assert band.verdict([19, 18, 18, 19, 18]) == "too good"
    with pytest.raises(SettingError, match="at least"):
        reference_band([1.0, 2.0])


def test_the_test_holds_its_level():
    generator = np.random.default_rng(0)
    draws = generator.normal(size=(2000, 15))
    outside = [reference_band(row[:10]).verdict(row[10:]) for row in draws]
    assert 0.05 < np.mean([verdict == "too good" for verdict in outside]) < 0.16  # trimming makes it a little eager


def test_many_seeds_are_a_band_and_few_are_lines():
    many = [make_record("PPO", [1.0 + seed / 50, 2.0], seed=seed) for seed in range(12)]
    few = [make_record("A2C", [1.5, 2.5], seed=seed) for seed in range(2)]
    (contest,) = contests([*many, *few])
    figure = training_figure(contest)
    assert [line.name for line in figure.lines] == ["PPO, 95 % of 12 seeds", "A2C", "A2C"]
    assert [bool(line.band) for line in figure.lines] == [True, False, False]
    ((name, seeds, low, high),) = expected_trainings(contest)
    assert (name, seeds) == ("PPO", 12) and low < 1.555 < high
