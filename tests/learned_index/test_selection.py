"""`auto` measures every candidate and picks by the stated objective."""

import numpy as np
import pytest

from sysgym.core.errors import KeyValueError, SettingError, UnknownNameError
from sysgym.learned_index import BinarySearch, auto
from sysgym.learned_index.selection import CANDIDATES, Trial, _pick


def test_the_pick_follows_the_objective():
    trials = [Trial("a", {}, 200.0, 0.0, 0), Trial("b", {}, 40.0, 0.0, 500), Trial("c", {}, 55.0, 0.0, 60)]
    assert [_pick(trials, objective, 1000) for objective in ("latency", "size", "balanced")] == [1, 2, 2]


def test_auto_measures_and_answers():
    keys = np.sort(np.random.default_rng(0).integers(0, 2**60, 20_000, dtype=np.uint64))
    index = auto(keys)
    assert len(index.trials) == len(CANDIDATES) and sum(trial.chosen for trial in index.trials) == 1
    assert next(t for t in index.trials if t.chosen).nanoseconds == min(t.nanoseconds for t in index.trials)
    np.testing.assert_array_equal(index.search(keys, "right"), np.searchsorted(keys, keys, "right"))
    assert auto(keys, max_bytes_per_key=0.2).size_bytes <= 0.2 * len(keys)
    assert isinstance(auto(keys, max_bytes_per_key=0), BinarySearch)


@pytest.mark.parametrize("keys", [[], [5], [1.5, 2.5], [7] * 100])
def test_auto_on_few_keys(keys):
    index = auto(keys)
    assert index.search(keys, "right").tolist() == [len(keys)] * len(keys) if len(set(keys)) < 2 else [1, 2]


def test_bad_requests_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean latency"):
        auto([1], objective="latancy")
    with pytest.raises(SettingError, match="max_bytes_per_key"):
        auto([1], max_bytes_per_key=-1)
    with pytest.raises(KeyValueError, match="not sorted"):
        auto([2, 1])
