"""The native learner against torch: the same gradients, the same bits for any number of threads."""

import dataclasses

import numpy as np
import pytest
import torch

from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.actor import Weights
from sysgym.agents.algorithms import ALGORITHMS
from sysgym.agents.native.behaviour import CompiledBytes, compiled_behaviour
from sysgym.agents.native.kernels import TANH, activate
from sysgym.agents.networks import build_network, masked_log_probabilities
from sysgym.agents.settings import make_settings
from sysgym.core.errors import TrainingError
from tests.agents.slots import filled_rollout

WIDE = Spaces((48,), "float32", 0, 5)
ONE_STEP = {
    "ppo": {"epochs": 1, "minibatches": 1},
    "a2c": {},
    "vtrace": {"minibatches": 1},
    "reinforce": {"episodes_per_workload": 4},
}


ROWS = Spaces((5, 12), "float32", 0, 5)
FORESEEN = Spaces((5, 15), "float32", 0, 5)  # with three columns for the value alone


def learner(algorithm, kind, threads=1, spaces=WIDE, normalize=False, network=None, **settings):
    found = ALGORITHMS[algorithm]
    kind_of_network = network or ("flat" if spaces is WIDE else "choices")
    activation = settings.pop("activation", "tanh")
    foreseen = 3 if spaces is FORESEEN else 0
    architecture = choose_architecture(spaces, kind_of_network, (16, 8), activation, normalize, foreseen)
    network = build_network(architecture.played(spaces), architecture, seed=3)
    with torch.no_grad():
        network.policy.layers[-1].weight.mul_(30.0)  # probabilities that are far from equal
    return found.learner(kind)(network, make_settings(found.settings, settings), 0, threads)


def slot(seed=0, steps=40, rows=32, spaces=WIDE):
    return filled_rollout(spaces, steps, rows, seed)


def gradients(learned, part):
    """The gradient of the last step, before it was cut."""
    named = getattr(learned.network, part).named_parameters()
    if hasattr(learned, "lanes"):
        native = getattr(learned, part)
        return {name: native._gradients[0][place].reshape(shape) for name, (place, shape) in native._places.items()}
    return {f"{part}.{name}": parameter.grad.numpy() for name, parameter in named}


@pytest.mark.parametrize("spaces", [WIDE, ROWS], ids=["flat", "choices"])
@pytest.mark.parametrize("skip_forced", [True, False])
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("ppo", {}),
        ("ppo", {"clip_values": True, "normalize_advantages": False, "clip": 0.05, "activation": "relu"}),
        ("ppo", {"truncation": "terminal", "normalize": True}),
        ("a2c", {"trace_decay": 0.9}),
        ("vtrace", {"rho_clip": 0.9, "policy_rho_clip": 1.1, "activation": "relu"}),
        ("reinforce", {"normalizer": "per_episode"}),
    ],
)
def test_gradients_equal_those_of_torch(algorithm, settings, skip_forced, spaces):
    if algorithm != "reinforce":
        settings = {**settings, "skip_forced": skip_forced}
    settings = {**ONE_STEP[algorithm], "entropy_weight": 0.03, "max_gradient_norm": 1e9, **settings}
    for seed in range(2):
        pair = [learner(algorithm, kind, spaces=spaces, **settings) for kind in ("torch", "native")]
        told = [learned.update(slot(seed, spaces=spaces), 0.25) for learned in pair]
        assert told[0].keys() == told[1].keys()
        for name, value in told[0].items():
            assert told[1][name] == pytest.approx(value, rel=2e-5, abs=1e-6), name
        for part in ("policy",) if algorithm == "reinforce" else ("policy", "value"):
            ours, theirs = gradients(pair[1], part), gradients(pair[0], part)
            for name, gradient in theirs.items():
                # over choices, the last bias moves all logits alike: its gradient is 0 up to rounding
                assert np.abs(ours[name] - gradient).max() <= 1e-5 * np.abs(gradient).max() + 1e-7, name


