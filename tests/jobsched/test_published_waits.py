"""RLScheduler's baselines on Lublin-1: the published figures need the negative wait, the real one is near SJF."""

import pytest

from tests.ratios.rlscheduler import PUBLISHED, sequence_scores


@pytest.mark.parametrize("order", ["wfp3", "unicep"])
def test_the_published_figures_come_from_a_negative_wait(shared_data, monkeypatch, order):
    monkeypatch.setenv("SYSGYM_DATA", str(shared_data("traces/swf/lublin_256.swf.gz").parents[2]))
    published, corrected = (sequence_scores(name, "none", 3).mean() for name in (f"{order}_published", order))
    assert 0.6 * PUBLISHED["none"][f"{order}_published"] < published < 1.4 * PUBLISHED["none"][f"{order}_published"]
    assert corrected < 0.05 * published
