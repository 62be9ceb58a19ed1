"""A plan for a torch module: which device holds what, where to split it, how to train it, how long a step takes.

`plan` imports the module, costs its operations, and plans twice: stages of one device each, which is what accelerate's
`device_map` and torch.distributed.pipelining's split points can express, and all forms of parallelism together. The
predicted step is that of the 1F1B schedule, simulated; beside it stands the same for equally many blocks a device,
which is what people do by hand.

A weight that several stages read lives where it is read first; the others hold a copy, which pipelining makes and whose
gradients have to be added up. In the device map it has one place, and a module that has nothing else goes there too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.core.errors import InfeasibleError, require_range
from sysgym.core.files import atomic_write
from sysgym.placement.cluster import Cluster
from sysgym.placement.layers import LayerGraph, Training, score_stage, stage_group
from sysgym.placement.model import OpGraph
from sysgym.placement.module_graph import UNPRICED, ImportedModel
from sysgym.placement.module_layers import ModuleLayers, module_layers, operation_graph
from sysgym.placement.parallel import FORMS, ParallelPlan, ParallelStage, plan_parallel, score_plan
from sysgym.placement.pipeline import PipelineRun, run_pipeline
from sysgym.placement.roofline import Costs
from sysgym.placement.timeline import write_pipeline_timeline

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Plan:
    """What `plan` found.

    Attributes:
        model: The imported module: operations, FLOPs, parameters.
        cluster: On what.
        pipeline: One device a stage, in order of execution; devices are numbers in `cluster`.
        parallelism: Data, tensor and pipeline parallelism with recomputation together, never slower than any alone.
        device_map: Module or parameter to the number of an accelerator, or "cpu"; accelerate's form.
        split_points: Modules at whose beginning torch.distributed.pipelining splits; `split_spec` has its own enum.
        seconds: Predicted step of `pipeline`, all micro-batches.
        equal_split_seconds: The same if every device gets equally many blocks.
        equal_split_fits: Whether that fits.
        unpriced: Operators without a FLOP formula that are not known to be bound by memory, and their share of the
            predicted time.
        copies: Weights that later stages hold a copy of, and the numbers of those stages.
        notes: What the reader should know before relying on it.
        run: The simulated step.
        graph: The operations for `solve`.
    """

    model: ImportedModel
    cluster: Cluster
    training: Training
    layers: LayerGraph
    pipeline: ParallelPlan
    parallelism: ParallelPlan
    device_map: dict[str, int | str]
    split_points: dict[str, str]
    seconds: float
    equal_split_seconds: float
    equal_split_fits: bool
    unpriced: dict[str, float]
    copies: dict[str, tuple[int, ...]]
    notes: tuple[str, ...]
    run: PipelineRun = field(repr=False)
    graph: OpGraph = field(repr=False)

    @property
    def speedup(self) -> float:
        """Of the plan's split over equally many blocks a device."""
        return self.equal_split_seconds / self.seconds if self.seconds > 0 else 1.0

    def split_spec(self) -> dict[str, Any]:
        """What `torch.distributed.pipelining.pipeline` takes as `split_spec`."""
        from sysgym.placement.torch_import import split_points  # noqa: PLC0415  torch only when it is wanted

        return split_points(self.split_points)

    def to_dict(self) -> dict[str, Any]:
        """The plan for machines."""
        return {
            "model": self.model.source, "operations": len(self.model.operations), "flops": self.model.flops,
            "parameter_bytes": sum(self.model.parameter_bytes.values()),
            "micro_batches": self.training.micro_batches, "training": self.training.backward,
            "seconds": self.seconds, "equal_split_seconds": self.equal_split_seconds,
            "equal_split_fits": self.equal_split_fits, "speedup": self.speedup, "bubble": self.run.bubble,
            "stages": [self._stage(stage) for stage in self.pipeline.stages],
            "device_map": self.device_map, "split_points": self.split_points,
            "parallelism": {
                "seconds": self.parallelism.seconds, "lower_bound": self.parallelism.lower_bound,
                "pure_seconds": {form: None if np.isinf(seconds) else seconds
                                 for form, seconds in self.parallelism.pure.items()},
                "stages": [self._stage(stage) for stage in self.parallelism.stages],
            },
            "unpriced": self.unpriced, "copies": {name: list(stages) for name, stages in self.copies.items()},
            "notes": list(self.notes),
        }  # fmt: skip

    def _stage(self, stage: ParallelStage) -> dict[str, Any]:
        names = self.layers.names[stage.begin : stage.end]
        return {
            "devices": [self.cluster.devices[each].name for each in stage.devices], "layers": list(names),
            "strategies": list(stage.strategies),
            "recomputed": [name for name, again in zip(names, stage.recomputed, strict=True) if again],
            "forward_seconds": stage.forward, "backward_seconds": stage.seconds - stage.forward,
            "memory_bytes": stage.memory_bytes, "micro_batches_in_flight": stage.alive,
        }  # fmt: skip

    def write(self, path: str | Path) -> None:
        """Write the plan as JSON.

        Raises:
            OutputError: The place cannot be written.
        """
        with atomic_write(path) as handle:
            handle.write(json.dumps(self.to_dict(), indent=1) + "\n")

    def write_timeline(self, path: str | Path) -> None:
        """Write the simulated step: .svg, else Chrome's trace as JSON.

        Raises:
            OutputError: The place cannot be written.
        """
        names = [self.cluster.devices[stage.devices[0]].name for stage in self.pipeline.stages]
        write_pipeline_timeline(self.run, names, path, self.model.source)


