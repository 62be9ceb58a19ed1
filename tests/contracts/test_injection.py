"""Whatever an environment is made of can be handed in: workload, observation, reward, dynamics; for every id."""

import operator

import gymnasium as gym
import numpy as np
import pytest

from sysgym.core.engines import SimulatorEngine
from sysgym.core.errors import SysgymError
from sysgym.core.protocols import ArraySpec
from sysgym.envs.base import EngineEnv
from sysgym.envs.registration import ENVIRONMENTS
from sysgym.jobsched.batch.observation import QueueEncoding
from tests.contracts.test_registry import as_bytes, play

IDS = [row.env_id for row in ENVIRONMENTS]
WORKLOAD = {"sysgym/ExprSimplify-v0": "expressions", "sysgym/IndexTune-v0": "keys"}
"""What the argument is called where the field has another word for it."""
WITHOUT_WORKLOAD = ("sysgym/AdmissionQueue-v0",)  # its customers are drawn from numbers that are arguments themselves


each_id = pytest.mark.parametrize("env_id", IDS)
with_workload = pytest.mark.parametrize("env_id", [env_id for env_id in IDS if env_id not in WITHOUT_WORKLOAD])


def first_allowed(info):
    return int(info["action_mask"].argmax())


class Clock:
    """A state seen as one number and one array, by name; written whole, whatever was there."""

    spec = {  # noqa: RUF012
        "count": ArraySpec((1,), np.float32, 0.0, np.inf),
        "sums": ArraySpec((2,), np.float32, -np.inf, np.inf),
    }

    def __init__(self):
        self.seen = []

    def encode(self, state, observation):
        self.seen.append(type(state).__name__)
        observation["count"][0] = len(self.seen)
        observation["sums"][:] = len(state), len(state._fields)


class Giver(Clock):
    """Gives an observation away instead of writing it."""

    def encode(self, state, observation):
        return {name: np.ones(part.shape) for name, part in self.spec.items()}


def test_an_encoder_that_gives_what_it_should_write_is_told_so():
    env = gym.make("sysgym/AdmissionQueue-v0", observation=Giver())
    with pytest.raises(SysgymError, match=r"encode\(\) of Giver gave a dict, which nobody sees; write into its second"):
        env.reset(seed=0)


@with_workload
def test_what_is_shown_as_the_workload_is_taken_back_and_played_alike(env_id):
    env = gym.make(env_id)
    again = gym.make(env_id, **{WORKLOAD.get(env_id, "workload"): env.unwrapped.workload})
    assert play(again, 60, seed=3) == play(env, 60, seed=3)
    vector = gym.make_vec(env_id, num_envs=2, **{WORKLOAD.get(env_id, "workload"): env.unwrapped.workload})
    assert vector.unwrapped.workload is not None


@with_workload
@pytest.mark.parametrize("wrong", [3.5, object(), [object()]], ids=["number", "object", "list"])
def test_what_is_no_workload_is_refused_in_one_line(env_id, wrong):
    with pytest.raises(SysgymError) as error:
        gym.make(env_id, disable_env_checker=True, **{WORKLOAD.get(env_id, "workload"): wrong})
    assert "\n" not in str(error.value)


@each_id
def test_an_observation_of_ones_own_is_what_is_seen(env_id):
    """In single and vector environments, in either engine, with the dynamics as they were."""
    plain = gym.make(env_id)
    for engine in ("simpy", "compiled"):
        encoder = Clock()
        env = gym.make(env_id, engine=engine, observation=encoder)
        observation, info = env.reset(seed=4)
        _, expected = plain.reset(seed=4)
        for count in range(1, 8):
            assert observation in env.observation_space and observation["count"] == len(encoder.seen) == count
            assert info["action_mask"].tobytes() == expected["action_mask"].tobytes()
            action = first_allowed(info)
            observation, reward, *_, info = env.step(action)
            _, same, *_, expected = plain.step(action)
            assert reward == same
    envs = gym.make_vec(env_id, num_envs=3, observation=Clock())
    observations, _ = envs.reset(seed=4)
    assert observations["count"].ravel().tolist() == [1, 2, 3] and observations in envs.observation_space


@each_id
@pytest.mark.parametrize("wrong", [3, object(), type("Half", (), {"spec": (3,), "encode": print})(), "no such name"])
def test_what_is_no_observation_is_refused_in_one_line(env_id, wrong):
    with pytest.raises(SysgymError) as error:
        gym.make(env_id, disable_env_checker=True, observation=wrong)
    assert "\n" not in str(error.value)


@each_id
def test_a_reward_of_ones_own_is_what_is_paid(env_id):
    calls = []

    def quarter(before, action, after):
        assert type(before) is type(after) and before._fields == after._fields
        assert operator.index(action) >= 0
        calls.append(None)
        return 0.25

    env = gym.make(env_id, reward=quarter)
    _, info = env.reset(seed=0)
    paid, steps, ended = 0.0, 0, False
    while not ended and steps < 200:
        _, reward, terminated, truncated, info = env.step(first_allowed(info))
        paid, steps, ended = paid + reward, steps + 1, terminated or truncated
    assert calls and paid == 0.25 * len(calls)


@each_id
@pytest.mark.parametrize("wrong", [3, lambda state: 0.0, "no such name"], ids=["number", "one argument", "name"])
def test_what_is_no_reward_is_refused_in_one_line(env_id, wrong):
    with pytest.raises(SysgymError) as error:
        gym.make(env_id, disable_env_checker=True, reward=wrong)
    assert "reward" in str(error.value) and "\n" not in str(error.value)


@each_id
def test_dynamics_of_ones_own_are_what_is_played(env_id):
    """A subclass of the simulator, which always does the first thing that is allowed, behind the same environment."""
    plain = gym.make(env_id, engine="simpy").unwrapped
    (simulator,) = plain.engine.simulators
    spec = plain.engine.observation_spec

    class Stubborn(type(simulator)):
        def step(self, action):
            seen = np.zeros(plain._slot.observations.shape[1:], plain._slot.observations.dtype)
            mask = np.zeros(self.num_actions, dtype=np.int8)
            self.observe(seen, mask)
            return super().step(int(mask.argmax()))

    simulator.__class__ = Stubborn

    class StubbornEnv(type(plain)):
        def __init__(self):
            EngineEnv.__init__(self, SimulatorEngine(lambda: simulator, 1))

    env, usual = StubbornEnv(), gym.make(env_id, engine="simpy")
    assert env.engine.observation_spec == spec and env.objective == plain.objective
    observation, info = env.reset(seed=1)
    expected, told = usual.reset(seed=1)
    for _ in range(30):
        assert as_bytes(observation) == as_bytes(expected)
        observation, *paid, info = env.step(int(np.flatnonzero(info["action_mask"])[-1]))
        expected, *due, told = usual.step(first_allowed(told))
        assert paid == due
        if paid[1] or paid[2]:
            break


def test_encoders_for_kernels_are_told_from_the_common_form():
    spec = ArraySpec((4, 1), np.float32, 0.0, 1.0)
    queue = QueueEncoding(spec, lambda workload: workload.run_time, lambda state, table, out: out.fill(0.25), 4)

    class Slots:
        def spec(self, config):
            return ArraySpec((1,), np.float32, 0.0, 1.0)

        def encode(self, state, config, out):
            out[0] = 0.5

    assert np.all(gym.make("sysgym/BatchSched-v0", observation=queue).reset(seed=0)[0] == 0.25)
    assert gym.make("sysgym/JobSched-v0", observation=Slots()).reset(seed=0)[0] == 0.5
