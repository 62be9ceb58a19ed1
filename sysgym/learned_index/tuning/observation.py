"""What a tuner sees, and the mask, for both engines.

`rows` has a row a candidate, so that a policy with shared weights scores candidates: what it is, what it is expected to
be, and what it would gain. `flat` is the key set's features and the last evaluation, without any expectation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.protocols import ArraySpec
from sysgym.learned_index.tuning.model import (
    BITS_OF,
    COUNT,
    FANOUT_BITS,
    LEAF_OF,
    LEAVES,
    REFERENCE_LOG_BYTES,
    ROOT_OF,
    ROOTS,
)

ENCODERS = ("rows", "flat")
ROW_FEATURES = 26
FLAT_FEATURES = 148

_MOST_BITS = float(FANOUT_BITS[-1])
_SMALLEST_GAIN = 1e-4


def spec_of(encoder: str) -> ArraySpec:
    """Shape and range of an encoder's observations."""
    shape = (COUNT, ROW_FEATURES) if encoder == "rows" else (FLAT_FEATURES,)
    return ArraySpec(shape, np.float32, 0.0, 1.0)


@compiled
def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@compiled
def write_rows(
    keys: int, left: float, log_bytes: NDArray[np.float64], allowed: NDArray[np.bool_], estimate: NDArray[np.float64],
    expected: NDArray[np.float64], confidence: NDArray[np.float64], gain: NDArray[np.float64], reference: float,
    hypervolume: float, gaps: NDArray[np.float32], outliers: float, observation: NDArray[np.float32],
) -> None:  # fmt: skip
    """Write the observation `rows`; the columns are those of `TuningState`, `left` the budget's share."""
    most = _SMALLEST_GAIN
    for i in range(COUNT):
        most = max(most, gain[i])
    mean, square = 0.0, 0.0
    for bits in range(65):
        mean += gaps[bits] * bits
        square += gaps[bits] * bits * bits
    spread = np.sqrt(max(square - mean * mean, 0.0)) / 16.0
    observation[:] = 0.0
    for i in range(COUNT):
        row = observation[i]
        row[0] = _unit(gain[i] * 4.0)
        row[1] = _unit(1.0 - np.log10(max(gain[i], _SMALLEST_GAIN)) / np.log10(_SMALLEST_GAIN))
        row[2] = _unit(gain[i] / most)
        row[3] = _unit(expected[i] / reference)
        row[4] = _unit(estimate[i] / reference)
        row[5] = confidence[i]
        row[6] = _unit(log_bytes[i] / REFERENCE_LOG_BYTES)
        row[7] = BITS_OF[i] / _MOST_BITS
        row[8] = 1.0 if allowed[i] else 0.0
        row[9 + ROOT_OF[i]] = 1.0
        row[16 + LEAF_OF[i]] = 1.0
        row[19] = left
        row[20] = _unit(hypervolume)
        row[21] = _unit(most * 4.0)
        row[22] = _unit(np.log2(keys) / 40.0)
        row[23] = _unit(outliers)
        row[24] = _unit(spread)
        row[25] = _unit((BITS_OF[i] - np.log2(keys) + 24.0) / 24.0)


@compiled
def write_flat(
    keys: int, left: float, log_bytes: NDArray[np.float64], latency: NDArray[np.float64], last: int, reference: float,
    hypervolume: float, quantiles: NDArray[np.float32], gaps: NDArray[np.float32], outliers: float,
    observation: NDArray[np.float32],
) -> None:  # fmt: skip
    """Write the observation `flat`; `last` is the configuration evaluated last, or -1."""
    observation[:] = 0.0
    observation[:64] = quantiles
    observation[64:129] = gaps
    observation[129], observation[130] = _unit(outliers), _unit(np.log2(keys) / 40.0)
    best, smallest = reference, REFERENCE_LOG_BYTES
    for i in range(COUNT):
        if latency[i] < reference:
            best, smallest = min(best, latency[i]), min(smallest, log_bytes[i])
    observation[131], observation[132] = best / reference, _unit(smallest / REFERENCE_LOG_BYTES)
    observation[133], observation[134] = _unit(hypervolume), left
    if last >= 0:
        observation[135 + ROOT_OF[last]] = 1.0
        observation[142 + LEAF_OF[last]] = 1.0
        observation[145] = BITS_OF[last] / _MOST_BITS
        observation[146] = _unit(latency[last] / reference)
        observation[147] = _unit(log_bytes[last] / REFERENCE_LOG_BYTES)


@compiled
def write_mask(allowed: NDArray[np.bool_], action_mask: NDArray[np.int8]) -> None:
    """1 for what was not evaluated yet; everything, once nothing is left."""
    for i in range(COUNT):
        action_mask[i] = allowed[i]
    if not allowed.any():
        action_mask[:] = 1


assert len(ROOTS) == 7 and len(LEAVES) == 3  # the columns above are laid out for so many
