"""A row network in compiled code chooses what the same policy chooses when it is asked at every decision."""

import numpy as np
import pytest

from sysgym.core.row_network import RowNetwork, best_row, weight_count
from sysgym.jobsched import replay
from sysgym.workloads import poisson_pareto

JOBS = poisson_pareto(700, 32, load=1.1, seed=4)  # more than 128 jobs wait at times
WIDTHS = np.array([16, 6, 1])


class Asked:
    """The network as a policy that is asked."""

    def __init__(self, network):
        self.network, self.scratch = network, [np.zeros(16, dtype=np.float32) for _ in range(2)]

    def act(self, observation, action_mask):
        count = int(np.count_nonzero(action_mask))
        return best_row(*self.network, observation[:count], *self.scratch)


class Playing(Asked):
    """The same, and it may be played without being asked."""

    @property
    def row_network(self):
        return self.network

    def act(self, observation, action_mask):
        raise AssertionError("it is played in compiled code")


@pytest.mark.parametrize("backfill", ["none", "easy"])
@pytest.mark.parametrize("commit", [True, False])
def test_schedules_are_equal(backfill, commit):
    weights = np.random.default_rng(5).standard_normal(weight_count(WIDTHS.tolist())).astype(np.float32)
    network = RowNetwork(weights, WIDTHS, False)
    rules = {"backfill": backfill, "commit": commit, "observation": "queue"}
    played = replay(JOBS, Playing(network), **rules)
    asked = replay(JOBS, Asked(network), **rules)
    np.testing.assert_array_equal(played.events.time, asked.events.time)
    np.testing.assert_array_equal(played.events.subject, asked.events.subject)


def test_the_simulator_asks_as_ever():
    network = RowNetwork(np.random.default_rng(6).standard_normal(109).astype(np.float32), WIDTHS, False)
    few = JOBS.take(slice(0, 150))
    rules = {"backfill": "easy", "commit": False, "observation": "queue"}
    simulated = replay(few, Asked(network), engine="simpy", **rules)
    np.testing.assert_array_equal(replay(few, Playing(network), **rules).start_time, simulated.start_time)
