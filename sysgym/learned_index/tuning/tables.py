"""What an evaluation finds out: how far the last mile of a configuration is, exactly or guessed from a sample.

The last mile halves a window until a block of 16 keys is left (`last_mile`), so a configuration is known, up to the
machine, by the mean number of halvings over the keys. `evaluate` really builds the index for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.learned_index.machine import BLOCK
from sysgym.learned_index.rmi import RMI
from sysgym.learned_index.tuning.instances import Instance
from sysgym.learned_index.tuning.model import COUNT, FANOUT_BITS, LEAVES, ROOTS, action_of, aliases, configuration

SAMPLE = 4096
"""Keys from which an estimate is made."""

_KEYS_A_LEAF = 16
_FALL = 0.5
_MOST_FALL = 2.0


def build(keys: NDArray[np.uint64], action: int) -> RMI:
    """The index of a configuration."""
    root, leaf, fanout = configuration(action)
    return RMI.build(keys, root=root, leaf=leaf, leaves=fanout)


def halvings(index: RMI) -> float:
    """Mean over the keys of the halvings that the search in a leaf's window takes."""
    leaves = index._leaves
    counts = leaves["count"].astype(np.float64)
    windows = np.minimum(leaves["high"].astype(np.float64) - leaves["low"], counts)
    steps = np.ceil(np.log2(np.maximum(windows, BLOCK) / BLOCK))
    return float((counts * steps).sum() / max(1.0, counts.sum()))


def evaluate(keys: NDArray[np.uint64], action: int) -> float:
    """Halvings of one configuration; O(n + leaves)."""
    return halvings(build(keys, action))


def evaluate_all(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Halvings of every configuration, shape (399,); aliases of smaller fan-outs are not built again."""
    found, same = np.zeros(COUNT), aliases(len(keys))
    for action in range(COUNT):
        found[action] = found[action - 1] if same[action] else evaluate(keys, action)
    return found


def estimate_all(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Halvings of every configuration as a sample lets expect them, shape (399,); takes a twentieth of a second.

    The sample is evenly spaced, so a window of w of its keys stands for w times as many as the sample leaves out. Where
    its leaves get too few keys, the fall from one fan-out to the next goes on as it was.
    """
    sample = np.ascontiguousarray(keys[:: max(1, len(keys) // SAMPLE)])
    wider = np.log2(max(1.0, len(keys) / len(sample)))
    guess = np.zeros((len(ROOTS) * len(LEAVES), len(FANOUT_BITS)))
    known = [bits for bits in FANOUT_BITS if len(sample) >> bits >= _KEYS_A_LEAF] or [FANOUT_BITS[0]]
    for row, (root, leaf) in enumerate((root, leaf) for root in ROOTS for leaf in LEAVES):
        for column, bits in enumerate(known):
            guess[row, column] = _sampled_log_window(build(sample, action_of(root, leaf, bits))) + wider
        last = len(known) - 1
        fall = guess[row, last - 1] - guess[row, last] if last else _FALL
        fall = min(max(fall, _FALL), _MOST_FALL)
        steps = np.arange(1, len(FANOUT_BITS) - last)
        guess[row, last + 1 :] = guess[row, last] - fall * steps
    return np.maximum(guess.ravel() - np.log2(BLOCK), 0.0)


def _sampled_log_window(index: RMI) -> float:
    leaves = index._leaves
    counts = leaves["count"].astype(np.float64)
    windows = np.minimum(leaves["high"].astype(np.float64) - leaves["low"], counts)
    return float((counts * np.log2(np.maximum(windows, 1.0))).sum() / max(1.0, counts.sum()))


def describe(name: str, keys: NDArray[np.uint64], halvings: NDArray[np.float64] | None = None) -> Instance:
    """An instance over sorted keys; without given halvings all 399 configurations are built."""
    found = evaluate_all(keys) if halvings is None else halvings
    features = quantiles(keys), gap_shares(keys), outlier_share(keys)
    return Instance(name, len(keys), int(keys[-1] - keys[0]), found, estimate_all(keys), *features)


def quantiles(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """64 quantiles of the keys, scaled to [0, 1]; differences are taken in integers."""
    span = max(1.0, float(keys[-1] - keys[0]))
    places = ((np.arange(64) + 0.5) * len(keys) / 64).astype(np.int64)
    return ((keys[places] - keys[0]).astype(np.float64) / span).astype(np.float32)


def gap_shares(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Shares of the gaps by bit length, shape (65,); 0 bits are duplicates. Of at most 2^20 gaps, evenly spaced."""
    if len(keys) < 2:
        return np.zeros(65, dtype=np.float32)
    places = np.arange(0, len(keys) - 1, max(1, len(keys) >> 20))
    exponents = np.frexp((keys[places + 1] - keys[places]).astype(np.float64))[1]
    return (np.bincount(exponents, minlength=65)[:65] / len(places)).astype(np.float32)


def outlier_share(keys: NDArray[np.uint64]) -> float:
    """Share of the span that lies outside of all but the outermost ten-thousandths of the keys."""
    cut = max(1, len(keys) // 10_000) if len(keys) > 2 else 0
    inner = float(keys[len(keys) - 1 - cut] - keys[cut])
    return 1.0 - inner / max(1.0, float(keys[-1] - keys[0]))
