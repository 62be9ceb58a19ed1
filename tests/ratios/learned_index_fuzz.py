"""Ten million lookups a structure against numpy.searchsorted: `python -m tests.ratios.learned_index_fuzz [NAME...]`.

Every key set and every family of IndexTune, as unsigned, signed and float keys; queries are present keys, their
neighbours, random numbers and the ends of the type, on both sides. Prints the number of wrong answers, which must be 0.
"""

import sys

import numpy as np

from sysgym.learned_index import GappedIndex
from sysgym.learned_index.keysets import KEY_SETS, key_set
from sysgym.learned_index.tuning.families import TRAINING, VALIDATION, draw_keys
from tests.learned_index.structures import STRUCTURES, build

KEYS = 200_000
QUERIES = 130_000
FAMILIES = {
    **{name: (lambda name=name: key_set(name, KEYS)) for name in KEY_SETS},
    **{name: (lambda k=k: draw_keys("train", k, KEYS)) for k, (name, _) in enumerate(TRAINING)},
    **{name: (lambda k=k: draw_keys("valid", k, KEYS)) for k, (name, _) in enumerate(VALIDATION)},
    **{name: (lambda k=k: draw_keys("test", k, KEYS)) for k, name in ((5, "bursts"), (6, "words"))},
}


def cases():
    """(name, keys, queries): three types of each key set."""
    for name, draw in FAMILIES.items():
        unsigned = draw()
        generator = np.random.default_rng(len(name))
        unsigned = np.sort(np.concatenate([unsigned, generator.choice(unsigned, KEYS // 20)]))  # duplicates
        for dtype in (np.uint64, np.int64, np.float64):
            if dtype is np.float64:
                keys = np.sort((unsigned.astype(np.float64) - 2.0**61) * 2.0 ** float(generator.integers(-80, 80)))
                near = [np.nextafter(keys, np.inf), np.nextafter(keys, -np.inf), np.array([0.0, -0.0, np.inf, -np.inf])]
            else:
                keys = np.sort(
                    unsigned.view(dtype) if dtype is np.uint64 else (unsigned - np.uint64(2**62)).view(dtype)
                )
                near = [keys + dtype(1), keys - dtype(1), np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)]
            words = generator.integers(0, 2**63, KEYS, dtype=np.uint64)
            pool = np.concatenate([keys, *near, words.astype(dtype)])
            yield f"{name} {np.dtype(dtype)}", keys, generator.choice(pool, QUERIES)


def main(names):
    """Count."""
    wrong, asked = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for _, keys, queries in cases():
        truth = {side: np.searchsorted(keys, queries, side) for side in ("left", "right")}
        for name in wrong:
            index = GappedIndex.build(keys, duplicates="keep") if name == "gapped" else build(name, keys)
            for side, answer in truth.items():
                wrong[name] += int((index.search(queries, side) != answer).sum())
                asked[name] += len(queries)
    for name in wrong:
        print(f"{name:24} {asked[name]:12,} lookups {wrong[name]:6} wrong")


if __name__ == "__main__":
    main(sys.argv[1:] or [*STRUCTURES, "gapped"])
