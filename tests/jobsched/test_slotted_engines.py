"""The kernel against the simulator on made-up clusters, and laws that hold in both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config as numba_config
from numba import njit

from sysgym.core.engines import allocate_slot
from sysgym.core.errors import SettingError, UnknownNameError, WorkloadError
from sysgym.core.events import EventKind
from sysgym.jobsched.slotted.engine import build_engine
from sysgym.jobsched.slotted.kernel import SlottedKernel
from sysgym.jobsched.slotted.model import QUIRKS, SlottedConfig
from sysgym.jobsched.slotted.observation import ENCODERS
from sysgym.workloads.jobsets import FixedJobsets, Jobset, JobsetGenerator
from tests.jobsched.slotted_play import ENGINES, NONE, Episode, config_for, episode_of, jobset


@st.composite
def clusters(draw):
    """A cluster with any quirks, a jobset that fits it, and random actions."""
    horizon, capacity = draw(st.integers(2, 7)), draw(st.integers(1, 5))
    resources, elements = draw(st.integers(1, 3)), draw(st.integers(1, 25))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    length = random.integers(0, horizon + 1, elements) * (random.random(elements) < draw(st.floats(0.1, 1)))
    demand = random.integers(0, capacity + 1, (elements, resources))
    demand[:, 0] = np.maximum(demand[:, 0], 1)
    source = FixedJobsets([Jobset(length, demand * (length > 0)[:, None])])
    quirks = {name: draw(st.booleans()) for name in QUIRKS}
    config = config_for(
        source,
        horizon=horizon,
        capacity=capacity,
        largest_demand=capacity,
        slots=draw(st.integers(1, 4)),
        backlog=horizon * draw(st.integers(0, 2)),
        since_cap=draw(st.integers(1, 4)),
        max_steps=draw(st.sampled_from([7, 60])),
        max_time=draw(st.sampled_from([0, 0, 9])),
        episode_end=draw(st.sampled_from(["all_done", "no_new_job"])),
        palette=100,
        **quirks,
    )
    return config, source, draw(st.sampled_from(sorted(ENCODERS))), random


def check_state(state, config):
    """Laws of every state: nothing is overbooked, nobody waits behind an empty slot, nobody is in two places."""
    assert (state.free >= 0).all() and (state.free <= config.capacity).all()
    assert (state.slot_job >= 0).all() or state.backlog_count == 0
    waiting = [*state.slot_job[state.slot_job >= 0], *state.backlog_job[: state.backlog_count]]
    assert len(set(waiting)) == len(waiting)
    assert (state.job_start[waiting] == -1).all()
    assert ((state.slot_length > 0) == (state.slot_job >= 0)).all()


@settings(max_examples=60, deadline=None)
@given(clusters())
def test_kernel_and_simulator_are_equal_bit_for_bit(made):
    config, source, observation, random = made
    simulated, compiled = (Episode(engine, config, source, observation).reset() for engine in ENGINES)
    assert simulated.seen() == compiled.seen()
    while not simulated.ended:
        action = int(random.integers(config.num_actions))
        simulated.step(action), compiled.step(action)
        assert simulated.seen() == compiled.seen()
        for name, one, other in zip(simulated.state._fields, simulated.state, compiled.state, strict=True):
            assert np.array_equal(one, other), name
        check_state(compiled.state, config)
    log, other = (episode.engine.events(0) for episode in (simulated, compiled))
    assert log.sha256() == other.sha256() and len(log) == len(other)
    assert (np.diff(log.time) >= 0).all()
    assert simulated.engine.metrics(0) == pytest.approx(compiled.engine.metrics(0), nan_ok=True, abs=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.7, 1.0]), st.sampled_from([5, 10]))
def test_the_return_is_minus_the_sum_of_slowdowns(seed, rate, slots):
    source = JobsetGenerator(rate)
    episode = Episode("compiled", config_for(source, slots=slots), source).reset(seed)
    random = np.random.default_rng(seed)
    while not episode.ended:
        episode.step(int(random.choice(np.flatnonzero(episode.mask))))
    scores, state = episode.engine.metrics(0), episode.state
    assert scores["incomplete"] == 0
    slowdowns = scores["mean_slowdown"] * scores["jobs"] if scores["jobs"] else 0.0
    at_zero = sum(1 / state.job_length[job] for job in np.flatnonzero(state.job_enter == 0))
    assert episode.total == pytest.approx(-slowdowns + at_zero, abs=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
class TestQuirks:
    """Each switch alone, on the smallest jobset in which it shows."""

    def rewards(self, engine, elements, actions, **quirks):
        episode = episode_of(engine, jobset(*elements), slots=3, **quirks)
        return [episode.step(action) for action in actions], episode

    def test_linger(self, engine):
        elements, actions = [(2, 1, 1), (1, 1, 1), NONE, NONE], [0, 3, 0, 3, 3]
        fixed, _ = self.rewards(engine, elements, actions)
        lingering, _ = self.rewards(engine, elements, actions, linger=True)
        assert fixed == [0, -1.5, 0, 0, 0]
        assert lingering == [0, -1.5, 0, -1, 0]

    def test_last_row(self, engine):
        for last_row, bookable in ((True, 0), (False, 1)):
            _, episode = self.rewards(engine, [(20, 1, 1)], [], last_row=last_row)
            assert episode.mask.tolist() == [bookable, 0, 0, 1]

    def test_skip_first(self, engine):
        _, episode = self.rewards(engine, [(4, 1, 1), NONE], [], skip_first=True)
        assert episode.state.slot_job.tolist() == [-1, -1, -1]
        _, episode = self.rewards(engine, [(4, 1, 1), NONE], [])
        assert episode.state.slot_job.tolist() == [0, -1, -1] and episode.state.job_enter[0] == 0

    def test_silent_loss(self, engine):
        elements, actions = [(1, 1, 1)] * 5, [3] * 4 + [0, 1, 2, 3]
        for silent in (False, True):
            rewards, episode = self.rewards(engine, elements, actions, silent_loss=silent, backlog=0)
            assert rewards[3] == (-3 if silent else -5)
            assert rewards[-1] == (0 if silent else -2)
            assert episode.ended
            drops = episode.engine.events(0).of(EventKind.DROP)
            scores = episode.engine.metrics(0)
            assert drops.subject.tolist() == ([] if silent else [3, 4])
            assert (scores["dropped"], scores["incomplete"]) == ((0, 0) if silent else (2, 1))
            # waits 4, 3, 2 of the booked; the lost ones arrived at 3 and 4, could at best have run from 5
            slowdowns = [5, 4, 3] if silent else [5, 4, 3, 3, 2]
            assert scores["mean_slowdown"] == pytest.approx(np.mean(slowdowns))

    def test_floor_slowdown(self, engine):
        for floor, mean in ((False, 1.5), (True, 1.0)):
            _, episode = self.rewards(engine, [(2, 1, 1), NONE], [3, 0, 3, 3], floor_slowdown=floor)
            assert episode.ended and episode.engine.metrics(0)["mean_slowdown"] == mean


@pytest.mark.parametrize("engine", ENGINES)
def test_ends_and_truncations(engine):
    elements = jobset((5, 1, 1), NONE, NONE)
    episode = episode_of(engine, elements, episode_end="no_new_job", slots=2)
    for _ in range(3):
        episode.step(2)
    assert episode.slot.terminated[0] and episode.engine.metrics(0)["unbooked"] == 1
    assert episode.engine.metrics(0)["mean_slowdown"] == (3 + 5) / 5  # it could still start at time 3
    episode = episode_of(engine, elements, slots=2, max_steps=4)
    for _ in range(4):
        episode.step(2)
    assert (episode.slot.terminated[0], episode.slot.truncated[0]) == (False, True)
    episode = episode_of(engine, jobset(*[(5, 1, 1)] * 9), slots=2, max_time=3)
    for _ in range(4):
        assert not episode.ended
        episode.step(2)
    assert episode.slot.truncated[0] and episode.state.job_enter[4] == -1  # nobody enters once time is up


def test_colours_that_run_out_are_an_error_of_the_user():
    for engine in ENGINES:
        episode = episode_of(engine, jobset((3, 1, 1), (3, 1, 1)), observation="image_colour", palette=1)
        episode.step(0), episode.step(10)
        with pytest.raises(SettingError, match="palette"):
            episode.step(0)


def test_any_buffer_of_the_caller_is_drawn_right():
    source = JobsetGenerator()
    config = config_for(source)
    kernels = [SlottedKernel(config, source, 3, ENCODERS["image"]) for _ in range(2)]
    slots = [allocate_slot(kernels[0].observation_spec, 3, kernels[0].num_actions) for _ in range(3)]
    for slot in slots:
        slot.observations[:] = np.nan
    rows, on = np.arange(3), np.ones(3, dtype=bool)
    for kernel in kernels:
        kernel.reset(rows, np.arange(3, dtype=np.uint64), np.zeros(3, np.int64))
        kernel.observe(on, slots[0])
    random = np.random.default_rng(0)
    for step in range(80):
        actions, active = random.integers(0, 11, 3), random.random(3) < 0.8
        same, other = slots[0], slots[1 + step % 2]
        before = other.observations.copy()
        kernels[0].step(actions, active, same)
        kernels[1].step(actions, active, other)
        assert np.array_equal(other.observations[active], same.observations[active])
        assert np.array_equal(other.observations[~active], before[~active], equal_nan=True)


def cheap(before, action, after):
    return -1.0 * (after.time - before.time) - 0.5 * (action < after.slot_job.shape[0]) + after.since


class FreeNow:
    """An encoder of the user's, in plain Python."""

    def spec(self, config):
        return ENCODERS["compact"].spec(config).__class__((config.resources,), np.float32, 0, config.capacity)

    def encode(self, state, config, out):
        out[:] = state.free[0]


