"""Every registered environment can be learned on, by our algorithms and by those of others, as it stands."""

import gymnasium as gym
import numpy as np
import pytest

import sysgym  # noqa: F401  registers the ids
from sysgym.agents import load, train
from sysgym.agents.algorithms import ALGORITHMS
from sysgym.envs.registration import ENVIRONMENTS

IDS = [row.env_id for row in ENVIRONMENTS]
FRAMES = 2000
GENERAL = [name for name in ALGORITHMS if name in ("ppo", "a2c", "vtrace", "reinforce", "evolution")]

pytestmark = pytest.mark.parametrize("env_id", IDS)


@pytest.mark.parametrize("algorithm", GENERAL)
def test_our_algorithms_train(env_id, algorithm, tmp_path):
    path = tmp_path / "policy.safetensors"
    policy = train(env_id, algorithm, frames=FRAMES, num_envs=16, output=path, hidden=(16, 16))
    assert policy.frames >= FRAMES
    env = gym.make(env_id)
    observation, info = env.reset(seed=0)
    chosen = load(path).act(observation, info["action_mask"])
    assert info["action_mask"][int(chosen)] == 1 and chosen == policy.act(observation, info["action_mask"])


def test_maskable_ppo_of_sb3_contrib_trains(env_id):
    maskable = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed: pip install -e '.[dev]'")
    env = gym.make(env_id)
    kind = "MultiInputPolicy" if isinstance(env.observation_space, gym.spaces.Dict) else "MlpPolicy"
    model = maskable.MaskablePPO(
        kind, env, n_steps=500, batch_size=500, n_epochs=1, policy_kwargs={"net_arch": [16]}, device="cpu", seed=0
    )
    before = [parameter.detach().clone() for parameter in model.policy.parameters()]
    model.learn(FRAMES)
    assert model.num_timesteps == FRAMES
    assert any(not np.array_equal(a, b.detach()) for a, b in zip(before, model.policy.parameters(), strict=True))
    observation, info = env.reset(seed=1)
    action, _ = model.predict(observation, action_masks=info["action_mask"])
    assert info["action_mask"][int(action)] == 1
