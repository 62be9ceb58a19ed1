"""Build all 399 configurations on every key set of IndexTune, and write the tables that the package ships.

    python -m tests.ratios.indextune_tables

Takes about twenty minutes on one core, remembers what it has done (in the folder `tables` beside it), and goes on from
there.
"""

import pickle
from pathlib import Path

import numpy as np

from sysgym.learned_index.tuning.families import draw_keys, family, size_of
from sysgym.learned_index.tuning.instances import FILE, pack
from sysgym.learned_index.tuning.tables import describe

DONE = Path(__file__).with_name("indextune_tables")
LEAST = 100.0
"""Hypervolume of a key set's grid; where hardly anything beats plain search there is nothing to tune."""
LARGEST = 730_000
"""Keys of a training or validation set; larger ones are left out, for the time they take."""
COUNTS = {"train": 180, "valid": 24, "test": 14}


def made(split, number):
    """One instance, from the folder of those that are done or anew."""
    path = DONE / f"{split}-{number}.pickle"
    if not path.exists():
        keys = draw_keys(split, number, size_of(split, number))
        one = describe(f"{family(split, number)}-{len(keys)}", keys)
        path.write_bytes(pickle.dumps(one))
    return pickle.loads(path.read_bytes())


def main():
    """Every instance that is not too large and leaves something to tune."""
    DONE.mkdir(exist_ok=True)
    instances = {}
    for split, count in COUNTS.items():
        numbers = [number for number in range(count) if split == "test" or size_of(split, number) <= LARGEST]
        instances[split] = [one for one in (made(split, number) for number in numbers) if one.total >= LEAST]
    np.savez_compressed(FILE, **pack(instances))


if __name__ == "__main__":
    main()
