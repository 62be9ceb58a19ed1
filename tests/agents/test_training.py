"""Whole runs: they learn, repeat, resume, stop cleanly, and report."""

import importlib
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import sysgym.agents as agents
from sysgym.agents import checkpoint as checkpoints
from sysgym.agents.learner import Learner
from sysgym.agents.settings import Settings
from sysgym.agents.training import Training
from sysgym.core.errors import CheckpointError, SettingError, TrainingError, UnknownNameError

SMALL = {"num_envs": 8, "rollout_steps": 32, "minibatches": 4}


def mean_return(policy, env_id, episodes=20, **arguments):
    env = gym.make(env_id, **arguments)
    total = 0.0
    observation, info = env.reset(seed=1000)
    for _ in range(episodes):
        ended = False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(
                policy.act(observation, info.get("action_mask"))
            )
            total, ended = total + float(reward), terminated or truncated
        observation, info = env.reset()
    return total / episodes


@pytest.mark.parametrize("arguments", [{}, {"truncate": True}, {"rows": True}])
def test_the_toy_environment_is_learnt_to_its_optimum(arguments):
    policy = agents.train("toy/Cards-v0", frames=16_384, environment=arguments, learning_rate=5e-3, **SMALL)
    assert mean_return(policy, "toy/Cards-v0", **arguments) == 10.0
    assert policy.architecture.kind == ("rows" if arguments.get("rows") else "flat")


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("a2c", {"rollout_steps": 8}),
        ("vtrace", {"rollout_steps": 16, "learning_rate": 5e-3}),
        ("reinforce", {"episodes_per_workload": 8, "num_envs": 32}),
        ("evolution", {"num_envs": 64}),
    ],
)
def test_every_algorithm_learns_the_toy_environment(algorithm, settings):
    """A random policy earns 3.6 of 10."""
    budget = {"frames": 160_000 if algorithm == "evolution" else 40_000}
    policy = agents.train("toy/Cards-v0", algorithm, **budget, **{"num_envs": 8, **settings})
    assert mean_return(policy, "toy/Cards-v0") > 8.5


def test_cartpole_improves():
    policy = agents.train("CartPole-v1", frames=30_000, seed=1)
    assert policy.curve[0]["mean_return"] < 60
    assert mean_return(policy, "CartPole-v1", episodes=5) > 150


def test_actions_that_do_not_start_at_zero_and_category_observations():
    policy = agents.train("toy/Counting-v0", frames=256, **SMALL)
    assert mean_return(policy, "toy/Counting-v0", episodes=2) == 2.5
    policy = agents.train("FrozenLake-v1", frames=256, **SMALL)
    assert policy.act(3) in range(4)


def test_the_same_seed_gives_the_same_weights():
    hashes = [agents.train("toy/Cards-v0", frames=1024, seed=seed, **SMALL).weights_sha256() for seed in (3, 3, 4)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_progress_is_reported_and_the_curve_recorded():
    seen = []
    policy = agents.train("toy/Cards-v0", frames=1024, on_progress=seen.append, **SMALL)
    assert [progress.frames for progress in seen] == [256, 512, 768, 1024]
    assert [progress.share for progress in seen] == [0.25, 0.5, 0.75, 1.0]
    assert seen[-1].episodes == 8 * (128 // 10)
    assert all(progress.frames_per_second > 0 for progress in seen)
    assert {"policy_loss", "value_loss", "entropy", "approximate_kl", "explained_variance"} <= seen[0].metrics.keys()
    assert [point["frames"] for point in policy.curve] == [256, 512, 768, 1024]
    assert policy.curve[-1]["mean_return"] == seen[-1].mean_return
    assert policy.frames == 1024


def test_a_budget_of_seconds_ends_a_run():
    policy = agents.train("toy/Cards-v0", seconds=0.2, **SMALL)
    assert policy.curve[-1]["seconds"] >= 0.2
    assert agents.train("toy/Cards-v0", seconds=1000, frames=256, **SMALL).frames == 256


def test_a_resumed_run_goes_on(tmp_path):
    output = tmp_path / "run.safetensors"
    first = agents.train("toy/Cards-v0", frames=512, seed=2, environment={"length": 6}, output=output, **SMALL)
    second = agents.train("toy/Cards-v0", frames=1024, seed=2, output=output, resume=True)
    assert second.environment == {"length": 6}
    assert second.settings == first.settings
    assert second.frames == 1024
    assert [point["frames"] for point in second.curve] == [256, 512, 768, 1024]
    assert second.curve[:2] == first.curve
    assert second.weights_sha256() != first.weights_sha256()
    # a spent budget changes nothing more
    third = agents.train("toy/Cards-v0", frames=1024, seed=2, output=output, resume=True)
    assert third.weights_sha256() == second.weights_sha256() == agents.load(output).weights_sha256()


def test_a_resumed_run_restores_learner_and_streams(tmp_path):
    output = tmp_path / "run.safetensors"
    first = Training("toy/Cards-v0", frames=512, seed=2, output=output, **SMALL)
    list(first.run())
    resumed = Training("toy/Cards-v0", frames=1024, seed=2, output=output, resume=True)
    before, after = first.checkpoint(), resumed.checkpoint()
    assert before.facts == after.facts
    assert before.tensors.keys() == after.tensors.keys()
    for name, array in before.tensors.items():
        assert np.array_equal(array, after.tensors[name]), name
    assert any(name.endswith("exp_avg_sq") for name in after.tensors)
    again = Training("toy/Cards-v0", frames=1024, seed=2, output=output, resume=True)
    list(resumed.run()), list(again.run())
    assert resumed.policy().weights_sha256() == again.policy().weights_sha256()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 5}, "trained with seed=2, not 5"),
        ({"num_envs": 4}, "num_envs=8, not 4"),
        ({"epochs": 9}, "epochs=2, not 9"),
        ({"environment": {"length": 7}}, "environment="),
        ({"env_id": "CartPole-v1"}, "env_id='toy/Cards-v0', not 'CartPole-v1'"),
    ],
)
def test_a_resume_that_contradicts_the_checkpoint_is_refused(tmp_path, changes, message):
    output = tmp_path / "run.safetensors"
    agents.train("toy/Cards-v0", frames=256, seed=2, output=output, **SMALL)
    with pytest.raises(CheckpointError, match=message):
        agents.train(
            **{"env_id": "toy/Cards-v0", "frames": 512, "seed": 2, "output": output, "resume": True, **changes}
        )


