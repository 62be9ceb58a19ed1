"""`plan`: architectures of torch, a split that runs, refusals that name the line."""

import itertools
import json
import math
import multiprocessing
import socket
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sysgym.core.errors import InfeasibleError, ModuleError, SettingError
from sysgym.placement import Cluster, Costs, plan, solve
from sysgym.placement.schedules import compare_schedules
from sysgym.placement.torch_import import import_module, load_factory, measure, split_points
from tests.placement.architectures import ARCHITECTURES, Decoder, Siamese


def _build(name, device="meta"):
    with torch.device(device):
        return ARCHITECTURES[name]()


def _names(module):
    return [name for name, _ in (*module.named_parameters(), *module.named_buffers())]


def _place_of(device_map, name):
    """Entries of the map that cover a parameter."""
    return [key for key in device_map if key in ("", name) or name.startswith(f"{key}.")]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_are_counted_mapped_and_split(name):
    module, inputs = _build(name)
    found = plan(module, inputs, "3xV100", micro_batches=4)
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    assert found.model.flops == counter.get_total_flops()
    for parameter in _names(module):
        assert len(_place_of(found.device_map, parameter)) == 1, parameter
    for key in found.device_map:
        module.get_submodule(key) if key not in _names(module) else module.get_parameter(key)
    assert found.seconds <= found.equal_split_seconds
    assert all(found.parallelism.seconds <= seconds * (1 + 1e-12) for seconds in found.parallelism.pure.values())
    assert found.parallelism.lower_bound <= found.parallelism.seconds
    assert [stage.begin for stage in found.pipeline.stages[1:]] == [stage.end for stage in found.pipeline.stages[:-1]]
    assert set(found.split_points) <= {path for path, _ in module.named_modules()}
    assert not found.unpriced
    assert sum(found.model.parameter_bytes.values()) == sum(
        tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers())
    )


def test_real_modules_are_left_alone_and_count_as_on_meta():
    real, inputs = _build("decoder", "cpu")
    before = {name: tensor.clone() for name, tensor in real.state_dict().items()}
    assert import_module(real, inputs).flops == import_module(*_build("decoder")).flops
    assert all((tensor == before[name]).all() for name, tensor in real.state_dict().items())
    assert real.head.weight is real.tokens.weight


def test_a_tied_weight_has_one_place_and_its_copy_is_named():
    module, inputs = _build("decoder")
    found = plan(module, inputs, "2xA100")
    assert found.device_map["tokens"] == found.device_map["head"] == 0
    assert found.copies == {"tokens.weight": (1,)}
    assert any("tokens.weight" in note for note in found.notes)
    colours = dict(zip(found.graph.node_ids, found.graph.colour.tolist(), strict=True))
    assert colours["embedding"] == colours[found.model.operations[max(found.model.readers["tokens.weight"])].name]


def test_flops_equal_the_closed_form():
    layers, width, vocabulary, batch, length = 3, 32, 100, 2, 12
    with torch.device("meta"):
        module, inputs = Decoder(layers, width, vocabulary), torch.zeros(batch, length, dtype=torch.long)
    tokens = batch * length
    products = 2 * tokens * 12 * layers * width**2 + 2 * tokens * width * vocabulary
    assert import_module(module, inputs).flops == products + 4 * batch * length**2 * width * layers


def test_uneven_layers_are_balanced_better_than_by_equal_blocks():
    with torch.device("meta"):
        widths = [1024] * 4 + [64] * 9
        module = nn.Sequential(*[nn.Linear(a, b) for a, b in itertools.pairwise(widths)])
        found = plan(module, torch.zeros(64, 1024), "3xT4", micro_batches=16)
    assert found.speedup > 1.3
    assert found.run.bubble < 1


def test_inference_holds_the_input_and_what_is_read_beside_what_is_made():
    with torch.device("meta"):
        module, inputs = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(4))), torch.zeros(1024, 64)
    found = plan(module, inputs, "2xT4", training=False, micro_batches=4)
    weights, tensor = 4 * 65 * 64 * 4, 1024 * 64 * 4  # torch holds three: input, operand, result
    assert [stage.memory_bytes for stage in found.pipeline.stages] == [weights + 3 * tensor]
    rows = {row.schedule: row for row in compare_schedules(found.layers, found.pipeline.stages, found.cluster,
                                                           found.training)}  # fmt: skip
    assert rows["gpipe"].seconds == pytest.approx(found.seconds, rel=1e-12)
    assert rows["gpipe"].memory_bytes == weights + 3 * tensor
    assert rows["spilled"].seconds == pytest.approx(found.seconds + weights / found.cluster.host_bandwidth)
    assert "no" in rows["1f1b"].note and rows["1f1b"].seconds == math.inf


