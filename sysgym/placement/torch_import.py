"""A torch module as operations with costs: exported on meta tensors, so that no weight is allocated.

`torch.export` runs the module's own forward once on tensors without data. The graph is decomposed, because torch's
registry of FLOPs knows matrix products, convolutions and attention, not `linear`; the sum equals what `FlopCounterMode`
counts on the same meta tensors. Bytes are those of the operands and results. Views cost nothing. What neither has a
FLOP formula nor is known to be bound by memory is "unpriced": it is costed by its bytes, and listed.

With `torch_models` the only file of this room that imports torch; whoever needs it imports it when a module is at hand.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import linecache
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import flop_registry

from sysgym.core.errors import ModuleError, SettingError, require_range
from sysgym.placement.module_graph import COUNTED, FREE, MEMORY, UNPRICED, ImportedModel, Operation

_NAMES = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _log_softmax _native_batch_norm_legit _native_batch_norm_legit_functional
_native_batch_norm_legit_no_training _softmax arange argmax argmin avg_pool1d avg_pool2d avg_pool3d bernoulli cat
clone col2im constant_pad_nd copy cumsum embedding empty empty_permuted full full_like gather im2col index index_put
index_select lift_fresh_copy max max_pool2d_with_indices max_pool3d_with_indices min native_dropout native_group_norm
native_layer_norm normal nonzero ones ones_like pixel_shuffle pixel_unshuffle rand randn reflection_pad1d
reflection_pad2d reflection_pad3d repeat replication_pad2d roll scalar_tensor scatter scatter_add scatter_reduce
select_scatter slice_scatter sort stack topk tril triu upsample_bilinear2d upsample_nearest2d var_mean zeros
zeros_like _to_copy fill flip var masked_fill new_zeros new_ones new_full randint one_hot rms_norm _fused_rms_norm
"""
_MEMORY_BOUND = frozenset(_NAMES.split())
"""Operators of aten that move about as many bytes as they read and write, besides those that torch tags as such."""


def import_module(module: nn.Module, example_inputs: Any, example_keywords: Mapping[str, Any] | None = None,
                  ) -> ImportedModel:  # fmt: skip
    """Export a module.

    Args:
        module: On any device; it is left as it is, and its weights are neither copied nor read.
        example_inputs: One tensor, or a tuple of positional arguments: one micro-batch.
        example_keywords: Keyword arguments.

    Raises:
        ModuleError: The module can't run on the inputs, or can't be exported: names the line of the graph break.
    """
    program = exported(module, example_inputs, example_keywords)
    _require_sizes(type(module).__name__, program)
    return _operations(module, program)