def test_a_resume_needs_a_run(tmp_path):
    with pytest.raises(SettingError, match="output"):
        agents.train("toy/Cards-v0", resume=True)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        agents.train("toy/Cards-v0", resume=True, output=tmp_path / "absent")
    agents.train("toy/Cards-v0", frames=256, **SMALL).save(tmp_path / "policy")
    with pytest.raises(CheckpointError, match="a policy only"):
        agents.train("toy/Cards-v0", resume=True, output=tmp_path / "policy")
    agents.train("toy/Cards-v0", frames=256, output=tmp_path / "old", **SMALL)
    old = checkpoints.read(tmp_path / "old")
    del old.facts["training"]["stood"]
    checkpoints.write(tmp_path / "old", old)
    with pytest.raises(CheckpointError, match="an earlier sysgym"):
        agents.train("toy/Cards-v0", resume=True, output=tmp_path / "old")


def test_a_poisoned_reward_stops_the_run_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("sysgym.agents.training.SAVE_SECONDS", 0.0)
    output = tmp_path / "run.safetensors"
    with pytest.raises(TrainingError, match=r"toy/Cards-v0, update 3: the reward of environment 0 .* keeps the last"):
        agents.train("toy/Cards-v0", frames=4096, environment={"poison": 70}, output=output, **SMALL)
    assert agents.load(output).frames == 512


def test_mistakes_in_arguments_are_named():
    with pytest.raises(UnknownNameError, match="did you mean ppo"):
        agents.train("CartPole-v1", "pp0")
    with pytest.raises(UnknownNameError, match="did you mean epochs"):
        agents.train("CartPole-v1", epoch=3)
    for name, value in {"frames": 0, "seconds": 0, "num_envs": 0, "threads": 0, "seed": -1, "device": "tpu"}.items():
        with pytest.raises(SettingError, match=name):
            agents.train("CartPole-v1", **{name: value})


def test_torch_threads_are_left_as_they_were():
    import torch

    before = torch.get_num_threads()
    agents.train("toy/Cards-v0", frames=256, threads=1, **SMALL)
    assert torch.get_num_threads() == before


def test_tensorboard_gets_every_update(tmp_path):
    from sysgym.agents.telemetry.tensorboard import TensorBoardLog

    agents.train("toy/Cards-v0", frames=512, on_progress=TensorBoardLog(tmp_path), **SMALL)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(tmp_path))
    log.Reload()
    for name in ("learner/entropy", "frames_per_second", "lag", "waiting", "learning"):
        assert [event.step for event in log.Scalars(name)] == [256, 512]


def test_the_public_names_agree():
    assert list(agents.ALGORITHMS) == ["ppo", "a2c", "vtrace", "reinforce", "evolution", "rewriter"]
    for algorithm in agents.ALGORITHMS.values():
        assert issubclass(algorithm.learner(), Learner) and issubclass(algorithm.settings, Settings)
    importlib.import_module("sysgym.agents.training")  # a submodule must not hide a public name
    assert callable(agents.train) and callable(agents.load)
    assert all(getattr(agents, name) for name in agents.__all__)


def test_loading_and_acting_needs_no_torch(tmp_path):
    path = tmp_path / "policy.safetensors"
    agents.train("CartPole-v1", frames=256, **SMALL).save(path)
    assert checkpoints.read(path).facts["env_id"] == "CartPole-v1"
    code = (
        "import sys, sysgym, sysgym.agents, numpy\n"
        f"policy = sysgym.agents.load({str(path)!r})\n"
        "assert policy.act(numpy.zeros(4, numpy.float32)) in (0, 1)\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
