"""Masks, the choice of network, and the numpy half against the torch half."""

import numpy as np
import pytest
import torch
from gymnasium import spaces as gym_spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.agents.acting.architecture import choose_architecture, weight_shapes
from sysgym.agents.acting.inference import PolicyFunction, masked_probabilities, most_likely, sample
from sysgym.agents.acting.spaces import Spaces, largest_bound
from sysgym.agents.networks import PooledRows, build_network, masked_entropy, masked_log_probabilities
from sysgym.core.errors import SettingError, SysgymError, UnknownNameError

CASES = {
    "flat": Spaces((7,), "float32", 0, 4),
    "image": Spaces((5, 6), "uint8", 0, 4),
    "number": Spaces((), "float32", 0, 4),
    "bits": Spaces.of(gym_spaces.MultiBinary(6), gym_spaces.Discrete(4)),
    "category": Spaces((), "int64", 9, 4),
    "rows": Spaces((4, 3), "float32", 0, 4),
    "rows_and_void": Spaces((3, 5), "float32", 0, 4),
}


def observations_of(spaces, count, random):
    if spaces.categories:
        return random.integers(spaces.categories, size=count)
    return random.integers(0, 3, size=(count, *spaces.shape)).astype(spaces.dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_numpy_half_equals_torch_half(case, normalize, activation):
    spaces = CASES[case]
    architecture = choose_architecture(spaces, activation=activation, normalize=normalize)
    network = build_network(spaces, architecture, seed=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0).add_(0.05)  # the small initial gain would hide differences
    observations = observations_of(spaces, 32, np.random.default_rng(0))
    network.update_scale(torch.from_numpy(observations))
    weights = {name: value.numpy(force=True) for name, value in network.state_dict().items()}
    expected = network.policy_logits(torch.from_numpy(observations)).detach().numpy()
    found = PolicyFunction(spaces, architecture, weights)(observations)
    assert found.shape == (32, 4)
    assert np.allclose(found, expected, atol=1e-5)
    assert network.values(torch.from_numpy(observations)).shape == (32,)
    assert {name: value.shape for name, value in weights.items()} == weight_shapes(spaces, architecture)


def test_over_choices_the_last_row_tells_the_value():
    spaces = CASES["rows"]
    architecture = choose_architecture(spaces, "choices", (5, 4))
    network = build_network(spaces, architecture, seed=3)
    rows = torch.randn(6, *spaces.shape, generator=torch.Generator().manual_seed(0))
    weights = {name: value.numpy(force=True) for name, value in network.state_dict().items()}
    logits = network.policy_logits(rows).detach().numpy()
    assert np.allclose(PolicyFunction(spaces, architecture, weights)(rows.numpy()), logits, atol=1e-6)
    assert {name: value.shape for name, value in weights.items()} == weight_shapes(spaces, architecture)
    others = torch.cat([rows[:, [2, 0, 1]], rows[:, 3:]], dim=1)
    assert torch.equal(network.values(others), network.values(rows))
    assert not torch.allclose(network.values(rows + torch.eye(4)[3][:, None]), network.values(rows))


def test_what_is_foreseen_moves_the_value_and_not_the_policy():
    spaces = CASES["rows"]
    architecture = choose_architecture(spaces, "choices", (5, 4), foreseen=2)
    played = architecture.played(spaces)
    network = build_network(played, architecture, seed=3)
    rows = torch.randn(6, *spaces.shape, generator=torch.Generator().manual_seed(0))
    others = rows.clone()
    others[..., -2:] += 1.0
    assert torch.equal(network.policy_logits(others), network.policy_logits(rows))
    assert not torch.allclose(network.values(others), network.values(rows))
    weights = {name: value.numpy(force=True) for name, value in network.state_dict().items()}
    assert {name: value.shape for name, value in weights.items()} == weight_shapes(played, architecture)
    seen = rows[..., :-2].numpy()
    logits = network.policy_logits(rows).detach().numpy()
    assert np.allclose(PolicyFunction(played, architecture, weights)(seen), logits, atol=1e-6)
    for wrong in ({"kind": "rows"}, {"kind": "choices", "normalize": True}):
        with pytest.raises(SettingError, match="last 2 columns are for the value alone"):
            choose_architecture(spaces, **wrong, foreseen=2)


def test_the_observation_decides_the_network():
    kinds = {case: choose_architecture(spaces).kind for case, spaces in CASES.items()}
    assert kinds == {
        "flat": "flat",
        "number": "flat",
        "bits": "flat",
        "image": "flat",
        "category": "flat",
        "rows": "rows",
        "rows_and_void": "rows_and_void",
    }
    with pytest.raises(SettingError, match=r"shape \(4, F\)"):
        choose_architecture(CASES["image"], kind="rows")
    with pytest.raises(UnknownNameError, match="did you mean rows"):
        choose_architecture(CASES["rows"], kind="row")
    with pytest.raises(SettingError, match="hidden"):
        choose_architecture(CASES["rows"], hidden=(4, 0))


@pytest.mark.parametrize("case", ["rows", "rows_and_void"])
def test_masks_spare_rows_and_change_no_allowed_logit(case):
    spaces = CASES[case]
    network = build_network(spaces, choose_architecture(spaces), seed=1)
    rows = torch.randn(6, *spaces.shape, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) < 0.6
    full, spared = network.policy_logits(rows), network.policy_logits(rows, masks)
    assert torch.allclose(full[masks], spared[masks], atol=1e-6)
    assert spared.isfinite().all()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_empty_rows_are_pooled_once_and_count_as_often_as_they_stand_there(activation):
    pooled = PooledRows(5, (6, 4), activation, 1.0)
    for weight in pooled.parameters():
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(weight.numel()))  # biases too
    rows = torch.randn(9, 7, 5, generator=torch.Generator().manual_seed(0))
    for state in range(9):
        rows[state, max(0, state - 1) :] = 0.0  # none is filled, none again, one, ..., all
    told = []
    for way in (pooled, pooled.sparse):
        value = way(rows)
        told.append([value, *torch.autograd.grad((value**2).sum(), list(pooled.parameters()))])
    for dense, sparse in zip(*told, strict=True):
        assert torch.allclose(dense, sparse, atol=1e-4, rtol=1e-5)


