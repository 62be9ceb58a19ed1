"""Orders of a queue: what each gives for a job, compiled; the smallest value is the most urgent.

| order | value | source |
|---|---|---|
| `submitted` | submission | |
| `shortest` | planned time | |
| `f1` | log10(planned time) n + 870 log10(max(1, submission)) | Carastan-Santos and de Camargo, SC 2017, table 3 |
| `wfp3` | -(wait / planned time)^3 n | Tang et al., Cluster 2009 |
| `unicep` | -wait / ((log2(n) + 1e-15) planned time) | the same, as UNICEF |

n is the number of processors, the planned time is the requested one unless a predictor says otherwise, and the
submission is read as it stands in the log. Ties go to the earlier submission, then to the earlier row. The first three
never change while a job waits; the last two do, so a queue in their order is looked through in every pass.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, uncounted

ORDERS = ("submitted", "shortest", "f1", "wfp3", "unicep")
SUBMITTED, SHORTEST, F1, WFP3, UNICEP = range(len(ORDERS))
CHANGING = frozenset({"wfp3", "unicep"})
"""Orders that change while jobs wait."""


@uncounted
def priority(order: int, now: float, submit: float, planned: float, processors: int) -> float:
    """Value of one job; `order` is an index of `ORDERS`, times are in seconds."""
    if order == SUBMITTED:
        return submit
    if order == SHORTEST:
        return planned
    if order == F1:
        return math.log10(planned) * processors + 870.0 * math.log10(max(1.0, submit))
    wait = now - submit
    if order == WFP3:
        share = wait / planned
        return -(share * share * share) * processors
    return -wait / ((math.log2(processors) + 1e-15) * planned)


@compiled
def priorities(
    order: int,
    now: float,
    submit: NDArray[np.float64],
    planned: NDArray[np.float64],
    processors: NDArray[np.int64],
) -> NDArray[np.float64]:
    """`priority` of many jobs; float64, shape (n,)."""
    values = np.empty(len(submit))
    for i in range(len(submit)):
        values[i] = priority(order, now, submit[i], planned[i], processors[i])
    return values
