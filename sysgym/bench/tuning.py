"""Tune a recursive model index for a user's keys: a search under a budget, and a choice that says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.core.events import EventKind
from sysgym.learned_index.rmi import RMI
from sysgym.learned_index.tuning.model import TuningState, configuration

AGENT = "agent"
OBJECTIVES = ("balanced", "latency", "size")
_NEAR = 1.5
"""The objective "size" takes the smallest index whose latency is at most this many times the least found."""


@dataclass(frozen=True)
class TunedRow:
    """One configuration that was evaluated.

    Attributes:
        root: Root model.
        leaf: Leaf model.
        leaves: Fan-out.
        size_bytes: Of the index, beside the keys.
        nanoseconds: A query of a batch, by the cost model or measured.
        estimate: Nanoseconds that a sample of the keys let expect.
        seconds: On the search's clock when it was known.
        front: Whether no evaluated one is at once faster and smaller.
    """

    root: str
    leaf: str
    leaves: int
    size_bytes: int
    nanoseconds: float
    estimate: float
    seconds: float
    front: bool


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        tuner: Name of the policy that searched.
        rows: Evaluated configurations, in their order.
        chosen: Place of the chosen one among them.
        why: The reason, in words.
        plain_nanoseconds: Of a search without an index, by the cost model.
        promise: Share that the evaluated ones dominate of the hypervolume that a sample promised for all 399.
    """

    tuner: str
    rows: tuple[TunedRow, ...]
    chosen: int
    why: str
    plain_nanoseconds: float
    promise: float

    @property
    def options(self) -> dict[str, Any]:
        """Options with which `RMI.build` makes the chosen index."""
        row = self.rows[self.chosen]
        return {"root": row.root, "leaf": row.leaf, "leaves": row.leaves}


def tune(
    keys: NDArray[Any],
    *,
    evaluations: int = 40,
    objective: str = "balanced",
    max_bytes_per_key: float | None = None,
    tuner: str = AGENT,
    measured: bool = False,
    seed: int = 0,
    tell: Callable[[float, str], None] = lambda _share, _text: None,
) -> Tuning:
    """Search the 399 configurations of `sysgym/IndexTune-v0` for the one that suits some keys.

    Args:
        keys: Sorted keys.
        evaluations: Indexes that are built at most.
        objective: "latency": the fastest; "size": the smallest within 1.5 of the fastest; "balanced": the least product
            of latency and of total bytes, keys included.
        max_bytes_per_key: No index larger than this, beside the keys.
        tuner: "agent", the trained policy that comes with the package, or a heuristic of the environment.
        measured: Time each index, instead of the cost model; such a search does not repeat.
        seed: Of heuristics that draw.
        tell: Called with the share of the budget and the configuration after every evaluation.

    Raises:
        UnknownNameError: No such objective or tuner.
        SettingError: A number out of its range, or no index as small as that.
        KeyValueError: No keys, or keys that are unsorted or NaN.
    """
    require_known("objective", objective, OBJECTIVES)
    if max_bytes_per_key is not None:
        require_range("max_bytes_per_key", max_bytes_per_key, 0)
    env = _environment(keys, evaluations, measured)
    known = (AGENT, *env.heuristics)
    require_known("tuner", tuner, known)
    choose = _chooser(env, tuner, seed)
    observation, info = env.reset(seed=seed)
    ended = False
    while not ended:
        action = choose(observation, info["action_mask"])
        observation, _, ended, _, info = env.step(action)
        tell(env.state.evaluations / evaluations, " ".join(map(str, configuration(action))))
    rows = _rows(env)
    limit = np.inf if max_bytes_per_key is None else max_bytes_per_key * len(keys)
    chosen, why = _pick(rows, objective, limit, np.asarray(keys).nbytes)
    return Tuning(tuner, rows, chosen, why, env.state.reference, env.state.hypervolume)


def build(keys: NDArray[Any], tuning: Tuning) -> RMI:
    """The index that a search has chosen."""
    return RMI.build(keys, **tuning.options)


def _environment(keys: NDArray[Any], evaluations: int, measured: bool) -> Any:
    from sysgym.envs.indextune import IndexTuneEnv  # noqa: PLC0415  only a search needs the environment

    return IndexTuneEnv(keys=keys, evaluations=evaluations, latency="measured" if measured else "model")


def _chooser(env: Any, tuner: str, seed: int) -> Callable[[Any, NDArray[np.int8]], int]:
    if tuner != AGENT:
        from sysgym.bench.policies import resolve_policy  # noqa: PLC0415

        policy = resolve_policy(tuner, env, seed).policy
        policy.reset()
        return lambda _observation, _mask: int(policy.act_on_state(env.state))
    from sysgym.agents import load  # noqa: PLC0415
    from sysgym.agents.weights import shipped  # noqa: PLC0415

    agent = load(shipped("indextune"))
    agent.reset()
    return lambda observation, mask: int(agent.act(observation, mask))


def _rows(env: Any) -> tuple[TunedRow, ...]:
    measured, state = env.events.of(EventKind.MEASURE), env.state
    front = _front(state)
    rows = []
    for time, _, action, found in measured:
        root, leaf, leaves = configuration(action)
        size = round(2.0 ** float(state.log_bytes[action]))
        rows.append(TunedRow(root, leaf, leaves, size, found, float(state.estimate[action]), time, action in front))
    return tuple(rows)


def _front(state: TuningState) -> set[int]:
    """The evaluated configurations that no other is at once faster and smaller than."""
    tried = np.flatnonzero(~np.isnan(state.latency))
    order = tried[np.lexsort((state.latency[tried], state.log_bytes[tried]))]
    latency = state.latency[order]
    best = np.concatenate([[np.inf], np.minimum.accumulate(latency)[:-1]])
    return set(order[latency < best].tolist())


def _pick(rows: tuple[TunedRow, ...], objective: str, limit: float, keys_bytes: int) -> tuple[int, str]:
    """The best row; of equal ones that which stands for them on the front."""
    allowed = [i for i, row in enumerate(rows) if row.size_bytes <= limit]
    if not allowed:
        least = min(row.size_bytes for row in rows)
        raise SettingError(f"no evaluated index has at most {limit:.0f} bytes; the smallest has {least}")
    fastest = min(rows[i].nanoseconds for i in allowed)
    if objective == "latency":
        chosen = min(allowed, key=lambda i: (rows[i].nanoseconds, rows[i].size_bytes, not rows[i].front))
        return chosen, f"the fastest of {len(allowed)} that may be so large"
    if objective == "size":
        near = [i for i in allowed if rows[i].nanoseconds <= _NEAR * fastest]
        chosen = min(near, key=lambda i: (rows[i].size_bytes, rows[i].nanoseconds, not rows[i].front))
        return chosen, f"the smallest of {len(near)} that are within {_NEAR} times the fastest ({fastest:.1f} ns)"
    chosen = min(allowed, key=lambda i: (rows[i].nanoseconds * (keys_bytes + rows[i].size_bytes), not rows[i].front))
    return chosen, "the least product of latency and bytes, the keys' included"
