"""Device placement: computation graphs, clusters, and plans that say how good they are.

`read_graph` or `generate` gives an `OpGraph`, a `Cluster` says what there is, `solve` places the one on the other and
`evaluate` scores any placement. `simulate` runs one on SimPy, `Evaluator` many, compiled. `plan` takes a torch module
and says how to split it; `plan_parallel` combines data, tensor and pipeline parallelism.
"""

from sysgym.placement.cluster import Cluster, Device
from sysgym.placement.execution import PLACETO, ExecutionRules, Trace
from sysgym.placement.generators import generate
from sysgym.placement.graphs import read_graph, read_split
from sysgym.placement.kernel import Evaluator
from sysgym.placement.metrics import memory_peaks
from sysgym.placement.model import OpGraph, build_graph
from sysgym.placement.module_plan import Plan, plan
from sysgym.placement.objectives import Evaluation, Violation, evaluate
from sysgym.placement.parallel import ParallelPlan, plan_parallel
from sysgym.placement.pipedream import PipelinePlan, optimise_pipeline
from sysgym.placement.roofline import Costs
from sysgym.placement.simulator import simulate
from sysgym.placement.solve import Placement, solve
from sysgym.placement.timeline import write_timeline

__all__ = [
    "PLACETO",
    "Cluster",
    "Costs",
    "Device",
    "Evaluation",
    "Evaluator",
    "ExecutionRules",
    "OpGraph",
    "ParallelPlan",
    "PipelinePlan",
    "Placement",
    "Plan",
    "Trace",
    "Violation",
    "build_graph",
    "evaluate",
    "generate",
    "memory_peaks",
    "optimise_pipeline",
    "plan",
    "plan_parallel",
    "read_graph",
    "read_split",
    "simulate",
    "solve",
    "write_timeline",
]
