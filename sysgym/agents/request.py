"""What a training run is asked for: the arguments of `training.train`, checked, and completed by the run it resumes.

A resumed run is described by its checkpoint. What the caller leaves open is as it was there; what he gives must agree
with it, apart from the budget and from where the run takes place, which change no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from sysgym.agents import checkpoint as checkpoints
from sysgym.agents.backends import Backend
from sysgym.agents.checkpoint import Checkpoint, holds_object, plain
from sysgym.agents.stepping.processes import WATCHDOG_SECONDS
from sysgym.agents.telemetry.progress import Budget
from sysgym.core.errors import CheckpointError, SettingError, require_range
from sysgym.core.files import require_writable

DEFAULT_FRAMES = 500_000
ELSEWHERE = ("backend", "workers", "min_batch")
"""Arguments that may differ from those of the run that is resumed."""


@dataclass(frozen=True)
class Request:
    """The arguments of `training.train`, which documents them, with the settings of the algorithm in one mapping.

    Raises:
        SettingError: A value is out of range.
        OutputError: `output` cannot be written.
    """

    env_id: str
    algorithm: str = "ppo"
    seed: int = 0
    num_envs: int | None = None
    frames: int | None = None
    seconds: float | None = None
    environment: Mapping[str, Any] | None = None
    words: Mapping[str, Any] | None = None
    output: str | Path | None = None
    resume: bool = False
    mode: str | None = None
    threads: int | None = None
    learner: str | None = None
    device: str = "cpu"
    backend: str | None = None
    actors: int | None = None
    workers: int | None = None
    min_batch: int | None = None
    address: str | None = None
    watchdog: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_range("seed", self.seed, 0)
        for name in ("num_envs", "frames", "threads"):
            if getattr(self, name) is not None:
                require_range(name, getattr(self, name), 1)
        if self.seconds is not None:
            require_range("seconds", self.seconds, 0.0, open_low=True)
        if self.device.partition(":")[0] not in ("cpu", "cuda"):
            raise SettingError(f"device is {self.device!r}; it must be 'cpu' or 'cuda'")
        if self.device != "cpu" and not torch.cuda.is_available():
            raise SettingError(f"device is {self.device!r}, but torch finds no CUDA device here; use 'cpu'")
        if self.output is not None:
            require_writable(self.output)

    @classmethod
    def of(cls, env_id: str, algorithm: str, arguments: Mapping[str, Any]) -> Request:
        """A request from the keyword arguments of `train`; those that are none of them are settings."""
        own = {part.name for part in fields(cls)} - {"settings"}
        settings = {name: value for name, value in arguments.items() if name not in own}
        return cls(env_id, algorithm, settings=settings, **{k: v for k, v in arguments.items() if k in own})

    @property
    def budget(self) -> Budget:
        """How long the run goes on."""
        return Budget(DEFAULT_FRAMES if self.frames is None and self.seconds is None else self.frames, self.seconds)

    @property
    def described_environment(self) -> Any:
        """The environment's arguments as the checkpoint says them."""
        return plain(self.environment or {} if self.words is None else self.words)

    def gathering(self) -> Backend:
        """Where the actors play.

        Raises:
            SettingError: A value is out of range, or belongs to another backend.
        """
        actors = 1 if self.actors is None else self.actors
        watchdog = WATCHDOG_SECONDS if self.watchdog is None else self.watchdog
        return Backend(self.backend or "threads", actors, self.workers, self.min_batch, self.address, watchdog)

    def earlier(self) -> Checkpoint | None:
        """The checkpoint of the run to go on from; None for a new run.

        Raises:
            SettingError: No output is given.
            CheckpointError: It cannot be read, or is no run that can be resumed.
        """
        if not self.resume:
            return None
        if self.output is None:
            raise SettingError("resume=True needs output, the checkpoint to go on from")
        earlier = checkpoints.read(self.output)
        if "training" not in earlier.facts:
            raise CheckpointError(f"{self.output}: holds a policy only; resume from the output of a training run")
        if "stood" not in earlier.facts["training"]:
            raise CheckpointError(f"{self.output}: an earlier sysgym trained it; train anew without resume")
        return earlier

    def completed(self, earlier: Checkpoint) -> Request:
        """The request with everything that was left open as the earlier run had it.

        Raises:
            CheckpointError: Something was given that contradicts the earlier run, or must be given again.
        """
        stored = {**earlier.facts["settings"], **earlier.facts, **earlier.facts["training"]}
        words = self.environment if self.words is None else self.words
        if words is None and holds_object(stored["environment"]):
            raise CheckpointError(f"{self.output}: its environment was made with objects; give environment again")
        names = ("num_envs", "mode", "backend", "actors", "workers", "min_batch")
        asked = {"environment": words} | {name: getattr(self, name) for name in names}
        given = {name: value for name, value in asked.items() if value is not None}
        run = {"env_id": self.env_id, "algorithm": self.algorithm, "seed": self.seed}
        for name, value in {**run, **given, **self.settings}.items():
            if name in stored and name not in ELSEWHERE and stored[name] != plain(value):
                raise CheckpointError(
                    f"{self.output}: was trained with {name}={stored[name]!r}, not {value!r}; give the same, or "
                    "train anew without resume"
                )
        if given.get("backend", stored["backend"]) != stored["backend"]:
            stored["workers"] = None  # of another backend
        settled = stored | given
        described: dict[str, Any] = {name: settled.get(name) for name in names}
        return replace(
            self,
            words=settled["environment"],
            environment=settled["environment"] if self.environment is None else self.environment,
            threads=self.threads or stored.get("threads"),
            learner=self.learner or stored.get("learner_kind", "torch"),
            settings={**earlier.facts["settings"], **self.settings},
            **described,
        )
