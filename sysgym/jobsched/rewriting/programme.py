"""OR-tools' constraint solver as one of the methods; the extra `ortools`.

Jobs are intervals, resources cumulative constraints, and the objective is the sum of completion times over lengths,
made whole by the lengths' least common multiple. OR-tools is imported when it is asked for, and is no dependency.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError
from sysgym.jobsched.rewriting.model import Instance


def require_ortools() -> Any:
    """The module of OR-tools' CP-SAT.

    Raises:
        SettingError: It is not installed.
    """
    try:
        return importlib.import_module("ortools.sat.python.cp_model")
    except ImportError as error:
        raise SettingError("method 'ortools' needs OR-tools; install it with: pip install 'sysgym[ortools]'") from error


def solve_programme(
    instance: Instance, start: NDArray[np.int64], seconds: float, seed: int = 0
) -> tuple[NDArray[np.int64], float]:
    """Starts of the best schedule found, and a lower bound of the mean slowdown.

    Args:
        instance: The jobs.
        start: Of a feasible schedule, which hints and bounds the search.
        seconds: Limit of the solver, on one thread.
        seed: Of the solver.

    Raises:
        SettingError: OR-tools is not installed.
    """
    cp = require_ortools()
    model = cp.CpModel()
    scale = math.lcm(*set(instance.length.tolist()))
    horizon = int(instance.arrival.max() + instance.length.sum())  # the best schedule may end later than a good one
    starts, intervals = [], []
    for job, (arrival, length) in enumerate(zip(instance.arrival.tolist(), instance.length.tolist(), strict=True)):
        begin = model.new_int_var(arrival, horizon - length, f"start{job}")
        model.add_hint(begin, int(start[job]))
        starts.append(begin)
        intervals.append(model.new_fixed_size_interval_var(begin, length, f"job{job}"))
    for resource in range(instance.demand.shape[1]):
        if instance.demand[:, resource].any():
            model.add_cumulative(intervals, instance.demand[:, resource].tolist(), instance.capacity)
    weights = [scale // length for length in instance.length.tolist()]
    model.minimize(sum(weight * begin for weight, begin in zip(weights, starts, strict=True)))
    solver = cp.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    status = solver.solve(model)
    fixed = float(((instance.length - instance.arrival) / instance.length).sum())
    bound = (solver.best_objective_bound / scale + fixed) / len(instance)
    if status not in (cp.OPTIMAL, cp.FEASIBLE):
        return start, bound
    return np.array([solver.value(begin) for begin in starts], dtype=np.int64), bound
