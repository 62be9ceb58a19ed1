"""Environments as an evaluation needs them: made from an id, held to a split, with a seed for each scenario.

Environments of ours take `split` and `sampling` and keep splits apart themselves, in time or by stream. For any other
Gymnasium environment a split is a range of seeds, so that no scenario of one is ever a scenario of another. The split
"sealed" plays the test split on scenarios that follow from a secret, which is drawn once all policies are fixed.
"""

from __future__ import annotations

import hmac
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from numpy.typing import NDArray

from sysgym.bench.guard import FAULTS, one_line, quiet
from sysgym.core.errors import SettingError, SysgymError, require_known, require_range, unknown_environment
from sysgym.core.instances import Described, Instance
from sysgym.envs.base import EngineEnv, EngineVectorEnv
from sysgym.envs.bounds import Bound

SEALED = "sealed"
SHORTEST_SECRET = 16
"""Bytes of a secret at least."""
SPLIT_SEEDS: Mapping[str, int] = {"train": 0, "valid": 10**9, "test": 2 * 10**9, SEALED: 3 * 10**9}
"""First scenario seed of each split where an environment has no splits of its own; ranges never meet."""
SPLIT_SIZE = 1_000_000_000
"""Seeds in each of these ranges."""


def spec_of(env_id: str) -> EnvSpec:
    """The registration of an id; a "module:Id" imports its module first.

    Raises:
        UnknownNameError: No such id.
        SettingError: No such module, or one that cannot be imported.
    """
    module, colon, name = env_id.rpartition(":")
    if colon:
        try:
            quiet(importlib.import_module, module)
        except FAULTS as error:
            raise SettingError(f"environment {env_id}: {one_line(error)}; it must be importable from here") from error
    try:
        return gym.spec(name)
    except gym.error.Error as error:
        raise unknown_environment(env_id, gym.registry) from error


def class_of(env_id: str) -> Any:
    """The class (or function) that makes environments of an id; heuristics and objective are read off it."""
    entry_point = spec_of(env_id).entry_point
    if entry_point is None:
        raise SettingError(f"environment {env_id} has no single environment, only a vector one")
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def heuristics_of(env_id: str) -> list[str]:
    """Names of the heuristics that come with an environment, in its order; empty for foreign ones."""
    return list(getattr(class_of(env_id), "heuristics", {}))


def objective_of(env_id: str) -> tuple[str, str]:
    """Name and direction of the metric that ranks policies: the return, for environments without an event log."""
    maker = class_of(env_id)
    ours = inspect.isclass(maker) and issubclass(maker, EngineEnv)
    return (maker.objective, maker.direction) if ours else ("return", "max")


def bound_of(env_id: str) -> Bound | None:
    """The best value of that metric, where the environment declares one."""
    found = getattr(class_of(env_id), "bound", None)
    return found if isinstance(found, Bound) else None


def domain_of(env_id: str) -> str:
    """What the problem belongs to; "" for foreign environments."""
    found = getattr(class_of(env_id), "domain", "")
    return found if isinstance(found, str) else ""


