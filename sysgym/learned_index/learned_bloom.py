"""Learned Bloom filters: a model of where keys lie in front of classic filters, and never a wrong no.

The model is a histogram of the ratio of keys to other queries over ranges of values; it learns from the keys and from a
sample of queries that are not among them. Three ways to use it, at a given total of bits, the model's included:

- plain (Kraska et al., The Case for Learned Index Structures, SIGMOD 2018): ranges with the highest ratios answer yes,
  a filter over the keys outside of them answers for the rest;
- sandwiched (Mitzenmacher, A Model for Learned Bloom Filters, NeurIPS 2018): a filter over all keys in front of that;
- partitioned (Vaidya et al., Partitioned Learned Bloom Filters, ICLR 2021): groups of ranges, each with a filter of its
  own rate, those with many keys and few other queries with a loose one.

Where queries lie as the keys do, no ratio stands out, and each of them becomes a classic filter that has paid for a
model. Where queries drift, so does the rate; a yes for a whole range then lets everything in it through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.learned_index.bloom import ALPHA, BloomFilter, answer, bits_for, map_keys
from sysgym.learned_index.keys import Codec, exact_queries, query_array

Reals = NDArray[np.float64]
WAYS = ("plain", "sandwiched", "partitioned")
_REGIONS = 6
_BITS_A_HALVING = 1.0 / math.log(2.0)
"""Bits a key that halve a filter's rate."""


@dataclass(frozen=True)
class _Plan:
    """How the bits are spent.

    Attributes:
        way: Name.
        region: Region of each range, uint8.
        bits: Of each region's filter; None: everything in it is let through.
        front_bits: Of the filter in front, 0 for none.
        rate: Expected share of other queries that are let through.
    """

    way: str
    region: NDArray[np.uint8]
    bits: list[int | None]
    front_bits: int
    rate: float


