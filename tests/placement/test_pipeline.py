"""Pipeline schedules against their closed forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.placement.cluster import Cluster
from sysgym.placement.generators import generate
from sysgym.placement.layers import Training, layers_of_graph
from sysgym.placement.parallel import plan_parallel
from sysgym.placement.pipeline import (
    SCHEDULES,
    WEIGHTS,
    fit_pipeline_model,
    forward_delay,
    run_pipeline,
    schedule_order,
    step_seconds,
)
from sysgym.placement.schedules import compare_schedules
from sysgym.placement.spilling import run_spilled, spilled_makespan

EQUAL = st.tuples(st.integers(1, 8), st.integers(1, 24), st.floats(0.1, 5), st.floats(0.1, 5))


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("stages", "batches", "makespan"), [(2, 3, 12), (4, 16, 57), (8, 32, 117)])
def test_worked_makespans(schedule, stages, batches, makespan):
    assert run_pipeline(schedule, [1.0] * stages, [2.0] * stages, batches).makespan == makespan


@settings(max_examples=60, deadline=None)
@given(EQUAL)
def test_gpipe_and_1f1b_have_their_closed_forms(setting):
    p, m, f, b = setting
    runs = {name: run_pipeline(name, [f] * p, [b] * p, m) for name in ("gpipe", "1f1b", "pipedream")}
    for run in runs.values():
        assert run.makespan == pytest.approx((m + p - 1) * (f + b), rel=1e-9)
        assert run.bubble == pytest.approx((p - 1) / (m + p - 1), abs=1e-9)
    assert runs["gpipe"].peak_activations.tolist() == [m] * p
    in_flight = [min(m, p - stage) for stage in range(p)]
    assert runs["1f1b"].peak_activations.tolist() == in_flight
    assert runs["1f1b"].weight_versions.tolist() == [1] * p
    assert runs["pipedream"].weight_versions.tolist() == in_flight


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.floats(0.1, 5), st.floats(0.1, 5))
def test_interleaving_divides_the_bubble_by_the_chunks(p, groups, v, f, b):
    m = groups * p
    run = run_pipeline("interleaved", [f / v] * (p * v), [b / v] * (p * v), m, chunks=v)
    assert run.makespan == pytest.approx(m * (f + b) + (p - 1) * (f + b) / v, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=6), st.integers(1, 12))
def test_forward_only_pipelines_are_as_slow_as_their_slowest_stage(times, m):
    run = run_pipeline("gpipe", times, [0.0] * len(times), m)
    assert run.makespan == pytest.approx(sum(times) + (m - 1) * max(times), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SCHEDULES), st.integers(0, 2**32 - 1))
def test_no_schedule_breaks_a_dependency(schedule, seed):
    generator = np.random.default_rng(seed)
    p, v = int(generator.integers(1, 5)), int(generator.integers(1, 4)) if schedule == "interleaved" else 1
    m = p * int(generator.integers(1, 4))
    forward, backward = generator.uniform(0, 3, p * v), generator.uniform(0, 3, p * v)
    run = run_pipeline(schedule, forward, backward, m, chunks=v, transfer=0.25)
    slack = 1e-9
    assert (run.start[0, 1:] >= run.end[0, :-1] + 0.25 - slack).all()
    assert (run.start[1, :-1] >= run.end[1, 1:] + 0.25 - slack).all()
    assert (run.start[1] >= run.end[0] - slack).all()
    for device in range(p):
        starts = run.start[:, device::p].ravel()
        ends = run.end[:, device::p].ravel()[np.argsort(starts, kind="stable")]
        assert (np.sort(starts)[1:] >= ends[:-1] - slack).all()
    assert run.makespan >= max(run.busy) - slack
    kinds = range(3 if schedule == "zb-h1" else 2)
    assert sorted(work for works in schedule_order(schedule, p, m, v) for work in works) == sorted(
        (kind, batch, chunk) for kind in kinds for batch in range(m) for chunk in range(p * v)
    )
    if schedule == "zb-h1":
        assert (run.start[WEIGHTS] >= run.end[1] - slack).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 16), st.floats(0.1, 5), st.floats(0.1, 5), st.floats(0, 1))
def test_zero_bubble_has_its_closed_form_where_weight_gradients_are_the_shortest(p, extra, f, b, part):
    m, w = p + extra, part * min(f, b)
    run = run_pipeline("zb-h1", [f] * p, [b + w] * p, m, weight_share=w / (b + w))
    assert run.makespan == pytest.approx(m * (f + b + w) + (p - 1) * (f + b - w), rel=1e-9)
    assert run.peak_activations.max() <= p
    assert run.makespan <= run_pipeline("1f1b", [f] * p, [b + w] * p, m).makespan * (1 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)), min_size=1, max_size=6), st.integers(1, 10))
def test_asynchronous_schedules_have_no_bubble_in_the_long_run(stages, m):
    forward, backward = zip(*stages, strict=True)
    slowest = max(f + b for f, b in stages)
    for schedule in ("pipedream", "pipemare"):
        assert step_seconds(schedule, forward, backward, m) == pytest.approx(m * slowest, rel=1e-9)
    assert run_pipeline("pipemare", forward, backward, m).weight_versions.max() == 1


def test_delays_of_pipemare_fall_towards_the_last_stage():
    assert forward_delay(4, 2).tolist() == [3.5, 2.5, 1.5, 0.5]


def test_spilled_shards():
    loads, computes = [2.0, 3.0, 1.0], [1.0, 4.0, 2.0]
    assert spilled_makespan(loads, computes, double_buffered=False) == 13
    assert spilled_makespan(loads, computes) == 2 + max(1, 3) + max(4, 1) + 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_models_that_share_devices(seed):
    generator = np.random.default_rng(seed)
    models = [
        [tuple(map(float, generator.uniform(0, 4, 2))) for _ in range(generator.integers(1, 5))]
        for _ in range(generator.integers(1, 5))
    ]
    alone = run_spilled(models[:1])
    loads, computes = zip(*models[0], strict=True)
    assert alone.makespan == pytest.approx(spilled_makespan(loads, computes), rel=1e-9)
    devices = int(generator.integers(1, 4))
    run = run_spilled(models, devices)
    assert run.makespan >= run.lower_bound - 1e-9
    assert len(run.shards) == sum(map(len, models))
    for device in range(devices):
        own = [each for each in run.shards if each[0] == device]
        assert all(after[3] >= before[4] - 1e-9 for before, after in itertools.pairwise(own))
    for model, shards in enumerate(models):
        own = [each for each in run.shards if each[1] == model]
        assert [each[2] for each in own] == list(range(len(shards)))
        assert all(after[3] >= before[4] - 1e-9 for before, after in itertools.pairwise(own))


def test_free_loads_keep_equal_models_busy_on_all_devices():
    run = run_spilled([[(0.0, 1.0)] * 4] * 6, 3)
    assert run.makespan == run.lower_bound == 8.0
    with pytest.raises(SettingError, match="at least one shard"):
        run_spilled([[]])
    with pytest.raises(SettingError, match="devices"):
        run_spilled([[(1.0, 1.0)]], 0)


def test_schedules_side_by_side():
    layers, training = layers_of_graph(generate("transformer", 8, seed=1)), Training(8)
    cluster = Cluster.uniform(4)
    plan = plan_parallel(layers, cluster, training, forms=("pipeline",))
    rows = {row.schedule: row for row in compare_schedules(layers, plan.stages, cluster, training)}
    assert set(rows) == {*SCHEDULES, "spilled"}
    assert rows["gpipe"].memory_bytes > rows["1f1b"].memory_bytes
    assert rows["pipedream"].memory_bytes > rows["pipemare"].memory_bytes
    assert rows["pipemare"].seconds <= rows["zb-h1"].seconds <= rows["1f1b"].seconds
    assert rows["pipemare"].bubble < rows["zb-h1"].bubble < rows["1f1b"].bubble < 1
    assert rows["spilled"].seconds > rows["gpipe"].seconds
    assert all(row.fits for row in rows.values())
    odd = compare_schedules(layers, plan.stages, cluster, Training(7))
    assert next(row.note for row in odd if row.schedule == "interleaved").startswith("needs 8 chunks")


def test_wrong_words_and_numbers_are_refused():
    with pytest.raises(UnknownNameError, match="schedule"):
        run_pipeline("zigzag", [1.0], [1.0], 1)
    for wrong in (
        {"schedule": "1f1b", "forward": [1.0], "backward": [1.0, 1.0], "micro_batches": 1},
        {"schedule": "1f1b", "forward": [], "backward": [], "micro_batches": 1},
        {"schedule": "1f1b", "forward": [1.0], "backward": [1.0], "micro_batches": 0},
        {"schedule": "1f1b", "forward": [-1.0], "backward": [1.0], "micro_batches": 1},
        {"schedule": "gpipe", "forward": [1.0] * 2, "backward": [1.0] * 2, "micro_batches": 2, "chunks": 2},
        {"schedule": "interleaved", "forward": [1.0] * 2, "backward": [1.0] * 2, "micro_batches": 3},
    ):
        with pytest.raises(SettingError):
            run_pipeline(**wrong)
    with pytest.raises(SettingError):
        spilled_makespan([1.0], [])


AMOEBANET = {  # stages, micro-batches: speed relative to (2, 1), torchgpipe's AmoebaNet-D (18, 256)
    (2, 1): 1.0, (2, 4): 1.539, (2, 32): 1.773, (4, 1): 1.004, (4, 4): 1.666, (4, 32): 2.709,
    (8, 1): 0.932, (8, 4): 2.621, (8, 32): 4.953,
}  # fmt: skip


def test_two_constants_fitted_on_two_stages_predict_torchgpipes_table():
    model = fit_pipeline_model([(n, m, speed) for (n, m), speed in AMOEBANET.items() if n == 2])
    base = model.seconds(2, 1)
    errors = {key: base / model.seconds(*key) / speed - 1 for key, speed in AMOEBANET.items()}
    assert all(abs(errors[2, m]) < 1e-3 for m in (1, 4, 32))
    assert np.mean(np.abs(list(errors.values()))) < 0.10
    assert abs(errors[8, 32]) < 0.10
    with pytest.raises(SettingError, match="3 are needed"):
        fit_pipeline_model([(2, 1, 1.0)])