def test_cpus_are_used_where_they_help_and_named_so():
    module, inputs = _build("mlp")
    alone = plan(module, inputs, "T4", training=False)
    beside = plan(module, inputs, "cpu+T4", training=False)
    assert beside.seconds <= alone.seconds * (1 + 1e-9)
    assert set(plan(module, inputs, "2xcpu").device_map.values()) == {"cpu"}


def test_memory_is_kept_or_the_missing_bytes_are_named():
    module, inputs = _build("decoder")
    small, tiny = (
        tuple(replace(each, memory_bytes=cap) for each in Cluster.parse("2xT4").devices) for cap in (8e5, 1000.0)
    )
    found = plan(module, inputs, Cluster(small))
    assert all(stage.memory_bytes <= 8e5 for stage in found.pipeline.stages)
    with pytest.raises(InfeasibleError, match=r"layer '.*' needs [\d,]+ bytes on a device, [\d,]+ more"):
        plan(module, inputs, Cluster(tiny))


def test_recomputation_is_chosen_where_memory_is_short():
    with torch.device("meta"):
        module, inputs = Decoder(3, 32, 50, length=64), torch.zeros(16, 64, dtype=torch.long)
    roomy = plan(module, inputs, "T4")
    assert not any(any(stage.recomputed) for stage in roomy.pipeline.stages)
    cap = 0.6 * max(stage.memory_bytes for stage in roomy.pipeline.stages)
    short = Cluster(tuple(replace(each, memory_bytes=cap) for each in roomy.cluster.devices))
    found = plan(module, inputs, short)
    assert any(any(stage.recomputed) for stage in found.pipeline.stages)
    assert all(stage.memory_bytes <= cap for stage in found.pipeline.stages)
    with pytest.raises(InfeasibleError, match="or allow recomputation"):
        plan(module, inputs, short, recompute=False)


def test_measured_costs_replace_the_roofline():
    module, inputs = _build("mlp", "cpu")
    measured = measure(module, inputs, repeats=2)
    assert set(measured) == {each.name for each in import_module(module, inputs).operations}
    assert all(seconds > 0 for seconds in measured.values())
    fast, slow = (
        plan(module, inputs, "cpu", costs=Costs(measured={"cpu": dict.fromkeys(measured, seconds)}))
        for seconds in (1e-6, 1e-3)
    )
    assert slow.seconds == pytest.approx(1000 * fast.seconds)
    with pytest.raises(SettingError, match="meta device"):
        measure(*_build("mlp"))


def test_a_plan_is_written_and_its_graph_solved(tmp_path):
    found = plan(*_build("mixer"), "2xA10")
    found.write(tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text())["device_map"] == found.device_map
    found.write_timeline(tmp_path / "step.json")
    bars = [each for each in json.loads((tmp_path / "step.json").read_text())["traceEvents"] if each["ph"] == "X"]
    assert len(bars) == 2 * 8 * len(found.pipeline.stages)
    assert max(bar["ts"] + bar["dur"] for bar in bars) == pytest.approx(found.seconds * 1e6)
    found.write_timeline(tmp_path / "step.svg")
    assert solve(found.graph, found.cluster, method="metis", time_limit=1.0).evaluation.feasible