def shifts_of(env_id: str) -> dict[str, float]:
    """Numeric arguments that change what is met, with what leaving one out amounts to; none for foreign ones."""
    found = getattr(class_of(env_id), "shifts", {})
    return {str(name): float(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def known_at_once(env_id: str) -> bool:
    """Whether an episode may be tried several times and the best be taken, see `EngineEnv.known_at_once`."""
    return bool(getattr(class_of(env_id), "known_at_once", False))


def time_unit_of(env_id: str) -> str:
    """Unit of the times in the event logs of an environment of ours."""
    return str(getattr(class_of(env_id), "time_unit", ""))


def training_arguments(env_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that make an environment play the training split."""
    return _with_split(env_id, arguments, "train")


def evaluation_arguments(env_id: str, arguments: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Arguments that make an environment play one split, scenario k for seed k (on a log, its disjoint windows).

    Sealed scenarios are windows drawn anywhere in the test split.

    Raises:
        SettingError: An argument that the evaluation decides, or one that shows what is still to come.
    """
    for name, values in getattr(class_of(env_id), "training_only", {}).items():
        if isinstance(arguments.get(name), str) and arguments[name] in values:
            raise SettingError(
                f"{name} is {arguments[name]!r}, which shows what is still to come: it is for training, and "
                "scores with it would mean nothing; evaluate with another"
            )
    if split == SEALED:
        return _with_split(env_id, arguments, "test")
    return _with_split(env_id, arguments, split) | dict(getattr(class_of(env_id), "scenario_arguments", {}))


def scenario_seeds(env_id: str, split: str, count: int, first: int = 0, secret: bytes = b"") -> list[int]:
    """The seeds of `count` scenarios of a split, starting at its scenario number `first`.

    A sealed scenario's seed is the head of HMAC-SHA256(secret, "id|number"): nobody who lacks the secret knows it, and
    everybody who has it finds the same.

    Raises:
        UnknownNameError: No such split; "all" is none, since it holds what policies are trained on.
        SettingError: The sealed split without a secret, or a secret for another one.
        SettingError: A negative first scenario, or one so large that the scenarios leave the split.
    """
    require_known("split", split, SPLIT_SEEDS)
    if (split == SEALED) != bool(secret):
        raise SettingError("the sealed split, and no other, needs a secret: give a file of at least 16 random bytes")
    if 0 < len(secret) < SHORTEST_SECRET:
        raise SettingError(f"the secret has {len(secret)} bytes; it must have at least {SHORTEST_SECRET}")
    own = _takes(env_id, "split")
    require_range("seed (the first scenario)", first, 0, (2**31 if own else SPLIT_SIZE) - count)
    if split == SEALED:
        texts = [f"{env_id}|{first + number}".encode() for number in range(count)]
        heads = [hmac.digest(secret, text, "sha256")[:8] for text in texts]
        drawn = [int.from_bytes(head, "little") >> 1 for head in heads]
        return drawn if own else [SPLIT_SEEDS[SEALED] + seed % SPLIT_SIZE for seed in drawn]
    offset = 0 if own else SPLIT_SEEDS[split]
    return [offset + first + number for number in range(count)]


def make(env_id: str, arguments: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Make a single environment with Discrete actions.

    Raises:
        UnknownNameError: No such id.
        SettingError: An argument that it does not take, actions that are not Discrete, or what a foreign one raises.
    """
    spec_of(env_id)
    try:
        env: gym.Env[Any, Any] = quiet(gym.make, env_id, disable_env_checker=True, **arguments)
    except SysgymError:
        raise
    except FAULTS as error:
        raise SettingError(f"environment {env_id}: {one_line(error)}") from error
    if not isinstance(env.action_space, gym.spaces.Discrete):
        raise SettingError(f"environment {env_id} has actions {env.action_space}; only Discrete ones are evaluated")
    return env


def instance_of(env: gym.Env[Any, Any]) -> Instance | None:
    """What an environment's `workload` says of itself; None where it says nothing."""
    played = getattr(env.unwrapped, "workload", None)
    whole = getattr(played, "workload", played)  # jobsets made from a log hold it
    return whole.instance() if isinstance(whole, Described) else None


def plays_disjoint_windows(env_id: str, env: gym.Env[Any, Any]) -> bool:
    """Whether its scenarios are windows of a log or workload, cut so that none shares a job with another."""
    asked: Mapping[str, Any] = getattr(class_of(env_id), "scenario_arguments", {})
    instance = instance_of(env)
    return asked.get("sampling") == "disjoint" and instance is not None and instance.kind == "log"


def action_mask(env: gym.Env[Any, Any], info: Mapping[str, Any]) -> NDArray[np.int8]:
    """The mask of an observation: from its info, else from a method `action_masks()` (the convention of sb3-contrib).

    All ones for environments that have neither.
    """
    mask = info.get("action_mask")
    if mask is None and env.has_wrapper_attr("action_masks"):
        mask = env.get_wrapper_attr("action_masks")()
    if mask is None:
        assert isinstance(env.action_space, gym.spaces.Discrete)
        return np.ones(int(env.action_space.n), dtype=np.int8)
    return np.array(mask, dtype=np.int8)


def is_engine_vector(env_id: str) -> bool:
    """Whether an id has a vector environment of ours, whose rows can be reset and scored one by one."""
    entry_point = spec_of(env_id).vector_entry_point
    maker = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    return inspect.isclass(maker) and issubclass(maker, EngineVectorEnv)


def _with_split(env_id: str, arguments: Mapping[str, Any], split: str) -> dict[str, Any]:
    for name in ("split", "sampling"):
        if name in arguments:
            raise SettingError(f"the arguments of {env_id} name {name!r}, which the evaluation decides; leave it out")
    return {**arguments, "split": split} if _takes(env_id, "split") else dict(arguments)


def _takes(env_id: str, name: str) -> bool:
    """Whether an environment has an argument; one of ours that passes the rest on to its domain may have it."""
    maker = class_of(env_id)
    parameters = inspect.signature(maker).parameters
    passes_on = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
    return name in parameters or (passes_on and inspect.isclass(maker) and issubclass(maker, EngineEnv))
