"""The best placement of all, contiguous or not, as an integer programme for HiGHS.

Binary x[g, d]: group g is on device d. For each producer and each device that pays for transfers two continuous
variables say whether its output enters or leaves. The largest load L is minimised. The solver starts from a known
placement and may be stopped; it always answers with its best and with a bound that no placement can beat. Tarnawski et
al., NeurIPS 2020, section 4, with a free solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from sysgym.placement.contraction import Contraction

_CAP = 1e3
"""What a memory cap is scaled to, so that the solver's tolerance is a billionth of it."""


@dataclass(frozen=True)
class IntegerSolution:
    """What the solver answered.

    Attributes:
        device: Device of each group, shape (G,), or None if it found nothing.
        bound: Proven lower bound of the largest load; 0 if nothing was proven.
        status: "optimal", or "stopped".
    """

    device: NDArray[np.int64] | None
    bound: float
    status: str


class _Rows:
    """Rows of a sparse constraint matrix while they are collected."""

    def __init__(self) -> None:
        self.start, self.column, self.value = [0], [np.empty(0, dtype=np.int64)], [np.empty(0)]
        self.lower: list[float] = []
        self.upper: list[float] = []

    def add(self, columns: NDArray[np.int64], values: NDArray[np.float64], lower: float, upper: float) -> None:
        self.column.append(columns)
        self.value.append(values)
        self.start.append(self.start[-1] + len(columns))
        self.lower.append(lower)
        self.upper.append(upper)


def solve_integer(
    contraction: Contraction, start: NDArray[np.int64] | None, time_limit: float, relax: bool = False, gap: float = 1e-6
) -> IntegerSolution:
    """Solve the programme.

    Args:
        contraction: The contracted graph.
        start: A known assignment of groups, shape (G,), or None.
        time_limit: Seconds.
        relax: Solve only the linear relaxation, for its bound.
        gap: Relative gap at which the answer counts as optimal.
    """
    largest = float(np.where(np.isfinite(contraction.cost), contraction.cost, 0).max())
    scale = 1.0 / (largest or float(contraction.price.max(initial=0.0)) or 1.0)
    model = _model(contraction, scale)
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (
        ("output_flag", False), ("time_limit", float(time_limit)), ("threads", 1), ("mip_rel_gap", gap),
        ("solve_relaxation", relax),
    ):  # fmt: skip
        solver.setOptionValue(option, value)
    solver.passModel(model)
    if start is not None and not relax:
        groups = np.arange(len(start))
        columns = np.arange(contraction.cost.size, dtype=np.int32)
        values = np.zeros(contraction.cost.size)
        values[groups * contraction.cost.shape[1] + start] = 1.0
        solver.setSolution(len(columns), columns, values)
    solver.run()
    return _answer(solver, contraction, scale, relax)


def _answer(solver: highspy.Highs, contraction: Contraction, scale: float, relax: bool) -> IntegerSolution:
    status, info = solver.getModelStatus(), solver.getInfo()
    done = status == highspy.HighsModelStatus.kOptimal
    if relax:
        return IntegerSolution(None, info.objective_function_value / scale if done else 0.0, "stopped")
    bound = max(0.0, info.mip_dual_bound / scale) if np.isfinite(info.mip_dual_bound) else 0.0
    device = None
    if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        x = np.array(solver.getSolution().col_value[: contraction.cost.size]).reshape(contraction.cost.shape)
        device = x.argmax(axis=1).astype(np.int64)
    return IntegerSolution(device, bound, "optimal" if done else "stopped")


def _model(c: Contraction, scale: float) -> highspy.HighsLp:
    """Columns: x[g, d] by group, then (in, out) of each producer and paying device, then L."""
    groups, devices = c.cost.shape
    paying = np.flatnonzero(c.pays).tolist()
    offset = {device: groups * devices + 2 * len(c.owner) * place for place, device in enumerate(paying)}
    columns = groups * devices + 2 * len(c.owner) * len(paying) + 1
    rows = _Rows()
    for group in range(groups):
        rows.add(group * devices + np.arange(devices), np.ones(devices), 1.0, 1.0)
    for device in range(devices):
        _load_row(rows, c, device, offset.get(device), columns - 1, scale)
        if np.isfinite(c.memory[device]):
            unit = _CAP / max(float(c.memory[device]), 1.0)
            rows.add(np.arange(groups) * devices + device, c.size * unit, -np.inf, c.memory[device] * unit)
    for device in paying:
        _transfer_rows(rows, c, device, offset[device])
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = columns, len(rows.lower)
    lp.col_cost_ = np.concatenate([np.zeros(columns - 1), [1.0]])
    lp.col_lower_ = np.zeros(columns)
    upper = np.ones(columns)
    upper[: groups * devices] = np.isfinite(c.cost).ravel()
    upper[-1] = np.inf
    lp.col_upper_ = upper
    lp.row_lower_, lp.row_upper_ = np.array(rows.lower), np.array(rows.upper)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.array(rows.start, dtype=np.int32)
    lp.a_matrix_.index_ = np.concatenate(rows.column).astype(np.int32)
    lp.a_matrix_.value_ = np.concatenate(rows.value)
    binary = [highspy.HighsVarType.kInteger] * (groups * devices)
    lp.integrality_ = binary + [highspy.HighsVarType.kContinuous] * (columns - groups * devices)
    return lp


def _load_row(rows: _Rows, c: Contraction, device: int, offset: int | None, largest: int, scale: float) -> None:
    devices = c.cost.shape[1]
    where = np.isfinite(c.cost[:, device])
    columns = [np.flatnonzero(where) * devices + device, np.array([largest])]
    values = [c.cost[where, device] * scale, np.array([-1.0])]
    if offset is not None:
        columns.append(offset + np.arange(2 * len(c.owner)))
        values.append(np.repeat(c.price, 2) * scale)
    rows.add(np.concatenate(columns), np.concatenate(values), -np.inf, 0.0)


def _transfer_rows(rows: _Rows, c: Contraction, device: int, offset: int) -> None:
    """Let in >= reader - owner, out >= owner - reader."""
    devices = c.cost.shape[1]
    values = np.array([1.0, -1.0, 1.0])
    for p, owner in enumerate(c.owner.tolist()):
        for reader in c.reader[c.reader_start[p] : c.reader_start[p + 1]].tolist():
            mine, theirs = owner * devices + device, reader * devices + device
            rows.add(np.array([offset + 2 * p, theirs, mine]), values, 0.0, np.inf)
            rows.add(np.array([offset + 2 * p + 1, mine, theirs]), values, 0.0, np.inf)