IMAGES = Spaces((30, 37), "uint8", 0, 4)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_bytes_learn_and_play_without_their_empty_cells(activation):
    played = filled_rollout(Spaces((30, 37), "float32", 0, 4), 10, 4)
    random = np.random.default_rng(0)
    cells = random.integers(1, 4, size=played.observations.shape) * (random.random(played.observations.shape) < 0.1)
    played.observations = cells.astype(np.uint8)
    settings = {"episodes_per_workload": 2, "max_gradient_norm": 1e9, "activation": activation, "spaces": IMAGES}
    pair = [learner("reinforce", kind, network="flat", **settings) for kind in ("torch", "native")]
    for learned in pair:
        learned.update(played, 0.0)
    ours, theirs = gradients(pair[1], "policy"), gradients(pair[0], "policy")
    for name, gradient in theirs.items():
        assert np.abs(ours[name] - gradient).max() <= 1e-5 * np.abs(gradient).max(), name
    behaviour = pair[0].behaviour()
    behaviour.load(Weights.of(pair[0].network, 1))
    expected = pair[0].network.policy_logits(torch.from_numpy(played.observations[0])).detach().numpy()
    assert isinstance(behaviour, CompiledBytes)
    assert np.allclose(behaviour.logits(played.observations[0]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("algorithm", "settings"), [("ppo", {"activation": "relu"}), ("vtrace", {}), ("reinforce", {})]
)
def test_what_the_value_alone_sees_is_learned_as_by_torch(algorithm, settings):
    test_gradients_equal_those_of_torch(algorithm, settings, True, FORESEEN)


@pytest.mark.parametrize(
    ("spaces", "kind"), [(ROWS, "choices"), (ROWS, "rows"), (FORESEEN, "choices")], ids=["choices", "rows", "foreseen"]
)
def test_choices_are_played_as_the_network_says(spaces, kind):
    network = learner("ppo", "torch", spaces=spaces, network=kind).network
    behaviour, played = compiled_behaviour(network), filled_rollout(spaces, 4, 6)
    behaviour.load(Weights.of(network, 1))
    actions, told = np.zeros(6, dtype=np.int64), np.zeros(6)
    behaviour.choose(played.observations[0], played.masks[0], np.full(6, 0.7), actions, told)
    masks = torch.from_numpy(played.masks[0]).bool()
    log_all = masked_log_probabilities(network.policy_logits(torch.from_numpy(played.observations[0])), masks)
    assert np.allclose(told, log_all.detach().numpy()[np.arange(6), actions], atol=1e-5)
    assert np.allclose(behaviour.logits(played.observations[0]), network.policy_logits(
        torch.from_numpy(played.observations[0])).detach().numpy(), atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "rmsprop_inside"])
def test_a_hundred_updates_do_not_drift_apart(optimizer):
    settings = {"optimizer": optimizer, "optimizer_epsilon": 1e-3, "learning_rate": 1e-3, "epochs": 1, "minibatches": 2}
    pair = [learner("ppo", kind, **settings) for kind in ("torch", "native")]
    begun = [weight.clone() for weight in pair[0].network.state_dict().values()]
    for update in range(100):
        for learned in pair:
            learned.update(slot(update, 8, 8), update / 100)
    for theirs, ours, before in zip(*(learned.network.state_dict().values() for learned in pair), begun, strict=True):
        assert float((ours - theirs).abs().max()) < 2e-3 * max(1e-3, float((theirs - before).abs().max()))


@pytest.mark.parametrize(("before", "after"), [("torch", "native"), ("native", "torch"), ("native", "native")])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "rmsprop_inside"])
def test_a_learner_goes_on_where_another_stood(before, after, optimizer):
    first, second = learner("ppo", before, optimizer=optimizer), learner("ppo", after, optimizer=optimizer)
    first.update(slot(0), 0.0)
    second.network.load_state_dict(first.network.state_dict())
    second.restore(*first.state())
    assert first.state()[1] == second.state()[1]
    for name, array in first.state()[0].items():
        assert np.array_equal(second.state()[0][name], array), name
    for learned in (first, second):
        learned.update(slot(1), 0.5)
    for ours, theirs in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(ours, theirs) if before == after else torch.allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("kind", ["torch", "native"])
@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "vtrace", "reinforce"])
def test_the_same_bits_for_any_number_of_threads(kind, algorithm):
    found = []
    for threads in (1, 2, 4):
        learned = learner(
            algorithm, kind, threads, **({"minibatches": 2} if algorithm == "ppo" else ONE_STEP[algorithm])
        )
        for update in range(3):
            learned.update(slot(update, 64, 64), update / 3)
        found.append(torch.cat([weight.detach().ravel() for weight in learned.network.parameters()]))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("kind", ["torch", "native"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_gradient_that_is_not_finite_takes_no_step(kind, threads):
    learned = learner("ppo", kind, threads, scale_rewards=False, normalize_advantages=False, minibatches=1, epochs=1)
    before = [parameter.clone() for parameter in learned.network.parameters()]
    rollout = slot()
    rollout.rewards[0] = 1e300  # finite for the check of slots, infinite for a loss
    with pytest.raises(TrainingError, match="gradient is not finite"):
        learned.update(rollout, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, learned.network.parameters(), strict=True))


def test_a_forbidden_action_has_no_gradient():
    learned = learner("ppo", "native", **ONE_STEP["ppo"])
    rollout = slot()
    rollout.masks[..., 4] = 0
    rollout.actions[...] = np.minimum(rollout.actions, 3)
    rollout.masks[:-1][rollout.actions == 0, 0] = 1
    learned.update(rollout, 0.0)
    last = gradients(learned, "policy")["policy.layers.2.weight"]
    assert not last[4].any() and last[3].any()


def test_tanh_is_tanh():
    numbers = np.concatenate([np.linspace(-12, 12, 100_001), np.logspace(-20, 0, 999), [0.0]]).astype(np.float32)
    outputs = numbers.copy()[None]
    activate(outputs, np.zeros_like(numbers), TANH)
    assert np.abs(outputs[0] - np.tanh(numbers.astype(np.float64))).max() < 4e-7
    assert outputs[0, -1] == 0.0 and np.abs(outputs).max() <= 1.0


def test_a_network_that_is_not_a_perceptron_is_left_to_torch():
    with pytest.raises(Exception, match="learner is 'native'"):
        from sysgym.agents import Training

        Training("sysgym/AdmissionQueue-v0", "evolution", learner="native")
    assert not dataclasses.replace(ALGORITHMS["evolution"]).native