class LearnedBloomFilter:
    """A set that may say yes wrongly, never no, and that knows where its keys lie.

    Attributes:
        way: "plain", "sandwiched" or "partitioned".
        expected_rate: Share of the queries of the sample that the plan lets through.

    >>> keys, others = np.arange(1000, 3000), np.arange(100_000)
    >>> known = LearnedBloomFilter.build(keys, others, bits_per_key=8, ranges=32)
    >>> bool(known.contains(keys).all()), known.contains(50_000)
    (True, False)
    """

    def __init__(self, codec: Codec, mapped: NDArray[np.uint64], borders: NDArray[np.uint64], plan: _Plan) -> None:
        self._codec, self._count, self._borders = codec, len(mapped), borders
        self._region = plan.region
        self.way, self.expected_rate = plan.way, plan.rate
        self._front = BloomFilter(codec, mapped, plan.front_bits) if plan.front_bits else None
        region = self._region[np.searchsorted(borders, mapped, side="right")]
        self._filters = [
            None if bits is None else BloomFilter(codec, mapped[region == r], bits) for r, bits in enumerate(plan.bits)
        ]

    @classmethod
    def build(
        cls, keys: Any, others: Any, *, way: str = "partitioned", bits_per_key: float = 10.0, ranges: int = 256
    ) -> LearnedBloomFilter:
        """Build the filter.

        Args:
            keys: Keys in any order, of any type that the indexes take.
            others: A sample of the queries to come; those that are keys are left out.
            way: See the module.
            bits_per_key: In all, the model's bits included.
            ranges: Of the model, from 2 to 65536; each costs 72 bits.

        Raises:
            UnknownNameError: Another way.
            SettingError: A number out of its range, no other queries, or fewer bits than the model takes.
            KeyTypeError: Keys or queries of a type that has no exact form here.
        """
        require_known("way", way, WAYS)
        require_range("ranges", ranges, 2, 65536, whole=True)
        codec, mapped = map_keys(keys)
        asked, held = exact_queries(query_array(others).reshape(-1), codec)
        sample = asked[held]
        sample = sample[~np.isin(sample, mapped)]
        if not len(sample):
            raise SettingError("others holds no query that is not a key; a learned filter learns from such")
        borders = _borders(mapped, sample, ranges)
        left = bits_for(bits_per_key, len(mapped)) - 72 * len(borders)
        if left < 64:
            raise SettingError(f"{bits_per_key} bits_per_key are fewer than the model takes; give fewer ranges")
        shares = [_shares(part, borders) for part in (mapped, sample)]
        return cls(codec, mapped, borders, _plan(way, shares[0], shares[1], left, max(1, len(mapped))))

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Bytes of the model and of all filters."""
        filters = [self._front, *self._filters]
        return self._borders.nbytes + self._region.nbytes + sum(one.size_bytes for one in filters if one is not None)

    def contains(self, queries: Any) -> Any:
        """Whether queries may be among the keys: a bool for a scalar, else an array of the queries' shape."""
        return answer(queries, self._codec, self.contains_mapped)

    def contains_mapped(self, mapped: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """The same for mapped keys."""
        found = np.ones(len(mapped), dtype=np.bool_)
        region = self._region[np.searchsorted(self._borders, mapped, side="right")]
        for r, one in enumerate(self._filters):
            if one is not None:
                here = np.flatnonzero(region == r)
                found[here] = one.contains_mapped(mapped[here])
        if self._front is not None:
            here = np.flatnonzero(found)
            found[here] = self._front.contains_mapped(mapped[here])
        return found


def _borders(keys: NDArray[np.uint64], others: NDArray[np.uint64], ranges: int) -> NDArray[np.uint64]:
    """Half of the borders are quantiles of the keys, half of the other queries."""
    places = (np.arange(1, ranges // 2 + 1) / (ranges // 2 + 1)).tolist()
    parts = [np.sort(part)[(np.array(places) * len(part)).astype(np.int64)] for part in (keys, others) if len(part)]
    return np.unique(np.concatenate(parts))


def _shares(values: NDArray[np.uint64], borders: NDArray[np.uint64]) -> Reals:
    """Share of the values in each range; a little in every one, since a sample may miss it."""
    counts = np.bincount(np.searchsorted(borders, values, side="right"), minlength=len(borders) + 1) + 0.5
    shares: Reals = counts / counts.sum()
    return shares


def _plan(way: str, keys: Reals, others: Reals, bits: int, count: int) -> _Plan:
    order = np.argsort(-keys / others, kind="stable")
    if way == "partitioned":
        return _partitioned(order, keys[order], others[order], bits, count)
    return _thresholded(way, order, keys[order], others[order], bits, count)


def _thresholded(way: str, order: NDArray[np.int64], keys: Reals, others: Reals, bits: int, count: int) -> _Plan:
    """The best number of ranges that answer yes by themselves, none included."""
    budget = bits / count
    let_through = np.concatenate([[0.0], np.cumsum(others)[:-1]])
    behind = np.maximum(1.0 - np.concatenate([[0.0], np.cumsum(keys)[:-1]]), 1e-9)
    backup = np.full(len(behind), budget)
    if way == "sandwiched":
        with np.errstate(divide="ignore", invalid="ignore"):
            best = let_through / ((1 - let_through) * (1 / behind - 1))
            wanted = behind * np.log(best) / math.log(ALPHA)
        backup = np.where(let_through > 0, np.clip(np.nan_to_num(wanted), 0.0, budget), budget)
    rates = ALPHA ** (budget - backup) * (let_through + (1 - let_through) * ALPHA ** (backup / behind))
    chosen = int(rates.argmin())
    region = np.zeros(len(order), dtype=np.uint8)
    region[order[chosen:]] = 1
    front = int((budget - backup[chosen]) * count)
    spent = [None, max(64, int(backup[chosen] * count))]
    return _Plan(way, region, spent, front if front >= 64 else 0, float(rates[chosen]))


def _partitioned(order: NDArray[np.int64], keys: Reals, others: Reals, bits: int, count: int) -> _Plan:
    """Regions of neighbouring ratios, and the rates that spend all bits."""
    ends = _cuts(keys, others, min(_REGIONS, len(keys)))
    region = np.zeros(len(order), dtype=np.uint8)
    for r, (start, end) in enumerate(ends):
        region[order[start:end]] = r
    keys, others = (np.array([part[start:end].sum() for start, end in ends]) for part in (keys, others))
    low, high = -60.0, 0.0  # log2 of the rate that all regions are held to
    for _ in range(60):
        middle = (low + high) / 2
        if count * (keys * _needed(2.0**middle, keys, others)).sum() > bits:
            low = middle
        else:
            high = middle
    needed = _needed(2.0**high, keys, others)
    spent = [max(64, int(share * count * each)) if each > 0 else None for share, each in zip(keys, needed, strict=True)]
    return _Plan("partitioned", region, spent, 0, float((others * ALPHA**needed).sum()))


def _needed(rate: float, keys: Reals, others: Reals) -> Reals:
    """Bits a key of each region: its rate is proportional to the ratio of keys to others, and at most 1."""
    needed: Reals = _BITS_A_HALVING * np.log2(1.0 / np.minimum(1.0, rate * keys / others))
    return needed


def _cuts(keys: Reals, others: Reals, regions: int) -> list[tuple[int, int]]:
    """The cut of the ranges into regions with the largest sum of G ln(G / H), by dynamic programming; O(ranges^2)."""
    ranges = len(keys)
    sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in (keys, others)]
    own, other = (part[None, :] - part[:, None] for part in sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.where(own > 0, own * np.log(own / other), -np.inf)
    best, came = worth[0], np.zeros((regions, ranges + 1), dtype=np.int64)
    for r in range(1, regions):
        through = best[:, None] + worth
        came[r], best = through.argmax(axis=0), through.max(axis=0)
    end, ends = ranges, []
    for r in range(regions - 1, -1, -1):
        start = int(came[r, end])
        ends.append((start, end))
        end = start
    return [(start, end) for start, end in reversed(ends) if end > start]
