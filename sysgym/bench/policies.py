"""From what a user writes to a policy that can act.

A policy is named (a heuristic that comes with the environment), stored (a checkpoint of ours, or a stable-baselines3
zip), or written (`file.py` or `file.py:ClassName`, a class built as `Policy(observation_space, action_space)`; without
a class, functions of its methods' names). A checkpoint plays greedily; `file.safetensors:sampled` draws its actions.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import re
import sys
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sysgym.bench.guard import FAULTS, line_in, one_line, quiet, summary
from sysgym.bench.isolation import Limits, open_isolated
from sysgym.core.errors import CheckpointError, InputFileError, SettingError, SysgymError, UnknownNameError
from sysgym.core.files import sha256_of

_POLICY_FILE = re.compile(r"^(?P<file>.+\.(?:py|safetensors))(?::(?P<part>\w+))?$")
MASKED = "MaskablePPO"
"""The algorithm of sb3-contrib whose models see the mask."""
CONTRIBUTED = {"maskable": MASKED, "recurrent": "RecurrentPPO", "qrdqn": "QRDQN"}
"""Algorithms of sb3-contrib by a word in the name of the module that their networks come from."""
NO_REPLAY = {"buffer_size": 1}
"""What a model is loaded with: who plays needs no room for a million steps to learn from."""
LEARNED = "learned"
"""Name of the policy that comes with the package."""
SAMPLED = "sampled"
"""What follows the colon where a checkpoint shall draw its actions."""


@dataclass(frozen=True)
class ResolvedPolicy:
    """A policy ready to act, and what a record says of it.

    Attributes:
        policy: Has `reset`, and at least one of `act`, `act_batch`, `act_on_state`.
        name: Short name.
        kind: "heuristic", "learned" or "code".
        sha256: Of the file it came from; empty for heuristics.
    """

    policy: Any
    name: str
    kind: str
    sha256: str = ""


def resolve_policy(
    spec: str, env: gym.Env[Any, Any], seed: int = 0, limits: Limits | None = None, transfer: bool = False
) -> ResolvedPolicy:
    """Find or build a policy for an environment.

    Args:
        spec: Name of a heuristic of `env`, `learned` for what the package brings, path of a checkpoint (with
            `:sampled` behind it if it shall draw) or stable-baselines3 zip, `file.py` or `file.py:ClassName`.
        env: The environment it shall act in.
        seed: For heuristics and classes that take a `seed`, and for checkpoints that draw.
        limits: Where they are given, what is not ours (code, stable-baselines3 zips) plays in a process of its own,
            within them; None trusts it to play in this one.
        transfer: Whether a checkpoint may have been trained in an environment of another id, with the same spaces.

    Raises:
        UnknownNameError: Neither a heuristic nor a file; the nearest heuristics are offered.
        SettingError: The same, where there are no heuristics.
        InputFileError: The file is missing, does not run, or holds no policy class that can be built.
        CheckpointError: The checkpoint is damaged or of another environment.
    """
    heuristics = getattr(env.unwrapped, "heuristics", {})
    if spec in heuristics:
        return ResolvedPolicy(_built(heuristics[spec], seed), spec, "heuristic")
    path, part = policy_file(shipped_policy(spec, env.spec.id if env.spec else ""))
    if not path.is_file():
        raise unknown_policy(spec, heuristics)
    if limits is not None and path.suffix in (".py", ".zip"):
        algorithm = _stable_baselines_algorithm(path) if path.suffix == ".zip" else part
        kind = "learned" if path.suffix == ".zip" else "code"
        return ResolvedPolicy(open_isolated(path, algorithm, env, seed, limits), path.stem, kind, sha256_of(path))
    if path.suffix == ".py":
        return ResolvedPolicy(_from_code(path, part, env, seed), path.stem, "code", sha256_of(path))
    if path.suffix == ".zip":
        policy: Any = _from_stable_baselines(path, env)
    else:
        policy = _from_checkpoint(path, part, env, seed, transfer)
    name = LEARNED if spec.partition(":")[0] == LEARNED else path.stem
    return ResolvedPolicy(policy, name, "learned", sha256_of(path))


def shipped_policy(spec: str, env_id: str) -> str:
    """What a text means where it may be `learned`, the policy that comes with the package for an environment.

    Raises:
        SettingError: None comes with this environment.
    """
    name, colon, part = spec.partition(":")
    if name != LEARNED:
        return spec
    from sysgym.agents.weights import SHIPPED, shipped  # noqa: PLC0415

    if env_id not in SHIPPED:
        raise SettingError(f"no learned policy comes with {env_id}; those that do are of {', '.join(SHIPPED)}")
    return f"{shipped(SHIPPED[env_id])}{colon}{part}"


def policy_file(spec: str) -> tuple[Path, str | None]:
    """The file that a text names, and what stands behind its colon: a class of code, or how a checkpoint plays."""
    found = _POLICY_FILE.match(spec)
    return (Path(found["file"]), found["part"]) if found else (Path(spec), None)


def is_policy_file(spec: str) -> bool:
    """Whether a text names a file that is there, `file.py:ClassName` included."""
    return policy_file(spec)[0].is_file()


def unknown_policy(spec: str, heuristics: Collection[str]) -> SysgymError:
    """The error for what is neither a heuristic of an environment nor a file."""
    path, _ = policy_file(spec)
    if path.suffix or len(path.parts) > 1:
        return InputFileError(path, "no such policy file; give a heuristic's name, a checkpoint or file.py")
    if not heuristics:
        return SettingError(f"unknown policy {spec!r}; the environment has no heuristics, give a checkpoint or file.py")
    return UnknownNameError("policy", spec, heuristics)


def _built(make: Any, seed: int, *arguments: Any) -> Any:
    """Call a factory or class, with the seed if it takes one."""
    try:
        takes_seed = "seed" in inspect.signature(make).parameters
    except ValueError:  # a builtin without a signature
        takes_seed = False
    return make(*arguments, seed=seed) if takes_seed else make(*arguments)


def _from_checkpoint(path: Path, part: str | None, env: gym.Env[Any, Any], seed: int, transfer: bool) -> Any:
    from sysgym.agents import load  # noqa: PLC0415  only who loads a checkpoint waits for the room of agents

    if part not in (None, SAMPLED):
        raise UnknownNameError("way for a checkpoint to play", part, [SAMPLED])
    policy = load(path, None if transfer else env)
    if transfer:
        policy.check(env.observation_space, env.action_space)
    return policy.sampled(seed) if part else policy


def _from_code(path: Path, class_name: str | None, env: gym.Env[Any, Any], seed: int) -> Any:
    module = _load_module(path)
    classes = {
        name: item
        for name, item in vars(module).items()
        if inspect.isclass(item) and item.__module__ == module.__name__ and _acts(item)
    }
    if class_name is None and not classes and _acts(module):  # functions: the file itself is the policy
        return module
    if class_name is None:
        class_name = "Policy" if "Policy" in classes or len(classes) != 1 else next(iter(classes))
    if class_name not in classes:
        found = ", ".join(sorted(classes)) or "none"
        raise InputFileError(
            path, f"no class {class_name} with a method act or act_on_state (found: {found}); name it as file.py:Class"
        )
    try:
        return quiet(_built, classes[class_name], seed, env.observation_space, env.action_space)
    except FAULTS as error:
        raise _fault_of(path, error) from error


def _load_module(path: Path) -> ModuleType:
    """Run a user's file as a module of its own, under a name that cannot meet another's."""
    name = f"_sysgym_policy_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        quiet(spec.loader.exec_module, module)
    except FAULTS as error:
        raise _fault_of(path, error) from error
    return module


def _fault_of(path: Path, error: BaseException) -> InputFileError:
    """What a user's file raised, with the line of the file that led to it."""
    remedy = "; install it, or leave the import out" if isinstance(error, ImportError) else ""
    return InputFileError(path, f"{summary(error)}{remedy}", line=line_in(error, path))