class CompiledFreeNow(FreeNow):
    @staticmethod
    @njit
    def compiled(state, out):
        out[:] = state.free[0]


@pytest.mark.skipif(numba_config.DISABLE_JIT, reason="without the compiler every function counts as compiled")
def test_injected_rewards_and_encoders_run_in_the_right_engine_and_agree():
    source = JobsetGenerator()
    config = config_for(source)
    chosen = {
        "python reward": build_engine(config, source, 1, reward=cheap),
        "python encoder": build_engine(config, source, 1, observation=FreeNow()),
        "compiled": build_engine(config, source, 1, reward=njit(cheap), observation=CompiledFreeNow()),
    }
    assert {name: isinstance(engine, SlottedKernel) for name, engine in chosen.items()} == {
        "python reward": False,
        "python encoder": False,
        "compiled": True,
    }
    for injected in ({"reward": cheap}, {"observation": FreeNow()}):
        with pytest.raises(SettingError, match="cannot call a Python function"):
            build_engine(config, source, 1, engine="compiled", **injected)
    simulated = Episode("simpy", config, source, FreeNow(), cheap).reset()
    compiled = Episode("compiled", config, source, CompiledFreeNow(), njit(cheap)).reset()
    random = np.random.default_rng(0)
    while not simulated.ended:
        action = int(random.integers(11))
        assert simulated.step(action) == compiled.step(action)
        assert simulated.seen() == compiled.seen()
    assert simulated.total == compiled.total != 0


