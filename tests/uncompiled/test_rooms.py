"""Replays, indexes, placements, searches, exchanges and gradients, on the smallest instances."""

import numpy as np
import pytest

from sysgym.agents.search import Search
from sysgym.core.row_network import RowNetwork, weight_count
from sysgym.exprsimp import check, parse, simplify
from sysgym.exprsimp.simplification import by_points
from sysgym.jobsched import replay, replay_gpu
from sysgym.jobsched.batch.prediction import CORRECTORS
from sysgym.jobsched.batch.replay import SCHEDULERS, classic_schedulers
from sysgym.jobsched.dag.arrivals import ArrivalRules, jobs_of
from sysgym.jobsched.dag.model import DagConfig
from sysgym.jobsched.dag.tuning import tune_alpha
from sysgym.jobsched.gpu.model import POLICIES, QUEUES
from sysgym.jobsched.rewriting.solve import METHODS as REWRITING
from sysgym.jobsched.rewriting.solve import solve as reschedule
from sysgym.jobsched.slotted.tuning import tune_gated
from sysgym.learned_index import BloomFilter, HashIndex, LearnedBloomFilter
from sysgym.learned_index.hashing import HASHES
from sysgym.learned_index.learned_bloom import WAYS
from sysgym.placement.objectives import OBJECTIVES
from sysgym.placement.solve import METHODS, solve
from sysgym.workloads import gpu_cluster, poisson_pareto
from sysgym.workloads.jobsets import JobsetGenerator
from sysgym.workloads.models import MODELS, generate
from tests.agents import test_native
from tests.jobsched.test_rewriting import EXAMPLE
from tests.jobsched.test_row_play import WIDTHS, Asked, Playing
from tests.learned_index.structures import STRUCTURES, build
from tests.placement.examples import example_b, random_graph, two_devices

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value")
JOBS = poisson_pareto(24, 8, load=1.3, seed=4)
KEYS = np.unique(np.random.default_rng(2).integers(0, 2**40, 160, dtype=np.uint64))


@pytest.mark.parametrize("policy", SCHEDULERS)
def test_replays_are_equal(policy):
    plain, kernel = (replay(JOBS, policy, engine=engine) for engine in ("simpy", "compiled"))
    np.testing.assert_array_equal(plain.start_time, kernel.start_time)


@pytest.mark.parametrize("predictor", ["last_two", "learned", *(f"last_two+{name}" for name in CORRECTORS)])
def test_replays_with_predictions_are_equal(predictor):
    for policy in ("easy", "easy_sjbf"):
        assert policy in classic_schedulers()
        plain, kernel = (replay(JOBS, policy, engine=name, predictor=predictor) for name in ("simpy", "compiled"))
        np.testing.assert_array_equal(plain.start_time, kernel.start_time)


def test_a_row_network_plays_as_it_is_asked():
    weights = np.random.default_rng(5).standard_normal(weight_count(WIDTHS.tolist())).astype(np.float32)
    network = RowNetwork(weights, WIDTHS, False)
    rules = {"backfill": "easy", "commit": False, "observation": "queue"}
    played, asked = replay(JOBS, Playing(network), **rules), replay(JOBS, Asked(network), **rules)
    np.testing.assert_array_equal(played.start_time, asked.start_time)


@pytest.mark.parametrize(("policy", "queue"), [*((name, "greedy") for name in POLICIES), *(("fgd", q) for q in QUEUES)])
def test_gpu_replays_are_equal(policy, queue):
    workload, nodes = gpu_cluster(14, 3, seed=1, load=1.2)
    asked = {"policy": policy, "queue": queue, "seed": 2}
    plain, kernel = (replay_gpu(workload, nodes, engine=engine, **asked) for engine in ("simpy", "compiled"))
    for name in ("job", "node"):
        np.testing.assert_array_equal(getattr(plain.placements, name), getattr(kernel.placements, name))