def _acts(item: Any) -> bool:
    return any(callable(getattr(item, method, None)) for method in ("act", "act_on_state", "act_batch"))


class StableBaselinesPolicy:
    """A stable-baselines3 model behind our policy protocol; it acts greedily; a masked one sees the mask.

    A recurrent one remembers from decision to decision, and forgets where an episode begins.

    Args:
        model: What an algorithm's `load` returned.
    """

    _memory: Any = None

    def __init__(self, model: Any) -> None:
        self.model, self._masked = model, type(model).__name__ == MASKED
        self.observation_space, self.action_space = model.observation_space, model.action_space

    def reset(self) -> None:
        """Forget what a recurrent model remembers."""
        self._memory = None

    def act(self, observation: Any, action_mask: NDArray[np.int8]) -> int:
        """The model's greedy action."""
        masks = {"action_masks": action_mask.copy()} if self._masked else {}
        action, self._memory = self.model.predict(_writable(observation), self._memory, deterministic=True, **masks)
        return int(action)


def _writable(observation: Any) -> Any:
    """Torch warns about arrays that it could write to but must not."""
    if isinstance(observation, dict):
        return {name: np.array(part) for name, part in observation.items()}
    return np.array(observation)


def _from_stable_baselines(path: Path, env: gym.Env[Any, Any]) -> StableBaselinesPolicy:
    name = _stable_baselines_algorithm(path)
    try:
        algorithm = getattr(importlib.import_module(stable_baselines_home(name)), name)
        policy = StableBaselinesPolicy(quiet(algorithm.load, path, device="cpu", custom_objects=NO_REPLAY))
    except FAULTS as error:  # torch, zipfile and pickle each have their own words for a damaged file
        raise CheckpointError(f"{path}: not a stable-baselines3 model ({one_line(error)})") from error
    trained, found = (policy.observation_space, policy.action_space), (env.observation_space, env.action_space)
    if trained != found:
        raise CheckpointError(
            f"{path}: trained on observations {trained[0]} and actions {trained[1]}; the environment has {found[0]} "
            f"and {found[1]}: make it with the arguments that the model was trained with"
        )
    return policy


def stable_baselines_home(algorithm: str) -> str:
    """The package that has an algorithm."""
    return "sb3_contrib" if algorithm in CONTRIBUTED.values() else "stable_baselines3"


def _stable_baselines_algorithm(path: Path) -> str:
    """The algorithm's name, told from what only it stores; the file does not name it.

    Raises:
        CheckpointError: The file is no model.
        SettingError: The algorithm's package is not installed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            settings = json.loads(archive.read("data"))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: not a stable-baselines3 model ({one_line(error)})") from error
    made_of = settings.get("policy_class")
    module = str(made_of.get("__module__") if isinstance(made_of, dict) else made_of)
    contributed = [name for word, name in CONTRIBUTED.items() if word in module]
    if contributed:
        name = contributed[0]
    elif "clip_range" in settings:
        name = "PPO"
    else:
        name = "DQN" if "exploration_schedule" in settings or "exploration_rate" in settings else "A2C"
    home = stable_baselines_home(name)
    if importlib.util.find_spec(home) is None:
        raise SettingError(f"{path} needs {home.replace('_', '-')}; pip install 'sysgym[rivals]'")
    return name
