"""Studies as they are run: one run is a policy, and a training seed, on an environment.

A run's id is a hash of all that its outcome depends on, the content of the files it names included, so that a changed
policy file makes a new run and a moved data folder does not. A policy is trained where it plays, unless `train` names
another environment of the study; its checkpoint bears a hash of what the training depends on, so that runs which share
a training share the checkpoint, and more scenarios cost no new training. The file's form is in `study_file`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sysgym.bench.isolation import readable_beside
from sysgym.bench.policies import SAMPLED, policy_file
from sysgym.bench.study_file import VALID, EnvironmentPart, PolicyPart, StudyPart
from sysgym.core.errors import SettingError, StudyError
from sysgym.core.files import filled, sha256_of

FILE_SUFFIXES = frozenset({".swf", ".csv", ".gz", ".py", ".safetensors", ".toml", ".zip"})
"""What files that a study may name end with: such a text is a path, whether or not the file is there."""


@dataclass(frozen=True)
class Study:
    """A study that was read.

    Attributes:
        path: Its file.
        content: What stands in it.
        secret: Of the sealed split, given at run time.
    """

    path: Path
    content: StudyPart
    secret: bytes = b""

    @property
    def commitment(self) -> str:
        """Hexadecimal SHA-256 of the secret, which can be published before the secret itself; "" without one."""
        return hashlib.sha256(self.secret).hexdigest() if self.secret else ""

    @property
    def results(self) -> Path:
        """The folder of its records and checkpoints, beside the file."""
        return self.path.with_name(f"{self.path.stem}.results")

    @property
    def records(self) -> Path:
        """The file of its records."""
        return self.results / "records.jsonl"

    def located(self, text: str) -> str:
        """A name, or a path with `${SYSGYM_DATA}` filled in, relative to the study.

        Raises:
            StudyError: The variable is used and not set.
        """
        return locate(text, self.path.parent)


@dataclass(frozen=True)
class Run:
    """One policy, and training seed, on one environment: the unit that is run, recorded and resumed.

    Attributes:
        study: The study it belongs to.
        environment: Where.
        policy: What.
        training_seed: For trained policies, which of their seeds.
        draw: Which of the independent runs of a policy that draws.
        choosing: Whether it plays the valid split, on which the study chooses its best heuristic.
    """

    study: Study
    environment: EnvironmentPart
    policy: PolicyPart
    training_seed: int | None = None
    draw: int = 0
    choosing: bool = False

    @property
    def split(self) -> str:
        """What it plays."""
        return VALID if self.choosing else self.study.content.split

    @property
    def label(self) -> str:
        """What a progress bar shows."""
        seed = "" if self.training_seed is None else f", seed {self.training_seed}"
        draw = "" if self.policy.draws == 1 else f", draw {self.draw}"
        split = f", {self.split}" if self.choosing else ""
        return f"{self.policy.title}{seed}{draw} on {self.environment.title}{split}"

    @property
    def scenarios(self) -> int:
        """Number of scenarios it is evaluated on."""
        if self.choosing:
            return _valid_of(self.study, self.environment)
        return self.environment.scenarios or self.study.content.scenarios

    @property
    def policy_seed(self) -> int:
        """Seed of what the policy draws."""
        return self.study.content.seed + self.draw

    @property
    def arguments(self) -> dict[str, Any]:
        """The environment's arguments with their paths filled in."""
        return self._located(self.environment)

    @property
    def training_environment(self) -> EnvironmentPart:
        """Where the policy is trained: here, unless `train` names another environment."""
        name = self.policy.train.environment if self.policy.train else None
        if name is None:
            return self.environment
        return next(part for part in self.study.content.environments if part.title == name)

    @property
    def training_arguments(self) -> dict[str, Any]:
        """The training environment's arguments with their paths filled in."""
        return self._located(self.training_environment)

    @property
    def action_log(self) -> Path:
        """Where its actions are kept."""
        return self.study.results / "actions" / f"{self.id}.npz"

    @property
    def weights(self) -> Path:
        """Where what was trained is kept and played from, beside the records; it is there when a training has ended."""
        return self.study.results / "weights" / f"{self.training_id}.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Where a training that goes on leaves what it needs to resume."""
        return self.study.results / "checkpoints" / f"{self.training_id}.safetensors"

    @cached_property
    def training_id(self) -> str:
        """16 hexadecimal digits: a hash of everything that the training depends on."""
        assert self.policy.train is not None
        description = {
            "environment": self.training_environment.model_dump(include={"id", "arguments"}),
            "train": self.policy.train.model_dump(include={"algorithm", "settings"}),
            "budget": [self.training_seed, *self.training_budget],
            "files": self._file_hashes(self.training_environment),
        }
        return _short_hash(description)

    @property
    def training_budget(self) -> tuple[int | None, float | None]:
        """Frames and seconds of training, from the policy or else from the study's budgets."""
        train, budgets = self.policy.train, self.study.content.budgets
        assert train is not None
        if train.frames is None and train.seconds is None:
            return budgets.training_frames, budgets.training_seconds
        return train.frames, train.seconds

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits: a hash of everything that the outcome depends on."""
        content = self.study.content
        description: dict[str, Any] = {
            "study": content.name,
            "environment": self.environment.model_dump(exclude={"scenarios", "valid"}),
            "policy": self.policy.model_dump(
                exclude={
                    "environments": True,
                    "play": True,
                    "trusted": True,
                    "transfer": True,
                    "draws": True,
                    "best_of": True,
                    "train": {"seeds", "environment"},
                }
            ),
            "training": None if self.policy.train is None else [self.training_seed, *self.training_budget],
            "evaluation": [self.split, self.scenarios, content.seed, content.budgets.scenario_steps],
            "files": self._file_hashes(self.environment),
        }
        if self.training_environment is not self.environment:
            description["checkpoint"] = self.training_id
        if self.study.commitment:
            description["sealed"] = self.study.commitment
        if self.policy.play == SAMPLED:
            description["play"] = SAMPLED
        if self.policy.best_of > 1:
            description["best_of"] = self.policy.best_of
        if self.draw:
            description["draw"] = self.draw
        return _short_hash(description)

    def _located(self, environment: EnvironmentPart) -> dict[str, Any]:
        located: dict[str, Any] = _walk(environment.arguments, self.study.located)
        return located

    def _file_hashes(self, environment: EnvironmentPart) -> dict[str, str]:
        found: dict[str, str] = {}

        def note(text: str) -> str:
            file, _ = policy_file(self.study.located(text))
            if file.is_file():
                found[text] = sha256_of(file)
            return text

        _walk(environment.arguments, note)
        if self.policy.train is None:
            note(self.policy.source)
            found |= self._read_beside()
        return found

    def _read_beside(self) -> dict[str, str]:
        """Hashes of what a policy's code may read beside itself, such as its weights; see `isolation`."""
        file, _ = policy_file(self.study.located(self.policy.source))
        if file.suffix != ".py" or not file.is_file():
            return {}
        beside = {Path(text) for text in readable_beside(file)} - {file.resolve(), self.study.path}
        return {entry.name: sha256_of(entry) for entry in sorted(beside) if entry.is_file()}


