"""Searching a priority by returns: it improves, resumes, plays what it says, and refuses what it cannot."""

import numpy as np
import pytest

from sysgym import agents
from sysgym.agents import checkpoint
from sysgym.agents.search import Search
from sysgym.core.errors import CheckpointError, SettingError, UnknownNameError

BATCH = "sysgym/BatchSched-v0"
JOBS = {"model": "poisson_pareto", "jobs": 600, "processors": 32, "seed": 3, "load": 0.95}
WORLD = {"workload": JOBS, "observation": "queue", "commit": False, "sequence_length": 64}
SMALL = {"population": 6, "episodes": 4, "pool": 12, "hidden": 4}


def searched(tmp_path, frames, name="a", **arguments):
    return agents.train(
        BATCH, "cma", frames=frames, environment=WORLD, output=tmp_path / f"{name}.safetensors", **(SMALL | arguments)
    )


def test_it_beats_where_it_began(tmp_path):
    found = searched(tmp_path, 60_000, start=[0, 0, 0, 0, 0, 1.0])  # the largest first, which is bad
    engine = Search(BATCH, [WORLD], **SMALL)._games[0]
    network = found.row_network
    first = Search(BATCH, [WORLD], start=[0, 0, 0, 0, 0, 1.0], **SMALL).policy().row_network
    both = network._replace(weights=np.stack([network.weights, first.weights]))
    returns, decisions = engine.play_rows(both, np.full(8, 99, dtype=np.uint64), np.arange(8))
    assert returns[0].mean() > returns[1].mean() and decisions >= 2 * 8 * 64
    assert found.algorithm == "cma" and found.frames >= 60_000 and found.curve[-1]["mean_return"] < 0


def test_a_resumed_search_ends_in_the_same_weights(tmp_path):
    whole = searched(tmp_path, 20_000, "whole")
    searched(tmp_path, 8_000, "parts")
    parts = searched(tmp_path, 20_000, "parts", resume=True)
    np.testing.assert_array_equal(whole.row_network.weights, parts.row_network.weights)
    with pytest.raises(CheckpointError, match="no search with these settings"):
        searched(tmp_path, 30_000, "parts", resume=True, step=0.5)


def test_a_graph_network_improves_and_goes_on_where_it_stopped(tmp_path):
    """Most work first is bad; some generations do better, and the same whether they were interrupted or not."""
    world = {"executors": 4, "jobs": 4, "mean_gap": 20, "observation": "choices"}
    given = {"population": 8, "states": (3, 4), "start": (4.0, *[0.0] * 12, 1.0), "pool": 0, "averaged": True}
    given["frames"] = 30_000

    def begun(name, **more):
        return Search("sysgym/DagSched-v0", [world], output=tmp_path / name, **given, **more)

    whole, parts = begun("whole"), begun("parts")
    first = whole._search.mean
    for _ in whole.run():
        pass
    for progress in parts.run():
        if progress.update == 4:
            checkpoint.write(parts.output, parts.checkpoint())
            break
    resumed = begun("parts", resume=True)
    for _ in resumed.run():
        pass
    np.testing.assert_array_equal(whole.point, resumed.point)
    seeds, episodes = np.full(20, 99, dtype=np.uint64), np.arange(20)
    returns, _ = whole._searched.play(whole._games[0], np.stack([first, whole.point]), seeds, episodes)
    assert returns[1].mean() > returns[0].mean()


def test_a_linear_priority_is_linear(tmp_path):
    network = searched(tmp_path, 4_000, linear=True, start=[0, -0.5]).row_network
    assert network.widths.tolist() == [16, 2, 1]
    matrix, last = network.weights[:32].reshape(16, 2), network.weights[34:36]
    np.testing.assert_array_equal(matrix[:, 0], -matrix[:, 1])
    assert last.tolist() == [1.0, -1.0] and not network.weights[32:34].any()


def test_what_cannot_be_searched_is_refused(tmp_path):
    with pytest.raises(SettingError, match="plays networks itself"):
        agents.train("sysgym/JobSched-v0", "cma", frames=10)
    with pytest.raises(SettingError, match="observation='queue'"):
        agents.train(BATCH, "cma", frames=10, environment={"workload": JOBS, "sequence_length": 64})
    with pytest.raises(SettingError, match="leave num_envs out"):
        agents.train(BATCH, "cma", frames=10, environment=WORLD, num_envs=4)
    with pytest.raises(SettingError, match="must be even"):
        searched(tmp_path, 10, population=7)
    with pytest.raises(UnknownNameError):
        searched(tmp_path, 10, sigma=1.0)
    with pytest.raises(SettingError, match="17 weights"):
        searched(tmp_path, 10, start=[0.0] * 17)
