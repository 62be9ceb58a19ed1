"""Predicted run times: names, correctors, no look-ahead, predictors of one's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.core.events import EventKind
from sysgym.jobsched import replay
from sysgym.jobsched.batch.prediction import INCREMENTS, Prediction, corrected
from sysgym.workloads import Machine, Provenance, Workload


def workload(count, seed, machine=8):
    """Jobs of five users that request far more than they use."""
    draw = np.random.default_rng(seed)
    run = draw.integers(1, 4000, count)
    columns = {
        "submit_time": np.cumsum(draw.integers(0, 900, count)),
        "run_time": run,
        "requested_time": run * draw.integers(1, 6, count),
        "processors": draw.integers(1, machine + 1, count),
        "user": draw.integers(0, 5, count),
    }
    return Workload.from_columns(columns, Machine(machine, "caller"), Provenance("test", "generated"))


@pytest.mark.parametrize("predictor", ["last_two", "last_two+tsafrir", "last_two+doubling", "learned"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), changed=st.integers(0, 119))
def test_nothing_is_known_before_it_has_happened(predictor, seed, changed):
    """Another run time of one job changes nothing that happens before the job ends."""
    jobs = workload(120, seed)
    run = jobs.run_time.copy()
    run[changed] = jobs.requested_time[changed]
    other = Workload.from_columns(
        {**{name: jobs.columns()[name] for name in jobs.columns()}, "run_time": run}, jobs.machine, jobs.provenance
    )
    first, second = (replay(w, "easy_sjbf", "per_event", predictor=predictor) for w in (jobs, other))
    until = min(first.finish_time[changed], second.finish_time[changed])
    assert first.start_time[first.start_time < until].tolist() == second.start_time[second.start_time < until].tolist()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20), pass_rule=st.sampled_from(["batch", "per_event"]))
def test_the_simulator_learns_what_the_kernel_learns(seed, pass_rule):
    jobs = workload(150, seed)
    simpy, compiled = (
        replay(jobs, "easy_sjbf", pass_rule, engine, predictor="learned+tsafrir") for engine in ("simpy", "compiled")
    )
    assert simpy.events.sha256() == compiled.events.sha256()


def test_the_machine_is_never_over_capacity_under_wrong_predictions():
    events = replay(workload(400, 3), "easy_sjbf", predictor="learned").events
    signed = np.select([events.kind == EventKind.START, events.kind == EventKind.FINISH], [1.0, -1.0], 0.0)
    used = np.cumsum(signed * events.amount)
    assert used.max() <= 8 and used[-1] == 0


def test_a_predictor_of_ones_own_is_asked_at_submissions_and_told_of_ends():
    class Constant:
        corrector = "doubling"

        def __init__(self):
            self.asked, self.told = [], []

        def predict(self, job, now):
            self.asked.append((job, now))
            return 1e9

        def learn(self, job, now, run_time):
            self.told.append((job, now - run_time))

    jobs, own = workload(60, 1), Constant()
    schedule = replay(jobs, "easy_sjbf", predictor=own)
    assert own.asked == list(zip(range(60), jobs.submit_time.tolist(), strict=True))
    assert dict(own.told) == dict(enumerate(schedule.start_time.tolist()))
    assert schedule.start_time.tolist() == replay(jobs, "easy_sjbf").start_time.tolist()  # cut to the request
    with pytest.raises(SettingError, match="cannot call a Python function"):
        replay(jobs, "easy_sjbf", engine="compiled", predictor=own)


def test_the_increments_of_the_corrector():
    planned, found = 100.0, []
    for corrections in range(len(INCREMENTS)):
        planned = corrected(1, planned, 1e9, corrections)
        found.append(planned - 100.0)
    assert found[:-1] == [60.0 * m for m in (1, 5, 15, 30, 60, 120, 300, 600, 1200, 3000, 6000)]
    assert planned == 1e9
    assert corrected(0, 100.0, 500.0, 0) == 500.0 and corrected(2, 100.0, 150.0, 0) == 200.0
    assert corrected(1, 100.0, 120.0, 0) == 120.0


def test_names():
    assert Prediction.named("last_two+tsafrir") == Prediction("last_two", "tsafrir")
    assert Prediction.named("learned").corrector == "reqtime"
    with pytest.raises(UnknownNameError, match="did you mean last_two"):
        replay(workload(5, 0), "easy", predictor="last_tow")
    with pytest.raises(UnknownNameError, match="corrector"):
        Prediction.named("last_two+doublign")
    with pytest.raises(SettingError, match="nothing corrects it"):
        Prediction.named("perfect+reqtime")
    with pytest.raises(SettingError, match="object with predict and learn"):
        replay(workload(5, 0), "easy", predictor=3)
    with pytest.raises(SettingError, match="easy_sjbf"):
        replay(workload(5, 0), "conservative", predictor="last_two")
    for wrong in (0.0, -1.0, float("nan"), None, "soon"):
        own = type("Own", (), {"predict": lambda self, job, now, w=wrong: w, "learn": lambda *_: None})()
        with pytest.raises(SettingError, match="the predictor says"):
            replay(workload(5, 0), "easy", predictor=own)
