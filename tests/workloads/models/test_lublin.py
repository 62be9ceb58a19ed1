"""The Lublin-Feitelson model: the targets of specs/traces.md, section 10, at a smaller count, and its parts."""

from __future__ import annotations

import numpy as np
import pytest

from sysgym.core.errors import SettingError
from sysgym.workloads.models.lublin import bucket_weights, lublin
from tests.ratios.generators import TARGETS, measured

JOBS = 60_000


@pytest.fixture(scope="module", params=[False, True], ids=["untyped", "typed"])
def sample(request):
    return request.param, lublin(JOBS, 128, seed=11, typed=request.param)


def test_quantiles_and_shares(sample):
    typed, workload = sample
    found, target = measured(workload), TARGETS[typed]
    np.testing.assert_allclose(found["gap"][:5], target["gap"][:5], rtol=0.06, atol=1)
    np.testing.assert_allclose(found["gap"][5], target["gap"][5], rtol=0.12)
    np.testing.assert_allclose(found["run"], target["run"], rtol=0.30 if typed else 0.06, atol=1)
    np.testing.assert_allclose(found["run"][:4], target["run"][:4], rtol=0.06, atol=1)
    np.testing.assert_allclose(found["shares"], target["shares"], atol=0.01)
    np.testing.assert_allclose(found["gap mean"], target["gap mean"], rtol=0.12)
    np.testing.assert_allclose(found["run mean"], target["run mean"], rtol=0.12)
    np.testing.assert_allclose(found["nodes"], target["nodes"], rtol=0.03)
    assert abs(found["correlation"] - target["correlation"]) < 0.015
    if typed:
        assert abs(found["batch"] - target["batch"]) < 0.02


def test_jobs_are_whole_and_in_order(sample):
    _, workload = sample
    assert (np.diff(workload.submit_time) >= 0).all() and workload.submit_time[0] > 0
    assert (workload.submit_time == np.floor(workload.submit_time)).all()
    assert (workload.run_time >= 1).all() and workload.run_time.max() <= np.exp(12)
    assert workload.processors.min() == 1 and workload.processors.max() <= 128
    assert workload.job_id[0] == 1


def test_the_day_has_its_cycle():
    weights = bucket_weights(8.1737, 3.9631)
    assert weights.mean() == pytest.approx(1.0) and weights.argmin() in range(4, 14)
    hours = np.bincount((lublin(200_000, 128, seed=2).submit_time // 3600 % 24).astype(int), minlength=24) / 200_000
    assert 0.034 < hours.min() < 0.040 and 0.044 < hours.max() < 0.050
    assert hours.argmin() in (0, 1, 2, 3, 4) and hours.argmax() in range(8, 16)


def test_seeds_and_sizes():
    assert lublin(500, 64, seed=4).sha256() == lublin(500, 64, seed=4).sha256()
    assert lublin(500, 64, seed=4).sha256() != lublin(500, 64, seed=5).sha256()
    longer = lublin(700, 64, seed=4).take(slice(500))
    np.testing.assert_array_equal(longer.run_time, lublin(500, 64, seed=4).run_time)
    for processors in (8, 100, 1000):
        sizes = lublin(5000, processors, seed=1).processors
        assert processors / 2 < sizes.max() <= processors
    assert lublin(2000, 256, seed=1, load=0.6).offered_load == pytest.approx(0.6, rel=1e-3)


def test_lublin_256_is_of_this_family(shared_data):
    from sysgym.workloads import read_trace

    theirs = read_trace(shared_data("traces/swf/lublin_256.swf.gz"))
    ours = lublin(40_000, 256, seed=3)
    for share in ("serial", "large"):
        left, right = ((w.processors == 1 if share == "serial" else w.processors > 2**5).mean() for w in (theirs, ours))
        assert abs(left - right) < 0.02
    assert np.quantile(ours.run_time, 0.75) == pytest.approx(np.quantile(theirs.run_time, 0.75), rel=0.15)


@pytest.mark.parametrize(
    "wrong", [{"jobs": 0}, {"processors": 4}, {"seed": -1}, {"typed": 1}, {"load": 0.0}, {"load": float("nan")}]
)
def test_settings_out_of_their_range(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        lublin(**({"jobs": 100} | wrong))
