"""Where jobs come from: readers of production logs, cleaning, and seeded generators; all of them make a `Workload`.

What needs pandas is imported when it is first asked for, so that environments on generated jobs never load it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sysgym.workloads.companions import DagProfile, Dependencies, NodeTable, StageProfile
from sysgym.workloads.synthetic import poisson_pareto
from sysgym.workloads.workload import EXTRA_COLUMNS, SPLITS, Machine, Provenance, Repair, Workload

if TYPE_CHECKING:
    from sysgym.workloads.catalogue import listing_of
    from sysgym.workloads.cleaning import CLEANING_RULES, PROCESSOR_SOURCES
    from sysgym.workloads.fetching import fetch
    from sysgym.workloads.formats.swf import write_swf
    from sysgym.workloads.formats.tpch import read_dag_profiles
    from sysgym.workloads.gpu_pods import gpu_cluster
    from sysgym.workloads.inference import infer_schema, write_schema
    from sysgym.workloads.models import MODELS, generate
    from sysgym.workloads.models.lublin import lublin
    from sysgym.workloads.models.tsafrir import with_tsafrir_estimates
    from sysgym.workloads.reading import FORMATS, read_nodes, read_trace
    from sysgym.workloads.schema import Schema, read_schema
    from sysgym.workloads.selection import select
    from sysgym.workloads.validation import ValidationReport, validate

_LAZY = {
    "CLEANING_RULES": "cleaning",
    "FORMATS": "reading",
    "MODELS": "models",
    "fetch": "fetching",
    "generate": "models",
    "gpu_cluster": "gpu_pods",
    "listing_of": "catalogue",
    "lublin": "models.lublin",
    "select": "selection",
    "with_tsafrir_estimates": "models.tsafrir",
    "PROCESSOR_SOURCES": "cleaning",
    "read_dag_profiles": "formats.tpch",
    "read_nodes": "reading",
    "read_trace": "reading",
    "Schema": "schema",
    "ValidationReport": "validation",
    "infer_schema": "inference",
    "read_schema": "schema",
    "validate": "validation",
    "write_schema": "inference",
    "write_swf": "formats.swf",
}

__all__ = [
    "CLEANING_RULES",
    "EXTRA_COLUMNS",
    "FORMATS",
    "MODELS",
    "PROCESSOR_SOURCES",
    "SPLITS",
    "DagProfile",
    "Dependencies",
    "Machine",
    "NodeTable",
    "Provenance",
    "Repair",
    "Schema",
    "StageProfile",
    "ValidationReport",
    "Workload",
    "fetch",
    "generate",
    "gpu_cluster",
    "infer_schema",
    "listing_of",
    "lublin",
    "poisson_pareto",
    "read_dag_profiles",
    "read_nodes",
    "read_schema",
    "read_trace",
    "select",
    "validate",
    "with_tsafrir_estimates",
    "write_schema",
    "write_swf",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
