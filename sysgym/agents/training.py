"""The training loop: play a slot, learn from it, report, until the budget is spent.

Actor and learner take turns on one thread, so a run with a budget of frames gives the same weights for the same seed
on the same machine and package versions. The loop knows algorithms by the `Learner` protocol only.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from sysgym.agents import checkpoint as checkpoints
from sysgym.agents.architecture import Architecture, choose_architecture
from sysgym.agents.checkpoint import Checkpoint, holds_object, plain
from sysgym.agents.environments import Environments, make_environments
from sysgym.agents.learner import Learner
from sysgym.agents.networks import build_network
from sysgym.agents.policy import TrainedPolicy
from sysgym.agents.ppo import PPO, PPOSettings
from sysgym.agents.progress import Budget, History, Progress
from sysgym.agents.rollout import Actor
from sysgym.agents.settings import make_settings
from sysgym.agents.spaces import largest_bound
from sysgym.core.errors import CheckpointError, SettingError, TrainingError, UnknownNameError, require_range
from sysgym.core.files import require_writable
from sysgym.core.seeding import stream, stream_key

LEARNERS: Final = {"ppo": (PPOSettings, PPO)}
"""Settings and learner of every algorithm."""
DEFAULT_FRAMES = 500_000
SAVE_SECONDS = 30.0
"""Time between two checkpoints of a run that writes one."""


def train(
    env_id: str,
    algorithm: str = "ppo",
    *,
    seed: int = 0,
    num_envs: int | None = None,
    frames: int | None = None,
    seconds: float | None = None,
    environment: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    threads: int = 1,
    device: str = "cpu",
    on_progress: Callable[[Progress], object] | None = None,
    **settings: Any,
) -> TrainedPolicy:
    """Learn a policy for an environment with discrete actions.

    Args:
        env_id: A registered id, also as Gymnasium's `module:EnvId`.
        algorithm: "ppo".
        seed: Of weights, actions, minibatches and environments, each its own stream.
        num_envs: Environments that are stepped together; None takes 64 native ones, or 16 in Python.
        frames: Budget in environment steps, earlier runs included; the last slot may exceed it.
        seconds: Budget in seconds of training; whichever of both ends first. Neither: 500,000 frames.
        environment: Arguments of the environment.
        output: File of the checkpoint, written every 30 seconds and at the end.
        resume: Whether to go on from `output`. Weights, optimiser, random streams, counters and scales go on as they
            were; episodes that were under way begin anew, so a resumed run differs from one never interrupted.
            What is not given is as the checkpoint has it.
        threads: Threads of torch while it plays and learns.
        device: "cpu" or "cuda".
        on_progress: Called after every update.
        settings: Settings of the algorithm, see `ppo.PPOSettings`.

    Returns:
        The policy, acting greedily.

    Raises:
        UnknownNameError: The environment, algorithm or a setting does not exist.
        SettingError: A value is out of range, or the environment does not suit an agent.
        TrainingError: A reward, observation or gradient is not finite; `output` keeps the last good checkpoint.
        CheckpointError: `output` cannot be resumed from.
        OutputError: `output` cannot be written.
    """
    training = Training(
        env_id,
        algorithm,
        seed=seed,
        num_envs=num_envs,
        frames=frames,
        seconds=seconds,
        environment=environment,
        output=output,
        resume=resume,
        threads=threads,
        device=device,
        **settings,
    )
    for progress in training.run():
        if on_progress is not None:
            on_progress(progress)
    return training.policy()


class Training:
    """A training run as an object, for callers that want to watch or stop it; arguments are those of `train`.

    >>> training = Training("CartPole-v1", frames=2048)
    >>> [progress.frames for progress in training.run()]
    [1024, 2048]
    """

    def __init__(
        self,
        env_id: str,
        algorithm: str = "ppo",
        *,
        seed: int = 0,
        num_envs: int | None = None,
        frames: int | None = None,
        seconds: float | None = None,
        environment: Mapping[str, Any] | None = None,
        output: str | Path | None = None,
        resume: bool = False,
        threads: int = 1,
        device: str = "cpu",
        **settings: Any,
    ) -> None:
        if algorithm not in LEARNERS:
            raise UnknownNameError("algorithm", algorithm, LEARNERS)
        _check(seed=seed, num_envs=num_envs, frames=frames, seconds=seconds, threads=threads, device=device)
        self.env_id, self.algorithm, self.seed = env_id, algorithm, seed
        self.budget = Budget(DEFAULT_FRAMES if frames is None and seconds is None else frames, seconds)
        self.threads, self.output = threads, output
        if output is not None:
            require_writable(output)
        self.history = History()
        earlier = self._earlier() if resume else None
        if earlier is not None:
            num_envs, environment, settings = self._defaults_from(earlier, num_envs, environment, settings)
        self.environment = dict(environment or {})
        settings_kind, learner_kind = LEARNERS[algorithm]
        chosen = make_settings(settings_kind, settings)
        self.environments = make_environments(env_id, num_envs, self.environment)
        self.settings, self.architecture = _settled(chosen, self.environments)
        network = build_network(self.environments.spaces, self.architecture, stream_key(seed, "network"))
        self.network = network.to(device)
        self._streams = {name: stream(seed, name) for name in ("policy", "minibatches")}
        self.learner: Learner = learner_kind(self.network, self.settings, self._streams["minibatches"])
        if earlier is not None:
            self._restore(earlier)

    def run(self) -> Iterator[Progress]:
        """Play and learn until the budget is spent; yields after every update. A run is run once.

        Raises:
            TrainingError: A reward, observation or gradient is not finite.
            OutputError: The checkpoint cannot be written.
        """
        try:
            yield from self._updates()
            self._save()
        finally:
            self.environments.close()

    def policy(self) -> TrainedPolicy:
        """The policy as it stands, acting greedily."""
        return TrainedPolicy(self.checkpoint(resumable=False))

    def checkpoint(self, *, resumable: bool = True) -> Checkpoint:
        """Weights and facts as they stand, and what a resumed run needs."""
        facts = {
            "env_id": self.env_id,
            "environment": plain(self.environment),
            "spaces": plain(dataclasses.asdict(self.environments.spaces)),
            "architecture": plain(dataclasses.asdict(self.architecture)),
            "algorithm": self.algorithm,
            "settings": plain(dataclasses.asdict(self.settings)),
            "seed": self.seed,
            "frames": self.history.frames,
            "curve": list(self.history.curve),
            "versions": _versions(),
        }
        weights = self.network.state_dict()
        tensors = {f"weights/{name}": value.numpy(force=True).copy() for name, value in weights.items()}
        if resumable:
            learned, values = self.learner.state()
            tensors |= {f"learner/{name}": array for name, array in learned.items()}
            facts["training"] = {
                "num_envs": self.environments.num_envs,
                "streams": {name: plain(generator.bit_generator.state) for name, generator in self._streams.items()},
                "learner": values,
                "history": dataclasses.asdict(self.history),
            }
        return Checkpoint(facts, tensors)

    def _updates(self) -> Iterator[Progress]:
        history, share = self.history, self.budget.share(self.history)
        # episodes of a resumed run are others than those that the first run began with
        seed = stream_key(self.seed, f"environments/{history.update}") % 2**31
        actor = Actor(self.environments, self.network, self.settings.rollout_steps, self._streams["policy"], seed)
        frames_before, seconds_before = history.frames, history.seconds
        started = saved = time.perf_counter()
        while share < 1.0:
            with _thread_budget(self.threads):
                metrics = self._learn(actor, share)
            now = time.perf_counter()
            history.seconds = seconds_before + now - started
            share, share_before = self.budget.share(history), share
            history.extend_curve(share, share_before)
            if now - saved > SAVE_SECONDS:
                self._save()
                saved = now
            yield Progress(
                share,
                history.update,
                history.frames,
                history.seconds,
                (history.frames - frames_before) / (now - started),
                history.episodes,
                history.mean_return,
                metrics,
            )

    def _learn(self, actor: Actor, share: float) -> dict[str, float]:
        try:
            rollout = actor.collect()
            rollout.check_finite()
            metrics = self.learner.update(rollout, share)
        except TrainingError as error:
            kept = f"; {self.output} keeps the last good checkpoint" if self.output is not None else ""
            raise TrainingError(f"{self.env_id}, update {self.history.update + 1}: {error}{kept}") from error
        self.history.add(rollout.num_frames, rollout.episode_returns)
        return metrics

    def _save(self) -> None:
        if self.output is not None:
            checkpoints.write(self.output, self.checkpoint())

    def _earlier(self) -> Checkpoint:
        if self.output is None:
            raise SettingError("resume=True needs output, the checkpoint to go on from")
        earlier = checkpoints.read(self.output)
        if "training" not in earlier.facts:
            raise CheckpointError(f"{self.output}: holds a policy only; resume from the output of a training run")
        return earlier

    def _defaults_from(
        self, earlier: Checkpoint, num_envs: int | None, environment: Mapping[str, Any] | None, settings: dict[str, Any]
    ) -> tuple[int, Mapping[str, Any], dict[str, Any]]:
        """What the caller left open, from the checkpoint to resume; refuses what contradicts it."""
        stored = {**earlier.facts["settings"], **earlier.facts, "num_envs": earlier.facts["training"]["num_envs"]}
        if environment is None:
            environment = stored["environment"]
            if holds_object(environment):
                raise CheckpointError(f"{self.output}: its environment was made with objects; give environment again")
        given = {"env_id": self.env_id, "algorithm": self.algorithm, "seed": self.seed, "environment": environment}
        given |= settings if num_envs is None else {**settings, "num_envs": num_envs}
        for name, value in given.items():
            if name in stored and stored[name] != plain(value):
                raise CheckpointError(
                    f"{self.output}: was trained with {name}={stored[name]!r}, not {value!r}; give the same, or "
                    "train anew without resume"
                )
        return stored["num_envs"], environment, {**earlier.facts["settings"], **settings}

    def _restore(self, earlier: Checkpoint) -> None:
        """Weights, learner, streams and counters of a checkpoint."""
        TrainedPolicy(earlier).check(self.environments.observation_space, self.environments.action_space)
        weights = {name: torch.from_numpy(array.copy()) for name, array in earlier.part("weights/").items()}
        self.network.load_state_dict(weights)
        training = earlier.facts["training"]
        self.learner.restore(earlier.part("learner/"), training["learner"])
        self.history = History(**training["history"])
        for name, generator in self._streams.items():
            generator.bit_generator.state = training["streams"][name]


def _check(
    *, seed: int, num_envs: int | None, frames: int | None, seconds: float | None, threads: int, device: str
) -> None:
    require_range("seed", seed, 0)
    require_range("threads", threads, 1)
    for name, value in {"num_envs": num_envs, "frames": frames}.items():
        if value is not None:
            require_range(name, value, 1)
    if seconds is not None:
        require_range("seconds", seconds, 0.0, open_low=True)
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise SettingError(f"device is {device!r}; it must be 'cpu' or 'cuda'")
    if device != "cpu" and not torch.cuda.is_available():
        raise SettingError(f"device is {device!r}, but torch finds no CUDA device here; use 'cpu'")


def _settled(settings: PPOSettings, environments: Environments) -> tuple[PPOSettings, Architecture]:
    """The settings with everything that was left open chosen from the environment."""
    normalize = settings.normalize_observations
    if normalize is None:
        normalize = largest_bound(environments.observation_space) > 1.0
    architecture = choose_architecture(
        environments.spaces, settings.network, settings.hidden, settings.activation, normalize
    )
    settled = dataclasses.replace(
        settings,
        network=architecture.kind,
        hidden=architecture.hidden,
        activation=architecture.activation,
        normalize_observations=normalize,
    )
    return settled, architecture


@contextmanager
def _thread_budget(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _versions() -> dict[str, str]:
    packages = ("sysgym", "gymnasium", "numpy", "torch")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
