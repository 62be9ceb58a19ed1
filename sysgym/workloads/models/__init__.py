"""Models of workloads, by name: seeded generators whose every argument but `jobs`, `processors` and `seed` has a default.

`poisson_pareto` (in `synthetic`) is our own plain one; the others follow published models of parallel machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sysgym.workloads.models.downey import downey
from sysgym.workloads.models.feitelson import feitelson
from sysgym.workloads.models.lublin import lublin
from sysgym.workloads.models.tsafrir import with_tsafrir_estimates
from sysgym.workloads.synthetic import poisson_pareto
from sysgym.workloads.workload import Workload

MODELS: Mapping[str, Callable[..., Workload]] = {
    "lublin": lublin,
    "feitelson": feitelson,
    "downey": downey,
    "poisson_pareto": poisson_pareto,
}
"""The models by name."""

__all__ = ["MODELS", "downey", "feitelson", "lublin", "poisson_pareto", "with_tsafrir_estimates"]
