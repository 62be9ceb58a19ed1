"""Rows of `make bench`: intervals of benchmark statistics, in processor time, beside the reference package."""

import statistics
import time

import numpy as np

from sysgym.bench.report import render_report
from sysgym.bench.statistics import bootstrap, improvement_interval
from tests.bench.conftest import make_record

ROUNDS = 21


def bootstrap_rows(rows):
    """An interval of the IQM and one of the probability of improvement, of 10 runs on 8 tasks."""
    generator = np.random.default_rng(0)
    first, second = generator.random((10, 8)), generator.random((10, 8)) + 0.1
    seconds = processor_time(lambda: bootstrap(first))
    beside = f"{1e3 * seconds:.1f} ms of processor time; rliable {0.363 / seconds:.0f}x of it (0.363 s, elsewhere)"
    rows.append(("IQM interval, (10, 8), 5,000 resamples, intervals/s", 1 / seconds, 1 / 0.015, beside))
    seconds = processor_time(lambda: improvement_interval(first, second, replicates=2000))
    beside = f"{1e3 * seconds:.1f} ms for 2,000; rliable 0.45 s for 200 (elsewhere)"
    rows.append(("P(X > Y) interval, (10, 8) each, 2,000 resamples, intervals/s", 1 / seconds, 1 / 0.15, beside))


def page_rows(rows):
    """A page of 10,000 records: 25 environments, 20 policies, 20 draws each, 30 scenarios a record."""
    generator = np.random.default_rng(0)
    scenarios, bound = generator.pareto(2.2, 30) + 1, {"kind": "bound", "value": 0.0}
    records = [
        make_record(
            f"policy {policy}" if policy else "random",
            scenarios * (2 - policy / 40) + generator.random(30),
            kind="code" if policy else "heuristic",
            name=f"environment {environment}",
            run=f"{environment}/{policy}/{draw}",
            draw=draw,
            bound=bound,
        )
        for environment in range(25)
        for policy in range(20)
        for draw in range(20)
    ]
    begin = time.process_time()
    size = len(render_report(records).encode())
    seconds = time.process_time() - begin
    beside = f"{seconds:.1f} s of processor time, {size / 1e6:.2f} MB; goals 5 s and 1 MB"
    rows.append(("page of 10,000 records, records/s", len(records) / seconds, 2000, beside))


def processor_time(work):
    """Median of its processor seconds, after a round that is not counted."""
    work()
    spent = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        work()
        spent.append(time.process_time() - begin)
    return statistics.median(spent)


if __name__ == "__main__":
    measured = []
    bootstrap_rows(measured)
    page_rows(measured)
    for name, found, goal, remark in measured:
        print(f"{name}: {found:,.0f} (goal {goal:,.0f}); {remark}")
