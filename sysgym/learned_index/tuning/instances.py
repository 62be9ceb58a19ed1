"""The key sets that are played: their features, and what evaluating each of the 399 configurations finds out.

The package ships 189 of them as tables (`instances.npz`), because finding one takes seconds to minutes. Latencies
follow from a table through `costs`, so another version of the costs needs no new tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.errors import require_known
from sysgym.core.seeding import stream_key
from sysgym.learned_index.tuning import costs
from sysgym.learned_index.tuning.dynamics import dominated
from sysgym.learned_index.tuning.model import aliases, leaf_bytes, root_bytes
from sysgym.workloads.draws import integer

FILE = Path(__file__).with_name("instances.npz")
SPLITS = ("train", "valid", "test", "all")
_FIXED_POINT = 1024.0
"""Halvings are stored in 16 bits, a 1024th exact."""


@dataclass(frozen=True)
class Instance:
    """One key set.

    Attributes:
        name: Of its family, with its number of keys.
        keys: Number of keys.
        span: Largest key less the smallest.
        halvings: Of every configuration, shape (399,); see `tables`.
        estimated_halvings: The same, as a sample lets expect them.
        quantiles: float32, shape (64,), see `model.TuningState`.
        gaps: float32, shape (65,).
        outliers: See `model.TuningState`.
    """

    name: str
    keys: int
    span: int
    halvings: NDArray[np.float64]
    estimated_halvings: NDArray[np.float64]
    quantiles: NDArray[np.float32]
    gaps: NDArray[np.float32]
    outliers: float

    live: ClassVar[bool] = False
    """Whether evaluating one takes real time, and is not known beforehand."""

    @cached_property
    def log_bytes(self) -> NDArray[np.float64]:
        """log2 of the bytes of every configuration."""
        return read_only(np.log2((leaf_bytes(self.keys) + root_bytes(self.span)).astype(np.float64)))

    @cached_property
    def latency(self) -> NDArray[np.float64]:
        """Nanoseconds a query of every configuration: what evaluations find out."""
        return read_only(costs.latency(self.keys, self.span, self.halvings))

    @cached_property
    def estimate(self) -> NDArray[np.float64]:
        """The same, as a sample lets expect it."""
        return read_only(costs.latency(self.keys, self.span, self.estimated_halvings))

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """How long evaluating each configuration takes."""
        return read_only(costs.evaluation_seconds(self.keys, self.span))

    @cached_property
    def reference(self) -> float:
        """Nanoseconds of a search without an index."""
        return costs.plain_latency(self.keys)

    @cached_property
    def total(self) -> float:
        """Hypervolume of the whole grid; 1 where it is less."""
        return max(1.0, float(dominated(self.log_bytes, self.latency, self.reference)))

    @cached_property
    def promise(self) -> float:
        """Hypervolume of the whole grid, if it were as estimated."""
        return max(1.0, float(dominated(self.log_bytes, self.estimate, self.reference)))

    def find(self, action: int) -> float:
        """Evaluate a configuration: its nanoseconds a query."""
        return float(self.latency[action])

    def known(self) -> dict[str, Any]:
        """The columns of `model.TuningState` that an episode does not change."""
        return {
            "keys": self.keys,
            "log_bytes": read_only(self.log_bytes),
            "estimate": read_only(self.estimate),
            "reference": self.reference,
            "promise": self.promise,
            "quantiles": read_only(self.quantiles),
            "gaps": read_only(self.gaps),
            "outliers": self.outliers,
        }

    @cached_property
    def distinct(self) -> NDArray[np.bool_]:
        """Configurations that are no alias of one with a smaller fan-out."""
        return read_only(~aliases(self.keys))


def pack(instances: dict[str, list[Instance]]) -> dict[str, NDArray[np.generic]]:
    """The arrays of the file."""
    flat = [(split, one) for split, many in instances.items() for one in many]

    def fixed(rows: list[NDArray[np.float64]]) -> NDArray[np.uint16]:
        return np.round(np.array(rows) * _FIXED_POINT).astype(np.uint16)

    return {
        "split": np.array([SPLITS.index(split) for split, _ in flat], dtype=np.int8),
        "name": np.array([one.name for _, one in flat]),
        "keys": np.array([one.keys for _, one in flat], dtype=np.int64),
        "span": np.array([one.span for _, one in flat], dtype=np.uint64),
        "halvings": fixed([one.halvings for _, one in flat]),
        "estimated_halvings": fixed([one.estimated_halvings for _, one in flat]),
        "quantiles": np.array([one.quantiles for _, one in flat], dtype=np.float32),
        "gaps": np.array([one.gaps for _, one in flat], dtype=np.float32),
        "outliers": np.array([one.outliers for _, one in flat]),
    }


@cache
def _shipped() -> tuple[NDArray[np.int8], tuple[Instance, ...]]:
    with np.load(FILE) as stored:
        columns = {name: stored[name] for name in stored.files}
    halvings, estimates = (columns[name] / _FIXED_POINT for name in ("halvings", "estimated_halvings"))
    made = tuple(
        Instance(str(name), int(keys), int(span), *rest)
        for name, keys, span, *rest in zip(
            columns["name"], columns["keys"], columns["span"], halvings, estimates,
            columns["quantiles"], columns["gaps"], columns["outliers"].tolist(), strict=True,
        )
    )  # fmt: skip
    return columns["split"], made


def shipped(split: str) -> tuple[Instance, ...]:
    """The instances of a split, in their order.

    Raises:
        UnknownNameError: No such split.
    """
    require_known("split", split, SPLITS)
    belongs, made = _shipped()
    return made if split == "all" else tuple(one for one, s in zip(made, belongs, strict=True) if SPLITS[s] == split)


def instance_number(seed: int, episode: int, split: str, count: int) -> int:
    """Which of `count` instances an episode plays: drawn in training, in turn everywhere else."""
    if split == "train":
        return int(integer(stream_key(seed, "key sets/train"), episode, 0, 0, count - 1))
    return (seed + episode) % count
