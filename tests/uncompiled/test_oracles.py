"""Tests of other folders that are small enough for the interpreter, as they stand there."""

import numpy as np
import pytest

from sysgym.learned_index import BPlusTreeMap, GappedIndex
from tests.agents.test_native import test_choices_are_played_as_the_network_says  # noqa: F401
from tests.exprsimp.test_episodes import (  # noqa: F401
    test_limits_of_nodes_and_steps,
    test_the_budget_of_modelled_time_binds,
    test_what_was_met_is_not_met_again,
)
from tests.jobsched.test_gpu import (  # noqa: F401
    test_a_blocked_head_blocks_fifo_and_not_greedy,
    test_a_gang_starts_whole_over_several_nodes,
    test_fgd_keeps_what_typical_tasks_need,
    test_least_attained_service_demotes,
    test_only_those_are_stopped_that_must_be,
    test_shares_of_one_gpu_run_together_and_whole_gpus_alone,
    test_the_shorter_stops_the_longer_which_pays_for_it,
)
from tests.learned_index.test_contract import (  # noqa: F401
    test_narrow_types,
    test_ranges_counts_and_find,
    test_times_and_byte_strings,
)
from tests.placement import test_execution, test_hybrid, test_parallel, test_pipedream
from tests.placement.test_objectives import (  # noqa: F401
    test_latency_of_example_a,
    test_max_load_of_example_a,
    test_pieces_that_wait_for_one_another_are_a_deadlock,
    test_serialised_pieces_wait_for_one_another,
)

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value")


def test_plans_equal_exhaustive_search():
    test_pipedream.test_chains_equal_exhaustive_search(0)
    test_hybrid.test_small_chains_equal_exhaustive_search_and_beat_their_special_cases(1)
    for objective in ("serial", "overlapped"):
        test_hybrid.test_chains_equal_brute_force.hypothesis.inner_test(5, objective)
    test_parallel.test_small_graphs_equal_exhaustive_search("diamond", 2, 300.0)


@pytest.mark.parametrize("seed", range(40))
def test_placements_run_as_simulated_under_any_rules(seed):
    test_execution.test_kernel_equals_simulator_bit_for_bit.hypothesis.inner_test(seed)


@pytest.mark.parametrize("structure", [GappedIndex, BPlusTreeMap])
@pytest.mark.parametrize("duplicates", ["overwrite", "keep"])
def test_maps_keep_what_is_put_and_forget_what_is_taken(structure, duplicates):
    """One key after another, in ascending runs and at random, so that leaves split, grow and run empty."""
    generator = np.random.default_rng(0)
    index = structure.build(np.arange(0, 900, 3, dtype=np.uint64), duplicates=duplicates)
    model = {key: place for place, key in enumerate(range(0, 900, 3))}
    for key in [*range(5000, 5600), *generator.integers(0, 2**40, 700).tolist()]:
        if key not in model:
            index.insert(key, len(model))
            model[key] = len(model)
    gone = sorted(model)[100:700]
    assert index.delete(np.array(gone, dtype=np.uint64)).all()
    kept = np.array(sorted(set(model) - set(gone)), dtype=np.uint64)
    assert index.get(kept).tolist() == [model[key] for key in kept.tolist()] and len(index) == len(kept)
    index._check()
