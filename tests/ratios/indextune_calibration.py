"""Time recursive model indexes of many shapes, and fit the constants of `sysgym.learned_index.tuning.costs` to them.

    python -m tests.ratios.indextune_calibration time     # appends to indextune_calibration.jsonl, about ten minutes
    python -m tests.ratios.indextune_calibration fit      # writes the constants to standard output

Times are CPU time of a batch of random present keys, the median of five, so that other work on the machine counts
little. The constants in `costs` are frozen: a new fit is a new version.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from sysgym.learned_index import BinarySearch
from sysgym.learned_index.keysets import key_set
from sysgym.learned_index.tuning import costs, tables
from sysgym.learned_index.tuning.model import COUNT, configuration

ROWS = Path(__file__).with_name("indextune_calibration.jsonl")
QUERIES = 200_000


def cpu_seconds(work, rounds=5):
    """Median CPU time of a call."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return sorted(times)[rounds // 2]


def batch_nanoseconds(index, queries):
    """CPU time a query."""
    out = np.empty(len(queries), dtype=np.int64)
    return 1e9 * cpu_seconds(lambda: index.search(queries, out=out)) / len(queries)


def timed(keys, queries, action):
    """Build and time one configuration."""
    tables.build(keys[:1000], action)
    begin = time.process_time()
    index = tables.build(keys, action)
    build = time.process_time() - begin
    return {
        "keys": len(keys),
        "span": int(keys[-1] - keys[0]),
        "action": action,
        "halvings": tables.halvings(index),
        "ns": batch_nanoseconds(index, queries),
        "build": build,
    }


def measure():
    """Five sizes, four key sets, twelve random configurations and the plain search each."""
    for bits in (16, 18, 20, 22, 24):
        for name in ("uniform", "osm", "lognormal", "steps"):
            keys = key_set(name, 1 << bits)
            choose = np.random.default_rng(bits)
            queries = keys[choose.integers(0, len(keys), QUERIES)]
            plain = batch_nanoseconds(BinarySearch.build(keys), queries)
            rows = [{"keys": len(keys), "action": -1, "ns": plain}]
            rows += [timed(keys, queries, action) for action in choose.choice(COUNT, 12, replace=False).tolist()]
            with ROWS.open("a") as file:
                file.writelines(json.dumps({"key_set": name, **row}) + "\n" for row in rows)


def fit():
    """Least squares without negative constants, and the errors that remain."""
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    plain = [row for row in rows if row["action"] < 0]
    tried = [row for row in rows if row["action"] >= 0]
    latency = np.array([row["ns"] for row in tried + plain])
    design = np.array([costs.latency_terms(row["keys"], row["span"], row["halvings"])[row["action"]] for row in tried]
                      + [costs.plain_terms(row["keys"]) for row in plain])  # fmt: skip
    # relative errors count, so that fast configurations are told apart too
    constants = costs.least_squares(design / latency[:, None], np.ones(len(latency)))
    error = np.abs(design @ constants / latency - 1)
    build = np.array([row["build"] for row in tried])
    work = np.array([costs.build_terms(row["keys"], row["span"])[row["action"]] for row in tried])
    build_constants = costs.least_squares(work / build[:, None], np.ones(len(build)))
    build_error = np.abs(work @ build_constants / build - 1)
    sys.stdout.write(json.dumps({
        "rows": len(rows), "configurations": len({(row["key_set"], row["keys"], row["action"]) for row in tried}),
        "latency": dict(zip(costs.LATENCY_TERMS, constants.round(4).tolist(), strict=True)),
        "median_error": round(float(np.median(error)), 3), "p90_error": round(float(np.quantile(error, 0.9)), 3),
        "build": dict(zip(costs.BUILD_TERMS, [f"{c:.3g}" for c in build_constants], strict=True)),
        "build_median_error": round(float(np.median(build_error)), 3),
    }, indent=1) + "\n")  # fmt: skip
    for row in sorted(tried, key=lambda r: r["ns"])[:: len(tried) // 25]:
        told = costs.latency_terms(row["keys"], row["span"], row["halvings"])[row["action"]] @ constants
        sys.stderr.write(
            f"{row['key_set']:10} {row['keys']:9} {configuration(row['action'])!s:70} {row['ns']:7.1f} {told:7.1f}\n"
        )


if __name__ == "__main__":
    {"time": measure, "fit": fit}[sys.argv[1]]()
