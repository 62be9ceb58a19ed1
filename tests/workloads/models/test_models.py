"""What all models share, and the parts of those after Feitelson and Downey."""

from __future__ import annotations

import numpy as np
import pytest

from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.workloads import MODELS, generate, read_trace, write_swf
from sysgym.workloads.models import variates
from sysgym.workloads.models.downey import speedup
from sysgym.workloads.models.feitelson import size_weights


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_keeps_its_promises(name, tmp_path):
    workload = generate(name, 3000, 64, seed=7, load=0.8)
    assert len(workload) == 3000 and workload.machine.processors == 64
    assert workload.offered_load == pytest.approx(0.8, rel=1e-2)
    assert workload.processors.min() >= 1 and workload.processors.max() <= 64 and workload.run_time.min() >= 1
    assert workload.sha256() == generate(name, 3000, 64, seed=7, load=0.8).sha256()
    assert workload.sha256() != generate(name, 3000, 64, seed=8, load=0.8).sha256()
    write_swf(generate(name, 300, 64, estimates="tsafrir"), tmp_path / "log.swf.gz")
    again = read_trace(tmp_path / "log.swf.gz")
    assert len(again) == 300 and (again.requested_time >= again.run_time).all() and again.repairs == ()


def test_names_and_settings_that_do_not_exist():
    with pytest.raises(UnknownNameError, match="model 'lubin'; did you mean lublin"):
        generate("lubin")
    with pytest.raises(UnknownNameError, match="setting of downey 'nightrate'; did you mean night_rate"):
        generate("downey", nightrate=1)
    with pytest.raises(UnknownNameError, match="model of estimates 'x'"):
        generate("lublin", estimates="x")
    with pytest.raises(SettingError, match="give estimates='tsafrir' too"):
        generate("lublin", longest=7200.0)
    with pytest.raises(SettingError, match="night_rate is 0"):
        generate("downey", night_rate=0)
    with pytest.raises(SettingError, match="load is 0"):
        generate("feitelson", load=0)


def test_gamma_and_exponential_variates():
    key, counter = variates.stream_of(3, "test", "variates")
    for shape, scale in ((4.2, 0.94), (312.0, 0.03), (1.0, 2.0)):
        sample = np.array([variates.gamma(key, counter, shape, scale) for _ in range(20_000)])
        assert sample.mean() == pytest.approx(shape * scale, rel=0.03)
        assert sample.var() == pytest.approx(shape * scale**2, rel=0.06)
    sample = np.array([variates.exponential(key, counter) for _ in range(20_000)])
    assert (sample > np.log(2)).mean() == pytest.approx(0.5, abs=0.015)


def test_feitelson_repeats_jobs_and_favours_powers_of_two():
    workload = generate("feitelson", 20_000, 128, seed=1)
    sizes = np.bincount(workload.processors, minlength=129)
    assert sizes[8] > 4 * sizes[7] and sizes[16] > 4 * sizes[17] and sizes[1] > sizes[2] > sizes[4]
    assert len(np.unique(workload.executable)) < 0.9 * 20_000
    assert workload.run_time.std() > workload.run_time.mean()
    program = workload.executable
    assert all(len(np.unique(workload.processors[program == number])) == 1 for number in np.unique(program)[:50])
    weights = size_weights(16)
    assert weights[8] / weights[14] == pytest.approx((15 / 9) ** 1.5)


def test_downey_by_day_and_by_night():
    workload = generate("downey", 30_000, 64, seed=1, night_rate=0.25, load=0.5)
    daytime = (workload.submit_time // 43_200 % 2 == 0).mean()
    assert daytime == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("variance", [0.0, 0.5, 1.0, 1.5, 4.0])
def test_speedup_rises_to_the_parallelism(variance):
    curve = [speedup(float(n), 12.0, variance) for n in range(1, 200)]
    assert curve[0] == pytest.approx(1.0) and curve[-1] == pytest.approx(12.0)
    assert (np.diff(curve) >= -1e-12).all() and (np.array(curve) <= np.arange(1, 200) + 1e-12).all()
    assert np.abs(np.diff(curve)).max() <= 1 + 1e-12