def plan(
    module: nn.Module, example_inputs: Any, cluster: Cluster | str, *,
    example_keywords: Mapping[str, Any] | None = None, micro_batches: int = 8, training: bool = True,
    weight_copies: float = 4.0, costs: Costs | None = None, recompute: bool = True,
) -> Plan:  # fmt: skip
    """Plan a torch module.

    Args:
        module: On any device, best built under `torch.device("meta")`; its weights are neither copied nor read.
        example_inputs: One micro-batch: a tensor or a tuple of positional arguments.
        cluster: Devices of known models, or words such as "4xA100+cpu".
        example_keywords: Keyword arguments.
        micro_batches: How many a batch has.
        training: Whether there is a backward pass, which is taken to cost twice the forward.
        weight_copies: Bytes that training holds for each byte of weights: 4 with Adam at one precision.
        costs: How operations are costed; the roofline at half of the published peaks when left out.
        recompute: Whether blocks may be recomputed in the backward pass.

    Raises:
        ModuleError: The module can't be exported: names the line where the graph breaks.
        InfeasibleError: No split fits: names the layer that doesn't, and the bytes that are missing.
        SettingError: A device without a data sheet, or a number out of range.
    """
    from sysgym.placement.torch_import import import_module  # noqa: PLC0415  torch only when there is a module

    where = Cluster.parse(cluster) if isinstance(cluster, str) else cluster
    costs = costs or Costs()
    require_range("micro_batches", micro_batches, 1, whole=True)
    require_range("weight_copies", weight_copies, 1.0)
    costs.require_sheets(where)
    model = import_module(module, example_inputs, example_keywords)
    assumed = Training(micro_batches, weight_copies, training)
    seconds = costs.by_device(model, where)
    found = module_layers(model, seconds, training=training, wanted_cuts=len(where) - 1, copies=len(where) > 1)
    pipeline = _over_orders(found.layers, where, assumed, ("pipeline",), recompute)
    parallelism = _over_orders(found.layers, where, assumed, FORMS, recompute)
    if parallelism.seconds > pipeline.seconds:
        parallelism = pipeline
    equal, fits = _equal_split(found.layers, where, assumed)
    run, equal_run = _run(pipeline.stages, assumed), _run(equal, assumed)
    if fits and equal_run.makespan < run.makespan:
        equal_seconds = float(score_plan(found.layers, where, assumed, equal))
        run, pipeline = equal_run, replace(pipeline, stages=equal, seconds=equal_seconds)
    return Plan(
        model, where, assumed, found.layers, pipeline, parallelism, _device_map(found, model, where, pipeline),
        {found.begins[stage.begin]: "beginning" for stage in pipeline.stages[1:]}, run.makespan, equal_run.makespan,
        fits, _unpriced(model, next(iter(seconds.values()))), _copies(found, model, pipeline),
        _notes(found, pipeline, costs, model), run, operation_graph(model, seconds),
    )  # fmt: skip


def _over_orders(
    layers: LayerGraph, cluster: Cluster, training: Training, forms: tuple[str, ...], recompute: bool
) -> ParallelPlan:
    """The best plan over the orders of the kinds of devices; of one kind there is one order."""
    kinds: dict[tuple[str, str, float], list[int]] = {}
    for number, device in enumerate(cluster.devices):
        kinds.setdefault((device.model, device.kind, device.memory_bytes), []).append(number)
    best: ParallelPlan | None = None
    reason: InfeasibleError | None = None
    for order in list(permutations(kinds.values()))[:24]:
        numbers = [number for group in order for number in group]
        square = np.ix_(numbers, numbers)
        ordered = Cluster(
            tuple(cluster.devices[each] for each in numbers), cluster.bandwidth[square], cluster.latency[square],
            cluster.host_bandwidth,
        )  # fmt: skip
        try:
            one = plan_parallel(layers, ordered, training, forms=forms, recompute=recompute)
        except InfeasibleError as error:
            reason = error
            continue
        if best is None or one.seconds < best.seconds:
            best = replace(one, stages=tuple(
                replace(stage, devices=tuple(numbers[each] for each in stage.devices)) for stage in one.stages
            ))  # fmt: skip
    if best is None:
        assert reason is not None
        raise reason
    return best


