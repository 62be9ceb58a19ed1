"""Every static structure with the options that make a difference, small enough for small key sets."""

from sysgym.learned_index import RMI, BinarySearch, BPlusTree, CompressedTree, InterpolatedTree, PGMIndex, RadixSpline
from sysgym.learned_index.rmi import ROOTS

STRUCTURES = {
    "binary": (BinarySearch, {}),
    "btree": (BPlusTree, {}),
    "btree_wide": (BPlusTree, {"stride": 64}),
    "compressed": (CompressedTree, {}),
    "interpolated_odd": (InterpolatedTree, {"stride": 40}),
    "interpolated": (InterpolatedTree, {"stride": 32}),
    "pgm_1": (PGMIndex, {"epsilon": 1}),
    "pgm_16": (PGMIndex, {}),
    "spline_2": (RadixSpline, {"epsilon": 2, "radix_bits": 6}),
    "spline_16": (RadixSpline, {}),
    **{f"rmi_{root}": (RMI, {"root": root, "leaves": 37}) for root in ROOTS if root not in ("radix26", "radix28")},
    "rmi_bent": (RMI, {"leaf": "cubic", "leaves": 20}),
    "rmi_bent_line": (RMI, {"root": "linear", "leaf": "cubic", "leaves": 5}),
    "rmi_ends": (RMI, {"root": "cubic", "leaf": "linear_spline", "leaves": 500}),
}


def build(name, keys, **more):
    structure, options = STRUCTURES[name]
    return structure.build(keys, **options, **more)
