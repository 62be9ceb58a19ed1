"""A network over rows that begins as a linear priority scores rows by it, whatever its depth."""

import pytest
import torch

from sysgym import agents
from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.linear_start import begin_linear
from sysgym.agents.networks import build_network
from sysgym.core.errors import SettingError

ROWS = Spaces((5, 4), "float32", 0, 5)


@pytest.mark.parametrize("hidden", [(2,), (6,), (6, 3, 4)])
def test_logits_are_the_weighted_sum_of_the_features(hidden):
    network = build_network(ROWS, choose_architecture(ROWS, hidden=hidden), seed=2)
    begin_linear(network, (2.0, -3.0, 0.5))
    rows = torch.randn(7, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = rows @ torch.tensor([2.0, -3.0, 0.5, 0.0])
    assert torch.allclose(network.policy_logits(rows), expected, atol=1e-5)


def test_the_other_units_can_still_learn():
    network = build_network(ROWS, choose_architecture(ROWS, hidden=(8,)), seed=2)
    begin_linear(network, (1.0,))
    rows = torch.randn(7, 5, 4, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(network.policy_logits(rows).square().sum(), [network.policy.layers[-1].weight])
    assert (gradient[0, 2:] != 0).all()


def test_a_run_begins_there(tmp_path):
    jobs = {"model": "poisson_pareto", "jobs": 600, "processors": 32, "seed": 3, "load": 0.95}
    world = {"workload": jobs, "observation": "queue", "commit": False, "sequence_length": 16}
    small = {"frames": 64, "num_envs": 4, "rollout_steps": 16, "learning_rate": 1e-12, "hidden": [8]}
    policy = agents.train("sysgym/BatchSched-v0", "ppo", environment=world, start=[0, 0, -7.0], **small)
    first, last = policy.row_network.weights[: 16 * 8].reshape(16, 8), policy.row_network.weights[-9:-1]
    assert first[2, :2] == pytest.approx([-1.0, 1.0]) and last == pytest.approx([7.0, -7.0] + [0.0] * 6, abs=1e-9)
    assert policy.settings["start"] == [0.0, 0.0, -7.0]


@pytest.mark.parametrize(
    ("arguments", "start", "words"),
    [
        ({"activation": "tanh"}, (1.0,), "tanh"),
        ({"kind": "flat"}, (1.0,), "'flat'"),
        ({"normalize": True}, (1.0,), "True"),
        ({}, (1.0,) * 5, "start has 5 weights"),
        ({"hidden": (4, 1)}, (1.0,), "two units"),
    ],
)
def test_what_cannot_begin_so_is_refused(arguments, start, words):
    network = build_network(ROWS, choose_architecture(ROWS, **arguments), seed=0)
    with pytest.raises(SettingError, match=words):
        begin_linear(network, start)
