"""Runs that are interrupted anywhere and resumed end in the same weights as runs that are not."""

import errno
import os
import signal
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import sysgym.agents as agents
from sysgym.agents.interruption import SIGNALS, Interruption
from sysgym.agents.training import Training
from sysgym.core.errors import OutputError
from tests.agents import toy

SMALL = {"num_envs": 8, "rollout_steps": 16}


class KilledError(Exception):
    pass


def train_in_pieces(kills, frames, output, env_id, algorithm, seed=0, **settings):
    """Stop dead after each of these updates, whatever was saved last, and resume."""

    def kill(at):
        def watch(progress):
            if progress.update == at:
                raise KilledError

        return watch

    resume = False
    for at in kills:
        with pytest.raises(KilledError):
            agents.train(
                env_id,
                algorithm,
                seed=seed,
                frames=frames,
                output=output,
                resume=resume,
                on_progress=kill(at),
                **settings,
            )
        resume, settings = True, {}
    return agents.train(env_id, algorithm, seed=seed, frames=frames, output=output, resume=True)


@pytest.mark.parametrize("algorithm", agents.ALGORITHMS)
@pytest.mark.parametrize("mode", ["sync", "lockstep"])
def test_killed_anywhere_and_resumed_gives_the_same_weights(algorithm, mode, tmp_path, monkeypatch):
    small = SMALL | ({"episodes_per_workload": 4} if algorithm == "reinforce" else {}) | {"mode": mode, "seed": 3}
    whole = agents.train("toy/Cards-v0", algorithm, frames=2048, **small)
    monkeypatch.setattr("sysgym.agents.training.SAVE_SECONDS", 0.0)
    last = 2048 // (8 * 16) if algorithm in ("ppo", "a2c", "vtrace") else 2048 // (8 * 10)
    random = np.random.default_rng(len(algorithm))
    for trial in range(2):
        kills = np.sort(random.choice(np.arange(1, last), size=2, replace=False)).tolist()
        pieces = train_in_pieces(kills, 2048, tmp_path / f"run{trial}", "toy/Cards-v0", algorithm, **small)
        assert pieces.weights_sha256() == whole.weights_sha256(), kills
        assert [point["mean_return"] for point in pieces.curve] == [point["mean_return"] for point in whole.curve]


@pytest.mark.parametrize(
    ("env_id", "arguments"),
    [
        ("sysgym/AdmissionQueue-v0", {"max_steps": 40, "horizon": "geometric"}),
        ("sysgym/AdmissionQueue-v0", {"max_steps": 40, "engine": "simpy"}),
        ("sysgym/JobSched-v0", {"observation": "compact"}),
        ("sysgym/JobSched-v0", {"observation": "compact", "engine": "simpy"}),
        ("CartPole-v1", {}),
        ("FrozenLake-v1", {"is_slippery": True}),
    ],
)
def test_environments_stand_where_they_stood(env_id, arguments, tmp_path, monkeypatch):
    settings = {"environment": arguments, "num_envs": 4, "rollout_steps": 24}
    whole = agents.train(env_id, "a2c", frames=480, **settings)
    monkeypatch.setattr("sysgym.agents.training.SAVE_SECONDS", 0.0)
    pieces = train_in_pieces([2, 3], 480, tmp_path / "run", env_id, "a2c", **settings)
    assert pieces.weights_sha256() == whole.weights_sha256()


def test_several_actors_stand_where_they_stood(tmp_path, monkeypatch):
    small = SMALL | {"actors": 3, "mode": "lockstep"}
    whole = agents.train("toy/Card-v0", "a2c", frames=1024, **small)
    monkeypatch.setattr("sysgym.agents.training.SAVE_SECONDS", 0.0)
    pieces = train_in_pieces([2, 5], 1024, tmp_path / "run", "toy/Card-v0", "a2c", **small)
    assert pieces.weights_sha256() == whole.weights_sha256()


def test_an_asynchronous_run_goes_on_without_losing_count(tmp_path, monkeypatch):
    monkeypatch.setattr("sysgym.agents.training.SAVE_SECONDS", 0.0)
    policy = train_in_pieces([3, 9], 2048, tmp_path / "run", "toy/Cards-v0", "vtrace", mode="async", **SMALL)
    assert policy.frames == 2048
    assert [point["frames"] for point in policy.curve] == list(range(128, 2049, 128))


def test_an_older_checkpoint_serves_as_well(tmp_path):
    """KilledError long after the last save: what came after it is played again, the same."""
    whole = agents.train("toy/Cards-v0", frames=1024, **SMALL)
    first = Training("toy/Cards-v0", frames=1024, output=tmp_path / "run", **SMALL)
    steps = first.run()
    next(steps), next(steps)
    first._save()
    next(steps), next(steps), steps.close()
    resumed = agents.train("toy/Cards-v0", frames=1024, output=tmp_path / "run", resume=True)
    assert resumed.weights_sha256() == whole.weights_sha256()