def exported(module: nn.Module, example_inputs: Any, example_keywords: Mapping[str, Any] | None = None) -> Any:
    """The decomposed `ExportedProgram` of a module's twin on the meta device.

    Raises:
        ModuleError: See `import_module`.
    """
    if not isinstance(module, torch.nn.Module):
        raise ModuleError(f"{module!r} is a {type(module).__name__}; expected a torch.nn.Module")
    given = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    keywords = dict(example_keywords or {})
    arguments = torch.utils._pytree.tree_map_only(torch.Tensor, lambda each: each.to("meta"), (given, keywords))
    try:
        with torch.no_grad(), warnings.catch_warnings(), _silent_log(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")  # and torch prints the graph at a break, where we name the line
            with torch.device("meta"):  # tensors that the forward makes without naming a device
                program = torch.export.export(_meta_twin(module), arguments[0], arguments[1])
            return program.run_decompositions()
    except Exception as error:  # the user's own forward runs here, and may raise anything
        raise ModuleError(_break(type(module).__name__, error)) from error


@contextlib.contextmanager
def _silent_log() -> Iterator[None]:
    """Without what torch logs of an export that fails: we name the line."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    was, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was


def _require_sizes(name: str, program: Any) -> None:
    """Raise `ModuleError` where the size of a result depends on the data, since its bytes cannot be told."""
    for node in program.graph.nodes:
        made = torch.utils._pytree.tree_leaves(node.meta.get("val"))
        if all(isinstance(size, int) for each in made if isinstance(each, torch.Tensor) for size in each.shape):
            continue
        trace = (node.meta.get("stack_trace") or "").strip().splitlines()
        code = f" ({trace[-1].strip()})" if trace else ""
        raise ModuleError(
            f"{name} cannot be placed: the size of what {_operator(node)}{code} makes depends on the data; let the "
            "example inputs decide it, such as torch.where instead of indexing by a mask"
        )


def load_factory(words: str) -> tuple[nn.Module, Any]:
    """Call `package.module:build` or `file.py:build`, on the meta device, for a module and its example inputs.

    The function takes no argument and returns a pair (module, example inputs).

    Raises:
        ModuleError: It can't be imported, isn't there, raises, or returns something else.
    """
    package, _, name = words.partition(":")
    try:
        with torch.device("meta"):
            imported = _module_of_file(Path(package)) if package.endswith(".py") else importlib.import_module(package)
            built = getattr(imported, name)()
    except Exception as error:  # the user's own package runs here, and may raise anything
        raise ModuleError(f"{words} cannot be built: {type(error).__name__}: {_first_line(error)}; expected a function "
                          f"that returns (module, example_inputs){_place(error)}") from error  # fmt: skip
    if not (isinstance(built, tuple) and len(built) == 2 and isinstance(built[0], torch.nn.Module)):
        raise ModuleError(f"{words} returned {type(built).__name__}; it must return (module, example_inputs)")
    return built


def _module_of_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # a name that ends in .py has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickles look their module up
    spec.loader.exec_module(module)
    return module


def _meta_twin(module: nn.Module) -> nn.Module:
    """A copy of a module whose tensors are on the meta device; ties between parameters are kept."""
    replaced: dict[int, Any] = {}
    for part in module.modules():
        for tensor in [*part._parameters.values(), *part._buffers.values(), *vars(part).values()]:
            if isinstance(tensor, torch.nn.Parameter):
                replaced[id(tensor)] = torch.nn.Parameter(tensor.detach().to("meta"), tensor.requires_grad)
            elif isinstance(tensor, torch.Tensor):
                replaced[id(tensor)] = tensor.detach().to("meta")
    return copy.deepcopy(module, replaced)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")


def _place(error: Exception) -> str:
    """Where the user's own code was when torch gave up: the innermost frame outside torch and this project."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(ours)]
    frames = [each for each in frames if "/lib/python3" not in each.filename and each.name != "<module>"]
    if not frames:
        return ""
    last = frames[-1]
    code = (last.line or linecache.getline(last.filename, last.lineno or 0)).strip()
    return f" ({Path(last.filename).name}, line {last.lineno}, in {last.name}: {code})"


def _break(name: str, error: Exception) -> str:
    return (
        f"{name} cannot be exported: the graph breaks{_place(error) or ' inside torch'}: {type(error).__name__}: "
        f"{_first_line(error)[:240]}; keep values that depend on data out of Python's control flow"
    )


def _operations(module: nn.Module, program: Any) -> ImportedModel:
    """The nodes of an exported program, priced."""
    names: dict[str, str] = {}
    sizes: dict[str, int] = {}
    first: dict[int, str] = {}
    for kind in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
        for name, tensor in kind:
            if id(tensor) not in first:
                sizes[name] = tensor.numel() * tensor.element_size()
            names[name] = first.setdefault(id(tensor), name)
    signature = program.graph_signature
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    number_of: dict[Any, int] = {}
    found: list[Operation] = []
    readers: dict[str, set[int]] = {}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        number = len(found)
        number_of[node] = number
        parameters = tuple(dict.fromkeys(names[held[each.name]] for each in node.all_input_nodes if each.name in held))
        for parameter in parameters:
            readers.setdefault(parameter, set()).add(number)
        stack = node.meta.get("nn_module_stack") or {}
        flops, pricing = _price(node)
        found.append(Operation(
            node.name, _operator(node), tuple(_call(key, path) for key, (path, _) in stack.items()),
            tuple(dict.fromkeys(number_of[each] for each in node.all_input_nodes if each in number_of)),
            parameters, flops, sum(_bytes(each.meta.get("val")) for each in node.all_input_nodes),
            0 if pricing == FREE else _bytes(node.meta.get("val")), pricing,
        ))  # fmt: skip
    if not found:
        raise ModuleError(f"{type(module).__name__} runs no operation on its example inputs; nothing to place")
    results = frozenset(number_of[node] for node in program.graph.output_node().all_input_nodes if node in number_of)
    inputs = sum(
        _bytes(node.meta.get("val"))
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in signature.user_inputs
    )
    modules = tuple(name for name, _ in module.named_modules())
    return ImportedModel(tuple(found), sizes, names, modules, results, inputs, type(module).__name__,
                         {name: frozenset(numbers) for name, numbers in readers.items()})  # fmt: skip


def _call(key: str, path: str) -> str:
    """Path of one call of a module: torch marks the second one's key with @1."""
    return path + key[key.index("@") :] if "@" in key.rsplit(".", 1)[-1] else path


def _operator(node: Any) -> str:
    packet = getattr(node.target, "_overloadpacket", None)
    return str(packet) if packet is not None else getattr(node.target, "__name__", str(node.target))


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return int(value.numel() * value.element_size())
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0


def _price(node: Any) -> tuple[int, str]:
    """FLOPs by torch's registry, and how the operation is priced."""
    target = node.target
    packet = getattr(target, "_overloadpacket", None)
    if packet is None:
        return 0, UNPRICED if isinstance(target, torch._ops.HigherOrderOperator) else FREE
    if packet in flop_registry:
        arguments, keywords = torch.fx.node.map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
        return int(flop_registry[packet](*arguments, **keywords, out_val=node.meta["val"])), COUNTED
    if target.is_view:
        return 0, FREE
    known = {torch.Tag.pointwise, torch.Tag.reduction} & set(target.tags)
    bound = known or (target.namespace in ("aten", "prims") and packet.__name__ in _MEMORY_BOUND)
    return 0, MEMORY if bound else UNPRICED


def measure(module: nn.Module, example_inputs: Any, repeats: int = 3) -> dict[str, float]:
    """Run a module on this machine's CPU and time each of its operations; least of several runs.

    Args:
        module: With real weights, on the CPU.
        example_inputs: One micro-batch.
        repeats: Runs, after one that warms up.

    Returns:
        Seconds by name of the operation, for `Costs(measured={"cpu": ...})`.

    Raises:
        ModuleError: It can't be exported.
        SettingError: Its weights are on the meta device.
    """
    require_range("repeats", repeats, 1, whole=True)
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise SettingError("a module on the meta device has no weights to run; build it on the CPU to measure it")
    program = exported(module, example_inputs)
    timed, arguments = _Timed(program.graph_module), _arguments(module, program, example_inputs)
    with torch.no_grad():
        for run in range(repeats + 1):
            timed.run(*arguments)
            if run == 0:
                timed.least.clear()
    return timed.least


class _Timed(torch.fx.Interpreter):
    """Runs a graph of meta tensors on the CPU, and times each node."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.least: dict[str, float] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run and time one node."""
        if "device" in n.kwargs:
            n.kwargs = {**n.kwargs, "device": torch.device("cpu")}
        began = time.perf_counter()
        value = super().run_node(n)
        if n.op == "call_function":
            took = time.perf_counter() - began
            self.least[n.name] = min(took, self.least.get(n.name, took))
        return value


def _arguments(module: nn.Module, program: Any, example_inputs: Any) -> list[Any]:
    """What the exported graph takes: real parameters and buffers, zeros for constants, the example inputs."""
    signature = program.graph_signature
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    state: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    state |= dict(module.named_buffers(remove_duplicate=False))
    constants = signature.inputs_to_lifted_tensor_constants
    leaves = iter(torch.utils._pytree.tree_leaves(example_inputs))
    arguments: list[Any] = []
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        if node.name in held:
            arguments.append(state[held[node.name]].detach().clone())
        elif node.name in constants:
            arguments.append(torch.zeros_like(program.constants[constants[node.name]], device="cpu"))
        else:
            arguments.append(next(leaves))
    return arguments


def split_points(points: Mapping[str, str]) -> dict[str, Any]:
    """Modules and "beginning" or "end" as torch.distributed.pipelining's `split_spec`."""
    from torch.distributed.pipelining import SplitPoint  # noqa: PLC0415  takes a second, and few ask for it

    return {name: SplitPoint[where.upper()] for name, where in points.items()}