def read_study(path: str | Path, secret: bytes = b"") -> Study:
    """Read and check a study file; `secret` is that of the sealed split.

    Raises:
        StudyError: No such file, no TOML, an unknown key (the nearest known one is offered), or a value of a wrong
            type or range (its place is named).
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; give the TOML file of a study") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not TOML: {error}") from error
    try:
        content = StudyPart.model_validate(table)
    except ValidationError as error:
        raise StudyError(f"{path}: {_first_fault(error)}") from error
    study = Study(path.resolve(), content, secret)
    if not expand(study):
        raise StudyError(
            f"{path}: nothing would run: the environments of every policy are empty; name one or leave them out"
        )
    _require_budgets(study)
    return study


def expand(study: Study) -> list[Run]:
    """The runs of a study, environment by environment in the order of the file; those of the valid split last."""
    runs: list[Run] = []
    for environment in study.content.environments:
        for policy in study.content.policies:
            if policy.environments is None or environment.title in policy.environments:
                seeds: list[int | None] = [None] if policy.train is None else [*policy.train.seeds]
                draws = range(policy.draws)
                runs += [Run(study, environment, policy, seed, draw) for seed in seeds for draw in draws]
    return runs + [replace(run, choosing=True) for run in runs if _valid_of(study, run.environment)]


def _valid_of(study: Study, environment: EnvironmentPart) -> int:
    """How many scenarios of the valid split are played besides."""
    return study.content.valid if environment.valid is None else environment.valid


def _short_hash(description: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def _require_budgets(study: Study) -> None:
    for run in expand(study):
        if run.policy.train is not None and run.training_budget == (None, None):
            raise StudyError(
                f"{study.path}: policies: {run.policy.title} has no training budget; give frames or seconds in its "
                f"train, or training_frames or training_seconds under [budgets]"
            )


def _first_fault(error: ValidationError) -> str:
    """The first fault in words: its place in the file, what is wrong, and what stands there."""
    fault = error.errors()[0]
    place = "".join(f" number {part + 1}" if isinstance(part, int) else f", {part}" for part in fault["loc"])[2:]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] not in ("value_error", "missing"):
        message = f"{message[:1].lower()}{message[1:]}, not {fault['input']!r}"
    if fault["type"] == "missing":
        message = "is required"
    return f"{place}: {message}" if place else message


def locate(text: str, folder: Path) -> str:
    """What a text of a study means to one whose file lies in `folder`; see `Study.located`."""
    try:
        text = str(filled(text))
    except SettingError as error:
        raise StudyError(str(error)) from error
    file, part = policy_file(text)
    beside = folder / file
    is_path = beside.is_file() or file.suffix in FILE_SUFFIXES or (os.sep in text and file.suffix != "")
    return f"{beside}{f':{part}' if part else ''}" if is_path else text


def locate_all(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Arguments of an environment with every path in them located."""
    located: dict[str, Any] = _walk(arguments, lambda text: locate(text, folder))
    return located


def _walk(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of nested tables and lists with every text changed."""
    if isinstance(value, dict):
        return {key: _walk(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_walk(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
