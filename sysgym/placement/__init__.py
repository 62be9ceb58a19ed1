"""Device placement: computation graphs, clusters, and plans that say how good they are.

`read_graph` or `generate` gives an `OpGraph`, a `Cluster` says what there is, `solve` places the one on the other and
`evaluate` scores any placement. `simulate` runs one on SimPy, `Evaluator` many, compiled.
"""

from sysgym.placement.execution import PLACETO, ExecutionRules, Trace
from sysgym.placement.generators import generate
from sysgym.placement.graphs import read_graph, read_split
from sysgym.placement.kernel import Evaluator
from sysgym.placement.metrics import memory_peaks
from sysgym.placement.model import Cluster, Device, OpGraph, build_graph
from sysgym.placement.objectives import Evaluation, Violation, evaluate
from sysgym.placement.pipedream import PipelinePlan, optimise_pipeline
from sysgym.placement.simulator import simulate
from sysgym.placement.solve import Placement, solve
from sysgym.placement.timeline import write_timeline

__all__ = [
    "PLACETO",
    "Cluster",
    "Device",
    "Evaluation",
    "Evaluator",
    "ExecutionRules",
    "OpGraph",
    "PipelinePlan",
    "Placement",
    "Trace",
    "Violation",
    "build_graph",
    "evaluate",
    "generate",
    "memory_peaks",
    "optimise_pipeline",
    "read_graph",
    "read_split",
    "simulate",
    "solve",
    "write_timeline",
]
