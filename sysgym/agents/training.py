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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from sysgym.agents import checkpoint as checkpoints
from sysgym.agents.architecture import Architecture, choose_architecture
from sysgym.agents.checkpoint import Checkpoint, plain
from sysgym.agents.environments import Environments, make_environments
from sysgym.agents.learner import Learner
from sysgym.agents.networks import build_network
from sysgym.agents.policy import TrainedPolicy
from sysgym.agents.ppo import PPO, PPOSettings
from sysgym.agents.rollout import RECENT_EPISODES, Actor
from sysgym.agents.settings import make_settings, to_dict
from sysgym.agents.spaces import largest_bound
from sysgym.core.errors import CheckpointError, SettingError, TrainingError, UnknownNameError, require_range
from sysgym.core.seeding import stream, stream_key

LEARNERS: Final = {"ppo": (PPOSettings, PPO)}
"""Settings and learner of every algorithm."""
DEFAULT_FRAMES = 500_000
DEFAULT_DISCOUNT = 0.99
SAVE_SECONDS = 30.0
"""Time between two checkpoints of a run that writes one."""
CURVE_POINTS = 100


@dataclass(frozen=True)
class Progress:
    """Where a run stands after an update.

    Attributes:
        share: Share of the budget that is spent, 0 to 1.
        update: Updates so far.
        frames: Environment steps so far.
        seconds: Time spent so far, earlier runs included.
        frames_per_second: Of this run.
        episodes: Episodes that have ended.
        mean_return: Mean return of the last 100 of them (unscaled, undiscounted), or None before the first.
        metrics: The learner's, by name.
    """

    share: float
    update: int
    frames: int
    seconds: float
    frames_per_second: float
    episodes: int
    mean_return: float | None
    metrics: Mapping[str, float]


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
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> TrainedPolicy:
    """Learn a policy for an environment with discrete actions.

    Args:
        env_id: A registered id, also as Gymnasium's `module:EnvId`.
        algorithm: "ppo".
        seed: Of weights, actions, minibatches and environments, each its own stream.
        num_envs: Environments that are stepped together; None takes 256 native ones, or 16 in Python.
        frames: Budget in environment steps, earlier runs included; the last slot may exceed it.
        seconds: Budget in seconds of training; whichever of both ends first. Neither: 500,000 frames.
        environment: Arguments of the environment.
        output: File of the checkpoint, written every 30 seconds and at the end.
        resume: Whether to go on from `output`. Weights, optimiser, random streams, counters and scales go on as they
            were; episodes that were under way begin anew, so a resumed run differs from one never interrupted.
            Settings that are not given are those of the checkpoint.
        threads: Threads of torch while it learns.
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
        if resume and output is None:
            raise SettingError("resume=True needs output, the checkpoint to go on from")
        self.env_id, self.algorithm, self.seed = env_id, algorithm, seed
        self.max_frames = DEFAULT_FRAMES if frames is None and seconds is None else frames
        self.max_seconds, self.threads, self.output = seconds, threads, output
        earlier = checkpoints.read(output) if resume and output is not None else None
        if earlier is not None:
            num_envs, environment, settings = self._defaults_from(earlier, num_envs, environment, settings)
        self.environment = dict(environment or {})
        settings_kind, learner_kind = LEARNERS[algorithm]
        chosen = make_settings(settings_kind, settings)
        self.environments = make_environments(env_id, num_envs, self.environment)
        self.settings, self.architecture = _settled(chosen, self.environments)
        network = build_network(self.environments.spaces, self.architecture, stream_key(seed, "network"))
        self._streams = {name: stream(seed, name) for name in ("policy", "minibatches")}
        self.network = network.to(device)
        self.learner: Learner = learner_kind(self.network, self.settings, self._streams["minibatches"])
        self.update, self.frames, self.seconds, self.curve = 0, 0, 0.0, list[dict[str, Any]]()
        self._actor_state: dict[str, Any] = {"episodes": 0, "recent_returns": []}
        if earlier is not None:
            self._restore(earlier)

    def run(self) -> Iterator[Progress]:
        """Play and learn until the budget is spent; yields after every update.

        Raises:
            TrainingError: A reward, observation or gradient is not finite.
        """
        try:
            if self._share() < 1.0:
                yield from self._updates()
            if self.output is not None:
                checkpoints.write(self.output, self.checkpoint())
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
            "spaces": self.environments.spaces.to_dict(),
            "architecture": self.architecture.to_dict(),
            "algorithm": self.algorithm,
            "settings": to_dict(self.settings),
            "seed": self.seed,
            "frames": self.frames,
            "curve": list(self.curve),
            "versions": _versions(),
        }
        tensors = {
            f"weights/{name}": value.detach().cpu().numpy().copy() for name, value in self.network.state_dict().items()
        }
        if resumable:
            learned, values = self.learner.state()
            tensors |= {f"learner/{name}": array for name, array in learned.items()}
            facts["training"] = {
                "num_envs": self.environments.num_envs,
                "update": self.update,
                "seconds": self.seconds,
                "streams": {name: stream_state(generator) for name, generator in self._streams.items()},
                "learner": values,
                **self._actor_state,
            }
        return Checkpoint(facts, tensors)

    def _updates(self) -> Iterator[Progress]:
        steps = self.settings.rollout_steps
        # episodes of a resumed run are others than those that the first run began with
        seed = stream_key(self.seed, f"environments/{self.update}") % 2**31
        actor = Actor(self.environments, self.network, steps, self._streams["policy"], seed)
        actor.num_episodes = self._actor_state["episodes"]
        actor.recent_returns.extend(self._actor_state["recent_returns"])
        started, frames_before, seconds_before = time.perf_counter(), self.frames, self.seconds
        saved = started
        share = self._share()
        while share < 1.0:
            with _thread_budget(self.threads):
                metrics = self._learn(actor, share)
            now = time.perf_counter()
            self.seconds = seconds_before + now - started
            share = self._share()
            self._actor_state = {"episodes": actor.num_episodes, "recent_returns": list(actor.recent_returns)}
            mean_return = float(np.mean(actor.recent_returns)) if actor.recent_returns else None
            self._extend_curve(share, mean_return)
            if self.output is not None and now - saved > SAVE_SECONDS:
                checkpoints.write(self.output, self.checkpoint())
                saved = now
            rate = (self.frames - frames_before) / (now - started)
            yield Progress(
                share, self.update, self.frames, self.seconds, rate, actor.num_episodes, mean_return, metrics
            )

    def _learn(self, actor: Actor, share: float) -> dict[str, float]:
        place = f"{self.env_id}, update {self.update + 1}"
        kept = f"; {self.output} keeps the last good checkpoint" if self.output is not None else ""
        rollout = actor.collect()
        fault = rollout.first_not_finite()
        if fault is not None:
            raise TrainingError(f"{place}: {fault}{kept}")
        try:
            metrics = self.learner.update(rollout, share)
        except TrainingError as error:
            raise TrainingError(f"{place}: {error}{kept}") from error
        self.update += 1
        self.frames += rollout.num_frames
        return metrics

    def _share(self) -> float:
        """Share of the budget that is spent, by frames or by time, whichever is further."""
        by_frames = self.frames / self.max_frames if self.max_frames is not None else 0.0
        by_seconds = self.seconds / self.max_seconds if self.max_seconds is not None else 0.0
        return min(1.0, max(by_frames, by_seconds))

    def _extend_curve(self, share: float, mean_return: float | None) -> None:
        if share < 1.0 and share * CURVE_POINTS < self._next_mark:
            return
        self._next_mark = int(share * CURVE_POINTS) + 1
        self.curve.append({"frames": self.frames, "seconds": round(self.seconds, 3), "mean_return": mean_return})

    _next_mark = 0

    def _defaults_from(
        self, earlier: Checkpoint, num_envs: int | None, environment: Mapping[str, Any] | None, settings: dict[str, Any]
    ) -> tuple[int, Mapping[str, Any], dict[str, Any]]:
        """What the caller left open, from the checkpoint to resume; refuses what contradicts it."""
        facts = earlier.facts
        training = facts.get("training")
        if training is None:
            raise CheckpointError(f"{self.output}: holds a policy only; resume from the output of a training run")
        given = {
            "env_id": self.env_id,
            "algorithm": self.algorithm,
            "seed": self.seed,
            "num_envs": training["num_envs"] if num_envs is None else num_envs,
            "environment": facts["environment"] if environment is None else plain(environment),
            **plain(settings),
        }
        stored = {**facts["settings"], **facts, "num_envs": training["num_envs"]}
        for name, value in given.items():
            if name in stored and stored[name] != value:
                raise CheckpointError(
                    f"{self.output}: was trained with {name}={stored[name]!r}, not {value!r}; give the same, or "
                    "train anew without resume"
                )
        if environment is None:
            environment = facts["environment"]
        return training["num_envs"], environment, {**facts["settings"], **settings}

    def _restore(self, earlier: Checkpoint) -> None:
        """Weights, learner, streams and counters of a checkpoint."""
        policy = TrainedPolicy(earlier)
        policy.check(self.environments.observation_space, self.environments.vector.single_action_space)
        weights = {name: torch.from_numpy(np.array(array)) for name, array in earlier.part("weights/").items()}
        self.network.load_state_dict(weights)
        training = earlier.facts["training"]
        self.learner.restore(earlier.part("learner/"), training["learner"])
        for name, generator in self._streams.items():
            generator.bit_generator.state = training["streams"][name]
        self.update, self.seconds = training["update"], training["seconds"]
        self.frames, self.curve = policy.frames, list(policy.curve)
        self._actor_state = {name: training[name] for name in self._actor_state}
        self._next_mark = int(self._share() * CURVE_POINTS) + 1


def stream_state(generator: np.random.Generator) -> dict[str, Any]:
    """The state of a Philox generator as JSON takes it; `bit_generator.state` accepts it back."""

    def listed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: listed(part) for name, part in value.items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    state: dict[str, Any] = listed(generator.bit_generator.state)
    return state


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
    discount = settings.discount
    if discount is None:
        discount = float(environments.vector.metadata.get("discount", DEFAULT_DISCOUNT))
    settled = dataclasses.replace(
        settings,
        discount=discount,
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