def test_policy_and_value_share_no_weights():
    for spaces in CASES.values():
        network = build_network(spaces, choose_architecture(spaces), seed=1)
        parts = network.parts()
        assert {id(p) for p in parts["policy"] + parts["value"]} == {id(p) for p in network.parameters()}
        assert not {id(p) for p in parts["policy"]} & {id(p) for p in parts["value"]}


@pytest.mark.parametrize("case", ["rows", "rows_and_void"])
def test_a_pointer_network_follows_the_order_of_rows(case):
    spaces = CASES[case]
    network = build_network(spaces, choose_architecture(spaces), seed=1)
    rows = torch.randn(1, *spaces.shape, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(spaces.shape[0], generator=torch.Generator().manual_seed(1))
    logits, permuted = network.policy_logits(rows), network.policy_logits(rows[:, order])
    assert torch.allclose(permuted[:, : len(order)], logits[:, : len(order)][:, order], atol=1e-6)
    assert torch.allclose(permuted[:, len(order) :], logits[:, len(order) :], atol=1e-6)
    assert torch.allclose(network.values(rows), network.values(rows[:, order]), atol=1e-6)


def test_the_scale_is_mean_and_deviation_of_all_observations():
    spaces = CASES["flat"]
    network = build_network(spaces, choose_architecture(spaces, normalize=True), seed=1)
    data = torch.randn(90, 7, generator=torch.Generator().manual_seed(0)) * 5 + 3
    for part in data.split([20, 1, 69]):
        network.update_scale(part)
    assert torch.allclose(network.scale.mean, data.double().mean(0))
    assert torch.allclose(network.scale.variance, data.double().var(0, unbiased=False))
    assert network.scale.count == 90


def test_initial_policy_is_nearly_uniform_and_repeatable():
    spaces = CASES["flat"]
    first, again = (build_network(spaces, choose_architecture(spaces), seed=5) for _ in range(2))
    other = build_network(spaces, choose_architecture(spaces), seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.policy.layers[0].weight, other.policy.layers[0].weight)
    probabilities = first.policy_logits(torch.ones(1, 7)).softmax(-1)
    assert probabilities.min() > 0.23


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), actions=st.integers(1, 6))
def test_masked_distribution_is_that_of_the_reduced_action_set(seed, actions):
    random = np.random.default_rng(seed)
    masks = random.random(actions) < 0.5
    masks[random.integers(actions)] = True
    values = random.normal(size=(1, actions)) * 3
    weights = torch.from_numpy(random.normal(size=actions))

    full = torch.from_numpy(values).requires_grad_()
    log_all = masked_log_probabilities(full, torch.from_numpy(masks)[None])
    entropy = masked_entropy(log_all, torch.from_numpy(masks)[None])
    (entropy.sum() + (log_all[0, masks] * weights[masks]).sum()).backward()

    reduced = torch.from_numpy(values[:, masks]).requires_grad_()
    log_reduced = torch.log_softmax(reduced, -1)
    (-(log_reduced.exp() * log_reduced).sum() + (log_reduced[0] * weights[masks]).sum()).backward()

    assert torch.allclose(log_all[:, masks], log_reduced)
    assert (log_all.exp()[:, ~masks] == 0).all()
    assert torch.allclose(full.grad[:, masks], reduced.grad, atol=1e-6)
    assert (full.grad[:, ~masks] == 0).all()
    in_numpy = masked_probabilities(values, masks[None])
    assert np.allclose(in_numpy, log_all.exp().detach().numpy())
    assert (in_numpy[:, ~masks] == 0).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), uniform=st.one_of(st.floats(0, 1, exclude_max=True), st.just(1 - 2**-53)))
