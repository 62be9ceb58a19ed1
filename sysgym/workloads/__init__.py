"""Where jobs come from: readers of production logs, cleaning, and seeded generators; all of them make a `Workload`.

What needs pandas is imported when it is first asked for, so that environments on generated jobs never load it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sysgym.workloads.synthetic import poisson_pareto
from sysgym.workloads.workload import SPLITS, Machine, Provenance, Repair, Workload

if TYPE_CHECKING:
    from sysgym.workloads.cleaning import CLEANING_RULES, PROCESSOR_SOURCES
    from sysgym.workloads.reading import FORMATS, read_trace
    from sysgym.workloads.swf import write_swf

_LAZY = {
    "CLEANING_RULES": "cleaning",
    "FORMATS": "reading",
    "PROCESSOR_SOURCES": "cleaning",
    "read_trace": "reading",
    "write_swf": "swf",
}

__all__ = [
    "CLEANING_RULES",
    "FORMATS",
    "PROCESSOR_SOURCES",
    "SPLITS",
    "Machine",
    "Provenance",
    "Repair",
    "Workload",
    "poisson_pareto",
    "read_trace",
    "write_swf",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