class Breaks(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        y = self.inner(x)
        return y if y.sum().item() > 0 else -y


class Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        return torch.linalg.inv(self.inner(x)) + torch.fft.fft(x).real


def test_a_graph_break_is_named_with_its_line(capsys):
    with pytest.raises(
        ModuleError, match=r"Breaks cannot be exported: .*test_module_plan.py, line \d+, in forward: .*item"
    ):
        plan(Breaks(), torch.zeros(2, 4), "2xA100")
    assert capsys.readouterr().err == ""
    with pytest.raises(ModuleError, match="Linear cannot be exported"):
        plan(nn.Linear(4, 4), torch.zeros(2, 5), "2xA100")
    with pytest.raises(ModuleError, match=r"expected a torch.nn.Module"):
        plan("model", torch.zeros(2, 5), "2xA100")
    with pytest.raises(ModuleError, match="no operation"):
        plan(nn.Identity(), torch.zeros(2, 5), "2xA100")


class Ragged(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        y = self.inner(x)
        return y[y > 0].sum()


def test_a_size_that_depends_on_the_data_is_named_with_its_line():
    with pytest.raises(ModuleError, match=r"Ragged cannot be placed: .*y\[y > 0\].* depends on the data") as caught:
        plan(Ragged(), torch.zeros(2, 4), "2xA100")
    assert "\n" not in str(caught.value)


def test_a_factory_in_a_file(tmp_path):
    path = tmp_path / "shallow.py"
    path.write_text("import torch\n\n\ndef build():\n    return torch.nn.Linear(4, 2), torch.zeros(3, 4)\n")
    module, inputs = load_factory(f"{path}:build")
    assert module.weight.is_meta and inputs.shape == (3, 4)
    with pytest.raises(ModuleError, match="FileNotFoundError"):
        load_factory(f"{tmp_path / 'none.py'}:build")


def test_unpriced_operators_are_listed_with_their_share():
    found = plan(Unknown(), torch.zeros(2, 8, 8), "2xA100")
    assert any("linalg" in name for name in found.unpriced)
    assert any("fft" in name for name in found.unpriced)
    assert all(0 < share < 1 for share in found.unpriced.values())


def test_devices_without_a_data_sheet_are_refused():
    with pytest.raises(SettingError, match="no data sheet"):
        plan(*_build("mlp"), Cluster.uniform(2))


@pytest.mark.parametrize(
    ("words", "message"),
    [("nowhere.at.all:build", "ModuleNotFoundError"), ("tests.placement.architectures:nothing", "AttributeError"),
     ("tests.placement.architectures:Siamese", "must return")],
)  # fmt: skip
def test_factories_that_cannot_be_called_are_named(words, message):
    with pytest.raises(ModuleError, match=message):
        load_factory(words)


def _run_stage(rank, port, name, points, results):
    """One process of a pipeline of two: runs its stage of the emitted split on four micro-batches."""
    import torch.distributed as dist
    from torch.distributed.pipelining import ScheduleGPipe, pipeline

    torch.manual_seed(0)
    torch.set_num_threads(1)
    module, inputs = _build(name, "cpu")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    batch = tuple(torch.cat([torch.randint_like(each, 40) if each.dtype == torch.long else torch.randn_like(each)
                             for _ in range(4)]) for each in inputs)  # fmt: skip
    for each in batch:
        dist.broadcast(each, 0)
    module.eval()
    with torch.no_grad():
        wanted = torch.cat([module(*part) for part in zip(*(each.chunk(4) for each in batch), strict=True)])
        pipe = pipeline(module, mb_args=inputs, split_spec=split_points(points))
        schedule = ScheduleGPipe(pipe.build_stage(rank, torch.device("cpu")), 4)
        output = schedule.step(*batch) if rank == 0 else schedule.step()
    if rank == 1:
        results.put(float((output - wanted).abs().max()))
    dist.barrier()
    dist.destroy_process_group()


def test_the_emitted_split_runs_and_gives_the_unsplit_output():
    name = "decoder"
    points = plan(*_build(name), "2xT4", micro_batches=4).split_points
    assert len(points) == 1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_run_stage, args=(rank, port, name, points, results)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert results.get(timeout=5) < 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["unet", "siamese", "inception"])
def test_stages_run_one_after_another_give_the_unsplit_output(name):
    from torch.distributed.pipelining import pipeline

    torch.manual_seed(0)
    module, inputs = _build(name, "cpu")
    found = plan(module, inputs, "2xT4")
    given = tuple(torch.randn_like(each) for each in inputs)
    with torch.no_grad():
        wanted = module.eval()(*given)
        pipe = pipeline(module, mb_args=inputs, split_spec=found.split_spec())
        assert pipe.num_stages == len(found.pipeline.stages) == 2
        output = pipe(*given)
    assert torch.allclose(output[0] if isinstance(output, tuple) else output, wanted, atol=1e-5)


def test_a_module_that_is_called_twice_is_never_a_border():
    with torch.device("meta"):
        module, inputs = Siamese(), (torch.zeros(3, 16), torch.zeros(3, 16))
    found = plan(module, inputs, "4xT4")
    assert set(found.split_points) <= {"head"}
    assert found.device_map["encoder"] == 0