def test_a_masked_action_is_never_chosen(seed, uniform):
    random = np.random.default_rng(seed)
    logits, masks = random.normal(size=(1, 6)) * 20, random.integers(0, 2, size=(1, 6)).astype(np.int8)
    masks[0, random.integers(6)] = 1
    assert masks[0, sample(masked_probabilities(logits, masks), np.array([uniform]))[0]]
    assert masks[0, most_likely(logits, masks)[0]]


def test_rounding_at_the_end_of_a_row_falls_to_the_last_possible_action():
    short = np.array([[0.5, 0.5 - 1e-9, 0.0]])
    assert sample(short, np.array([1 - 2**-53])).tolist() == [1]


def test_sampling_follows_the_probabilities():
    probabilities = np.tile([0.1, 0.0, 0.6, 0.3], (20_000, 1))
    actions = sample(probabilities, np.random.default_rng(0).random(20_000))
    assert np.bincount(actions, minlength=4) / 20_000 == pytest.approx([0.1, 0.0, 0.6, 0.3], abs=0.02)


def test_a_mask_that_allows_nothing_is_refused():
    with pytest.raises(SysgymError, match="row 1 allows no action"):
        most_likely(np.zeros((2, 2)), np.array([[1, 0], [0, 0]]))


def test_spaces_that_no_agent_takes_are_refused():
    box = gym_spaces.Box(0, 1, (2,))
    with pytest.raises(SettingError, match="Discrete"):
        Spaces.of(box, box)
    with pytest.raises(SettingError, match="Dict or Tuple"):
        Spaces.of(gym_spaces.Text(3), gym_spaces.Discrete(2))
    with pytest.raises(SettingError, match="at least one number"):
        Spaces.of(gym_spaces.Box(0, 1, (0,)), gym_spaces.Discrete(2))
    with pytest.raises(SettingError, match="part a/1 of the observation space is Text"):
        Spaces.of(gym_spaces.Dict(a=gym_spaces.Tuple((box, gym_spaces.Text(3)))), gym_spaces.Discrete(2))
    assert largest_bound(gym_spaces.Box(np.array([-3, 0], np.float32), np.array([1, 2], np.float32))) == 3.0