@pytest.mark.parametrize("engine", ENGINES)
def test_named_rewards(engine):
    elements = jobset((2, 1, 1), (4, 1, 1), NONE)
    expected = {"slowdown": [-0.75, -0.75, 0], "completion": [-2, -2, 0], "makespan": [-1, -1, 0]}
    for name, rewards in expected.items():
        episode = episode_of(engine, elements, reward=name, slots=3)
        assert [episode.step(action) for action in (3, 3, 0)] == rewards


def test_mistakes_are_told_in_one_clear_line():
    source = JobsetGenerator()
    with pytest.raises(UnknownNameError, match="did you mean horizon"):
        SlottedConfig.preset(horizont=3)
    with pytest.raises(UnknownNameError, match="mode"):
        SlottedConfig.preset("perfect")
    with pytest.raises(SettingError, match="multiple of the horizon"):
        SlottedConfig(backlog=61)
    with pytest.raises(WorkloadError, match="horizon is 10"):
        config_for(source, horizon=10).check_source(source)
    with pytest.raises(WorkloadError, match="capacity is 5"):
        config_for(source, capacity=5).check_source(source)
    with pytest.raises(UnknownNameError, match="reward"):
        build_engine(config_for(source), source, 1, reward="slowdwn")
    with pytest.raises(UnknownNameError, match="did you mean image"):
        build_engine(config_for(source), source, 1, observation="imag")
    with pytest.raises(SettingError, match="spec and encode"):
        build_engine(config_for(source), source, 1, observation=3)