def test_a_full_disk_while_saving_leaves_the_checkpoint_that_was_there(tmp_path, monkeypatch):
    output = tmp_path / "run"
    whole = agents.train("toy/Cards-v0", frames=512, **SMALL)
    first = Training("toy/Cards-v0", frames=512, output=output, **SMALL)
    steps = first.run()
    next(steps), next(steps), first._save(), steps.close()
    before = output.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=f"cannot write {output}: No space left on device"):
        agents.train("toy/Cards-v0", frames=512, output=output, resume=True)
    assert output.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["run"]
    monkeypatch.undo()
    resumed = agents.train("toy/Cards-v0", frames=512, output=output, resume=True)
    assert resumed.weights_sha256() == whole.weights_sha256()


class Forgetful(toy.CountingEnv):
    """Its observations depend on more than seed and actions."""

    born = 0

    def __init__(self):
        super().__init__()
        Forgetful.born += 1
        self.episode = 100 * Forgetful.born


@pytest.mark.filterwarnings("ignore:.*not within the observation space")
def test_an_environment_that_does_not_repeat_begins_anew_and_says_so(tmp_path):
    gym.register("toy/Forgetful-v0", entry_point=Forgetful)
    output = tmp_path / "run"
    agents.train("toy/Forgetful-v0", frames=128, output=output, num_envs=2, rollout_steps=8)
    with pytest.warns(UserWarning, match="toy/Forgetful-v0 cannot be put back where it stood"):
        policy = agents.train("toy/Forgetful-v0", frames=256, output=output, resume=True)
    assert policy.frames == 256
    gym.registry.pop("toy/Forgetful-v0")


@pytest.mark.parametrize(("mode", "number", "code"), [("sync", signal.SIGTERM, 0), ("lockstep", signal.SIGINT, 130)])
def test_a_signal_leaves_a_run_that_can_be_resumed(mode, number, code, tmp_path):
    """The command line, a real signal after the first save, and the same weights as without it."""
    script = (
        "import sys, os, signal, sysgym.agents.training as training, sysgym.cli as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a test run in the background ignores it
        "update = training.Training._update\n"
        "def hit(self, share):\n"
        "    done = update(self, share)\n"
        f"    if self.history.update == 7: os.kill(os.getpid(), {int(number)})\n"
        "    return done\n"
        "training.Training._update = hit\n"
        "cli.main()\n"
    )
    output = tmp_path / "run.safetensors"
    arguments = ["train", "--env", "sysgym/AdmissionQueue-v0", "--algorithm", "a2c", "--frames", "4096", "--num-envs",
                 "16", "--mode", mode, "--output", str(output)]  # fmt: skip
    command, path = [sys.executable, "-c", script, *arguments], os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=path, capture_output=True, check=False).returncode == code
    assert agents.load(output).frames == 7 * 256
    agents.train("sysgym/AdmissionQueue-v0", "a2c", frames=4096, num_envs=16, mode=mode, output=output, resume=True)
    whole = agents.train("sysgym/AdmissionQueue-v0", "a2c", frames=4096, num_envs=16, mode=mode)
    assert agents.load(output).weights_sha256() == whole.weights_sha256()


def test_signals_are_left_as_they_were(tmp_path):
    before = [signal.getsignal(number) for number in SIGNALS]
    agents.train("toy/Cards-v0", frames=256, output=tmp_path / "run", **SMALL)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before[1]  # a second one is not held up
    with pytest.raises(SystemExit):
        interruption.end_run()


@pytest.mark.parametrize("learner", ["torch", "native"])
def test_a_run_goes_on_with_the_learner_that_began_it(learner, tmp_path, monkeypatch):
    """And with any number of threads, which change no bit."""
    monkeypatch.setattr("sysgym.agents.training.SAVE_SECONDS", 0.0)
    whole = agents.train("toy/Cards-v0", "ppo", frames=1024, learner=learner, threads=2, **SMALL)
    pieces = train_in_pieces([3], 1024, tmp_path / "run", "toy/Cards-v0", "ppo", learner=learner, threads=1, **SMALL)
    assert pieces.weights_sha256() == whole.weights_sha256()
    begun = agents.train("toy/Cards-v0", "ppo", frames=512, learner=learner, output=tmp_path / "other", **SMALL)
    other = {"torch": "native", "native": "torch"}[learner]
    crossed = agents.train("toy/Cards-v0", "ppo", frames=1024, learner=other, output=tmp_path / "other", resume=True)
    assert begun.frames == 512 and crossed.frames == 1024
