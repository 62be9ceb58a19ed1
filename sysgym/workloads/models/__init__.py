"""Models of workloads, by name: seeded generators that take `jobs`, `processors`, `seed` and settings of their own.

`poisson_pareto` (in `synthetic`) is our own plain one; the others follow published models of parallel machines.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sysgym.core.errors import SettingError, require_known
from sysgym.workloads.models.downey import downey
from sysgym.workloads.models.feitelson import feitelson
from sysgym.workloads.models.lublin import lublin
from sysgym.workloads.models.tsafrir import with_tsafrir_estimates
from sysgym.workloads.synthetic import poisson_pareto
from sysgym.workloads.workload import Workload

MODELS: Mapping[str, Callable[..., Workload]] = {
    "lublin": lublin,
    "lublin_typed": partial(lublin, typed=True),
    "feitelson": feitelson,
    "downey": downey,
    "poisson_pareto": poisson_pareto,
}
"""The models by name."""

ESTIMATES = ("tsafrir",)
"""Models of estimates by name."""


def generate(
    model: str,
    jobs: int = 10_000,
    processors: int = 128,
    seed: int = 0,
    *,
    estimates: str | None = None,
    longest: float | None = None,
    **settings: Any,
) -> Workload:
    """A workload of a model by its name.

    Args:
        model: A name in `MODELS`.
        jobs: How many.
        processors: Size of the machine.
        seed: Integer >= 0.
        estimates: A name in `ESTIMATES`, or None for the model's own.
        longest: Longest estimate, seconds; only with `estimates`.
        settings: Further arguments of the model, such as `load`.

    Raises:
        UnknownNameError: No such model, model of estimates, or setting.
        SettingError: A setting out of its range, or `longest` without `estimates`.
    """
    require_known("model", model, MODELS)
    if estimates is not None:
        require_known("model of estimates", estimates, ESTIMATES)
    if longest is not None and estimates is None:
        raise SettingError(
            f"longest is {longest}, but the jobs keep the model's estimates; give estimates='tsafrir' too"
        )
    known = set(inspect.signature(MODELS[model]).parameters) - {"jobs", "processors", "seed"}
    for name in settings:
        require_known(f"setting of {model}", name, known)
    workload = MODELS[model](jobs, processors, seed=seed, **settings)
    return workload if estimates is None else with_tsafrir_estimates(workload, longest, seed)


__all__ = [
    "ESTIMATES",
    "MODELS",
    "downey",
    "feitelson",
    "generate",
    "lublin",
    "poisson_pareto",
    "with_tsafrir_estimates",
]
