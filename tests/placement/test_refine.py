"""A policy as a solver: descents through coarse graphs, refinement, `solve(method="policy")`."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sysgym  # noqa: F401  registers the ids
from sysgym.agents import load
from sysgym.core.errors import SettingError
from sysgym.placement import Cluster, evaluate, generate, read_graph, solve
from sysgym.placement.coarsening import coarse_groups
from sysgym.placement.decision_policies import single_metis
from sysgym.placement.instances import GeneratedGraphs, make_instance
from sysgym.placement.refine import place_by_policy
from tests.placement.examples import example_b


class LookAhead:
    """Plays the device whose largest load foretold is least; draws among those within a tenth where it is sampled."""

    def __init__(self, seed=None):
        self.generator = None if seed is None else np.random.default_rng(seed)

    def sampled(self, seed):
        return LookAhead(seed)

    def act_batch(self, observations, masks):
        worse = observations["nodes"][:, :8, 6] + 0.3 * observations["nodes"][:, :8, 7]
        worse = np.where(masks > 0, worse, np.inf)
        if self.generator is not None:
            worse = worse + self.generator.random(worse.shape) * 0.1
        return worse.argmin(axis=1)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.sampled_from(["chain", "branches", "transformer", "cnn", "rnn"]),
    seed=st.integers(0, 1000),
    limit=st.integers(4, 40),
    share=st.sampled_from([0.15, 0.4]),
)
def test_a_placement_fits_into_the_graph_that_is_coarsened_within_it(shape, seed, limit, share):
    graph, cluster = generate(shape, 6, seed, training=bool(seed % 2)), Cluster.uniform(3)
    devices = np.random.default_rng(seed).integers(0, 3, graph.colour.max() + 1)
    placed = devices[graph.colour]
    groups = coarse_groups(graph, cluster, limit, share, 10.0, placed)
    assert all(len(set(placed[groups == group].tolist())) == 1 for group in range(groups.max() + 1))
    instance = make_instance(graph, cluster, limit, within=placed)
    assert np.array_equal(instance.spread(instance.gathered(placed)), placed)


def test_refinement_improves_and_counts():
    instance = GeneratedGraphs("test", Cluster.uniform(4, cpus=1)).draw(11, 0)
    refined = place_by_policy(instance.graph, instance.cluster, LookAhead(), evaluations=12, seed=3)
    assert len(refined.history) == 12 and list(refined.history) == sorted(refined.history, reverse=True)
    assert refined.history[-1] == refined.score < refined.history[0]
    scored = evaluate(instance.graph, instance.cluster, refined.assignment)
    assert scored.objective == pytest.approx(refined.score[1], rel=1e-9) and scored.feasible
    again = place_by_policy(instance.graph, instance.cluster, LookAhead(), evaluations=12, seed=3)
    assert again.history == refined.history
    assert len(place_by_policy(instance.graph, instance.cluster, LookAhead(), seconds=1e-9).history) == 1


def test_solve_takes_a_policy():
    graph, cluster = example_b(), Cluster.uniform(2)
    placement = solve(graph, cluster, method="policy", policy=LookAhead(), evaluations=5)
    assert placement.method == "policy" and placement.objective <= 7.75
    for objective in ("latency", "makespan"):
        found = solve(graph, cluster, objective, method="policy", policy=LookAhead(), evaluations=3)
        assert found.objective == evaluate(graph, cluster, found.assignment, objective).objective
    with pytest.raises(SettingError, match=r"sysgym\.agents\.load"):
        solve(graph, cluster, method="policy")
    with pytest.raises(SettingError, match="act_batch"):
        solve(graph, cluster, method="policy", policy="mine")
    with pytest.raises(SettingError, match="at most 8"):
        solve(graph, Cluster.uniform(9), method="policy", policy=LookAhead())


def test_the_shipped_policy_places_what_it_never_saw(shared_data):
    """Within 3 % of the best known after ten evaluations, and better than one run of METIS."""
    policy, values = load("placement"), []
    for name, best in (("layer_bert24_inference", 17.7147), ("operator_bert_l3_inference", 21.9084)):
        graph = read_graph(shared_data(f"graphs/tarnawski/throughput/{name}.json.gz"))
        placement = solve(graph, graph.cluster, method="policy", policy=policy, evaluations=10)
        metis = evaluate(graph, graph.cluster, single_metis(graph, graph.cluster)).objective
        values.append(placement.objective / best - 1)
        assert placement.objective < metis and not placement.evaluation.violations
    assert max(values) < 0.03


def test_the_shipped_policy_suits_the_environment():
    env = gym.make("sysgym/Placement-v0", passes=2, groups=40, operations=64)
    policy = load("placement")
    policy.check(env.observation_space, env.action_space)
    assert policy.architecture.kind == "leading" and policy.env_id == "sysgym/Placement-v0"
