"""The compiled behaviour against the one in torch: the same logits, the same draws, the same refusals."""

import numpy as np
import pytest
import torch

from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.actor import Behaviour, Weights
from sysgym.agents.native.behaviour import CompiledBehaviour
from sysgym.agents.networks import build_network
from sysgym.core.errors import SysgymError

CASES = {
    "numbers": (Spaces((7,), "float32", 0, 5), {}),
    "scaled": (Spaces((7,), "float32", 0, 5), {"normalize": True}),
    "pixels": (Spaces((3, 4), "uint8", 0, 5), {"activation": "relu"}),
    "doubles": (Spaces((7,), "float64", 0, 5), {}),
    "categories": (Spaces((), "int64", 6, 5), {}),
}


def behaviours(case):
    spaces, options = CASES[case]
    network = build_network(spaces, choose_architecture(spaces, "flat", **options), seed=1)
    with torch.no_grad():
        network.policy.layers[-1].weight.mul_(50.0)
        if network.scale is not None:
            network.scale.mean.copy_(torch.arange(7.0))
            network.scale.variance.copy_(torch.arange(1.0, 8.0) ** 2)
    pair = Behaviour(network), CompiledBehaviour(network)
    for behaviour in pair:
        behaviour.load(Weights.of(network, 4))
    return pair


def seen(case, rows, seed=0):
    random, spaces = np.random.default_rng(seed), CASES[case][0]
    if spaces.categories:
        return random.integers(spaces.categories, size=rows)
    return (random.normal(size=(rows, *spaces.shape)) * 4 + 3).astype(spaces.dtype)


@pytest.mark.parametrize("case", CASES)
def test_the_logits_and_draws_are_those_of_torch(case):
    generic, compiled = behaviours(case)
    assert compiled.version == 4
    for rows in (33, 5, 64):
        observations, random = seen(case, rows), np.random.default_rng(rows)
        assert compiled.logits(observations) == pytest.approx(generic.logits(observations), rel=1e-5, abs=1e-5)
        masks = (random.random((rows, 5)) < 0.5).astype(np.int8)
        masks[np.arange(rows), random.integers(5, size=rows)] = 1
        drawn = []
        for behaviour in (generic, compiled):
            actions, logs = np.zeros(rows, dtype=np.int64), np.zeros(rows)
            behaviour.choose(observations, masks, np.linspace(0, 0.999, rows), actions, logs)
            drawn.append((actions, logs))
        assert np.array_equal(drawn[0][0], drawn[1][0])
        assert drawn[1][1] == pytest.approx(drawn[0][1], abs=2e-5)


def test_new_weights_are_played_and_old_ones_are_not_touched():
    _, compiled = behaviours("numbers")
    spaces = CASES["numbers"][0]
    other = build_network(spaces, choose_architecture(spaces, "flat"), seed=2)
    weights = Weights.of(other, 9)
    compiled.load(weights)
    with torch.no_grad():
        other.policy.layers[0].weight.zero_()
    observations = seen("numbers", 3)
    expected = build_network(spaces, choose_architecture(spaces, "flat"), seed=2)
    assert compiled.logits(observations) == pytest.approx(
        expected.policy_logits(torch.from_numpy(observations)).detach().numpy(), abs=1e-5
    )
    assert compiled.version == 9


def test_where_rounding_leaves_a_remainder_the_last_possible_action_is_taken():
    _, compiled = behaviours("numbers")
    actions, logs = np.zeros(200, dtype=np.int64), np.zeros(200)
    masks = np.tile(np.array([1, 1, 1, 0, 0], dtype=np.int8), (200, 1))
    compiled.choose(seen("numbers", 200), masks, np.full(200, np.nextafter(1.0, 2.0)), actions, logs)
    assert (actions <= 2).all() and np.isfinite(logs).all()


def test_a_row_that_allows_nothing_is_refused():
    _, compiled = behaviours("numbers")
    masks = np.ones((3, 5), dtype=np.int8)
    masks[1] = 0
    with pytest.raises(SysgymError, match="mask of row 1 allows no action"):
        compiled.choose(seen("numbers", 3), masks, np.zeros(3), np.zeros(3, dtype=np.int64), np.zeros(3))
