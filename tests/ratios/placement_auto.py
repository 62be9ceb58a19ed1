"""`python -m tests.ratios.placement_auto [SECONDS]`: `solve(method="auto")` on the twelve shared throughput graphs.

Gaps are to the best known largest loads of specs/placement.md, section 13; a negative one is an improvement. What its
lower bound meets to one per mille is proved.
"""

import sys

from sysgym.placement import read_graph, solve
from tests.ratios.placement_policy import BEST_KNOWN, DATA


def main():
    """One line a graph, then the worst."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    print(f"auto, {seconds:g} s: largest load, gap to the best known, gap to its own lower bound", flush=True)
    worst = 0.0
    for name, best in BEST_KNOWN.items():
        graph = read_graph(DATA / f"graphs/tarnawski/throughput/{name}.json.gz")
        placed = solve(graph, graph.cluster, time_limit=seconds)
        gap, open_gap = placed.objective / best - 1, placed.objective / placed.lower_bound - 1
        worst = max(worst, gap)
        note = "proved" if open_gap < 1e-3 else ""
        print(f"{name:28} {placed.objective:10.4f} {gap:+8.3%} {open_gap:8.2%}  {placed.method} {note}", flush=True)
    print(f"worst gap {worst:+.3%}, goal 0.5 %")


if __name__ == "__main__":
    main()