def _equal_split(layers: LayerGraph, cluster: Cluster, training: Training) -> tuple[tuple[ParallelStage, ...], bool]:
    """Equally many units of the layers on each device, in the cluster's order; and whether they fit."""
    begins = [0, *layers.cuts]
    parts = [part for part in np.array_split(np.array(begins), len(cluster)) if len(part)]
    edges = [int(part[0]) for part in parts] + [len(layers)]
    stages = []
    for place, (begin, end) in enumerate(pairwise(edges)):
        group = stage_group(layers, cluster, place, place + 1)
        plain = [layers.choices(layer, 1)[0] for layer in range(begin, end)]
        alive = min(training.micro_batches, len(parts) - place)
        cost = score_stage(layers, begin, end, group, plain, [False] * len(plain), alive, training)
        stages.append(ParallelStage(
            begin, end, (place,), tuple(own.name for own in plain), (False,) * len(plain), cost.seconds, cost.forward,
            cost.exposed, cost.memory_bytes, alive,
        ))  # fmt: skip
    fits = all(stage.memory_bytes <= cluster.devices[stage.devices[0]].memory_bytes for stage in stages)
    return tuple(stages), fits


def _run(stages: tuple[ParallelStage, ...], training: Training) -> PipelineRun:
    forward = [stage.forward for stage in stages]
    backward = [max(0.0, stage.seconds - stage.forward) for stage in stages]
    return run_pipeline("1f1b" if training.backward else "gpipe", forward, backward, training.micro_batches)


def _device_map(
    found: ModuleLayers, model: ImportedModel, cluster: Cluster, pipeline: ParallelPlan
) -> dict[str, int | str]:
    """The coarsest map from modules and parameters to devices in which every parameter has exactly one place."""
    device = np.zeros(len(found.layers), dtype=np.int64)
    for stage in pipeline.stages:
        device[stage.begin : stage.end] = stage.devices[0]
    accelerators = [number for number, each in enumerate(cluster.devices) if each.kind != "cpu"]
    names = {number: accelerators.index(number) if number in accelerators else "cpu" for number in range(len(cluster))}
    first = pipeline.stages[0].devices[0]
    holds: dict[str, dict[str, int]] = {path: {} for path in model.modules}
    runs: dict[str, int] = {}
    for name, own in model.aliases.items():
        layer = found.home[own]
        place = int(device[layer]) if layer >= 0 else first
        for path in _enclosing(name):
            holds[path][name] = place
    for number, each in enumerate(model.operations):
        for call in each.modules:
            runs.setdefault(call.partition("@")[0], int(device[found.layer_of[number]]))
    children: dict[str, list[str]] = {}
    for path in model.modules[1:]:
        children.setdefault(path.rpartition(".")[0], []).append(path)
    mapped: dict[str, int | str] = {}

    def visit(path: str) -> None:
        below = set(holds[path].values())
        if not below and path in runs and not any(child in runs for child in children.get(path, [])):
            mapped[path] = names[runs[path]]
        elif len(below) == 1:
            mapped[path] = names[below.pop()]
        else:
            for name, place in holds[path].items():
                if name.rpartition(".")[0] == path:
                    mapped[name] = names[place]
            for child in children.get(path, []):
                visit(child)

    visit("")
    return mapped


def _enclosing(name: str) -> list[str]:
    """Paths of the modules that a parameter lies in, the model's "" first."""
    parts = name.split(".")[:-1]
    return ["", *(".".join(parts[: depth + 1]) for depth in range(len(parts)))]


def _copies(found: ModuleLayers, model: ImportedModel, pipeline: ParallelPlan) -> dict[str, tuple[int, ...]]:
    stage_of = np.zeros(len(found.layers), dtype=np.int64)
    for number, stage in enumerate(pipeline.stages):
        stage_of[stage.begin : stage.end] = number
    read_in = {name: sorted({int(stage_of[found.layer_of[each]]) for each in readers})
               for name, readers in model.readers.items()}  # fmt: skip
    return {name: tuple(stages[1:]) for name, stages in read_in.items() if len(stages) > 1}


def _unpriced(model: ImportedModel, seconds: Any) -> dict[str, float]:
    total = float(seconds.sum())
    shares: dict[str, float] = {}
    for each, spent in zip(model.operations, seconds.tolist(), strict=True):
        if each.pricing == UNPRICED:
            shares[each.operator] = shares.get(each.operator, 0.0) + (spent / total if total > 0 else 0.0)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _notes(found: ModuleLayers, pipeline: ParallelPlan, costs: Costs, model: ImportedModel) -> tuple[str, ...]:
    notes = [f"times follow published peaks at {100 * costs.efficiency:g} % efficiency and are predictions"]
    if costs.measured:
        notes = [f"times on {', '.join(costs.measured)} were measured; others follow published peaks"]
    mixed = sorted({found.mixing[stage.begin] for stage in pipeline.stages[1:] if stage.begin in found.mixing})
    if mixed:
        notes.append(f"the split suits torch.distributed.pipelining, but accelerate's hooks don't move what {mixed[0]} "
                     "reads from two devices")  # fmt: skip
    copied = _copies(found, model, pipeline)
    if copied:
        notes.append(f"{', '.join(copied)}: read in several stages, which hold copies; add up their gradients")
    return tuple(notes)