@pytest.mark.parametrize("name", STRUCTURES)
def test_indexes_find_what_searchsorted_finds(name):
    keys = np.sort(np.concatenate([KEYS, KEYS[::7]]))
    asked = np.concatenate([KEYS[::5], KEYS[::9] + np.uint64(1), np.array([0, 2**64 - 1], dtype=np.uint64)])
    index = build(name, keys)
    assert index.search(asked).tolist() == np.searchsorted(keys, asked).tolist()
    assert index.search(asked[0]) == np.searchsorted(keys, asked[0])


def test_filters_never_say_no_wrongly():
    others = KEYS + np.uint64(3)
    assert BloomFilter.build(KEYS, bits_per_key=3.0).contains(KEYS).all()
    for way in WAYS:
        assert LearnedBloomFilter.build(KEYS, others, way=way, bits_per_key=20.0, ranges=3).contains(KEYS).all()
    for name in HASHES:
        assert HashIndex.build(KEYS, hash=name).find(KEYS).tolist() == list(range(len(KEYS)))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_places(method, objective):
    generator = np.random.default_rng(1)
    cases = [(example_b(), two_devices()), (random_graph(generator, 7, ("gpu", "cpu")), two_devices(1))]
    for graph, cluster in cases:
        found = solve(graph, cluster, objective, method, time_limit=0.05)
        assert found.lower_bound <= found.objective * (1 + 1e-6) and not found.evaluation.violations


@pytest.mark.parametrize("method", [name for name in REWRITING if name != "ortools"])
def test_schedules_are_no_better_than_the_best(method):
    best = reschedule(EXAMPLE, "exact").mean_slowdown
    assert reschedule(EXAMPLE, method, evaluations=30).mean_slowdown >= best - 1e-12


def test_searches_of_priorities_end():
    jobs, config = jobs_of("generated", ArrivalRules(2, 1, 30.0), "train"), DagConfig(executors=3)
    assert tune_alpha(config, jobs, range(1), alphas=(-1.0, 1.0))[0] in (-1.0, 1.0)
    world = {"jobs": 2, "executors": 3, "observation": "choices", "horizon": "fixed", "horizon_seconds": 40}
    search = Search("sysgym/DagSched-v0", [world], frames=1, population=4, episodes=1, pool=0, states=(2, 3))
    first = search.point
    assert [progress.update for progress in search.run()] == [1] and not np.array_equal(search.point, first)
    tuned = tune_gated(JobsetGenerator(0.7, 4, 2), rounds=1, candidates=2, best=1, jobsets=1)
    assert np.isfinite(tuned.weights).all() and tuned.frames > 4


@pytest.mark.parametrize("model", MODELS)
def test_models_generate(model):
    jobs = generate(model, 20, 32, seed=1, estimates="tsafrir")
    assert len(jobs) == 20 and (jobs.run_time > 0).all() and jobs.processors.max() <= 32


@pytest.mark.parametrize("method", ["greedy", "beam", "anneal", "random", "agent"])
def test_exchanges_keep_the_value(method):
    for text in ("min(v0, v1) <= v0 + 0 * 3", "(v0 * 2) < ((v1 * 2) + 5)"):
        result = simplify(text, method, time_limit=0.5)
        assert check(result) and by_points(parse(text), parse(result.text))


@pytest.mark.parametrize("spaces", ["WIDE", "ROWS", "FORESEEN"])
@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "vtrace", "reinforce"])
def test_gradients_equal_those_of_torch(algorithm, spaces, monkeypatch):
    few = test_native.slot
    monkeypatch.setattr(test_native, "slot", lambda seed=0, **more: few(seed, 4, 4, **more))
    test_native.test_gradients_equal_those_of_torch(algorithm, {}, True, getattr(test_native, spaces))


def test_bytes_are_learned_and_played_without_their_empty_cells(monkeypatch):
    filled = test_native.filled_rollout
    monkeypatch.setattr(test_native, "filled_rollout", lambda spaces, *rest: filled(spaces, 4, 4))
    test_native.test_bytes_learn_and_play_without_their_empty_cells("relu")
