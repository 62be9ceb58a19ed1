"""Actor and learner side by side: which weights play what, and what happens where one of them fails."""

import threading
import time

import numpy as np
import pytest

import sysgym.agents as agents
from sysgym.agents.playing.pipeline import MODES
from sysgym.agents.playing.players import torch_threads
from sysgym.agents.training import Training
from sysgym.core.errors import SettingError

SMALL = {"num_envs": 8, "rollout_steps": 16}


@pytest.mark.parametrize("algorithm", agents.ALGORITHMS)
@pytest.mark.parametrize("mode", ["sync", "lockstep"])
def test_the_same_seed_gives_the_same_weights_whatever_torch_was_set_to(algorithm, mode):
    small = SMALL | ({"episodes_per_workload": 4} if algorithm == "reinforce" else {})
    hashes = []
    for ambient, seed in ((1, 0), (2, 0), (1, 1)):
        with torch_threads(ambient):
            policy = agents.train("toy/Cards-v0", algorithm, frames=1024, seed=seed, mode=mode, **small)
        hashes.append(policy.weights_sha256())
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.filterwarnings("ignore:.*there are . cores")
@pytest.mark.parametrize("mode", ["sync", "lockstep"])
def test_several_actors_give_the_same_weights_wherever_they_play(mode):
    several = {"frames": 1024, "mode": mode, "actors": 3, "num_envs": 8, "rollout_steps": 16}
    hashes = [
        agents.train("toy/Card-v0", "ppo", environment={"truncate": True}, **several, **backend).weights_sha256()
        for backend in ({}, {}, {"backend": "processes", "workers": 3})
    ]
    assert len(set(hashes)) == 1


def test_a_slot_of_several_actors_is_joined_in_their_order_not_in_that_of_their_arrival(monkeypatch):
    """The first actor is the slowest; every row holds what its own actor played."""
    training = Training("toy/Card-v0", "a2c", frames=1024, actors=3, environment={"truncate": True}, **SMALL)
    first = training.pipeline.players[0].actor
    step = first.environments.step_into
    first.environments.step_into = lambda actions, slot: time.sleep(0.002) or step(actions, slot)
    collect = [player.actor.collect for player in training.pipeline.players]
    parts = [[], [], []]
    for number, player in enumerate(training.pipeline.players):
        player.actor.collect = lambda part, number=number: parts[number].append(collect[number](part)) or part
    slot = training.pipeline.next()
    assert [part[0].actions.shape[1] for part in parts] == [2, 3, 3]
    assert np.array_equal(slot.actions, np.concatenate([part[0].actions for part in parts], axis=1))
    assert slot.episode_returns == [value for part in parts for value in part[0].episode_returns]
    finals = [np.concatenate(part[0].final_observations) for part in parts]
    columns = np.nonzero(slot.truncated)[1]
    for rows, final in zip(training.stage.rows, finals, strict=True):
        chosen = (rows.start <= columns) & (columns < rows.stop)
        assert len(final) and np.array_equal(slot.final_observations[0][chosen], final)
    training.pipeline.close()


def test_a_slow_actor_delays_the_others_and_the_lag_stays_bounded():
    training = Training("toy/Card-v0", "vtrace", frames=4096, mode="async", actors=2, **SMALL)
    slow = training.pipeline.players[1].actor.environments
    step = slow.step_into
    slow.step_into = lambda actions, slot: time.sleep(0.002) or step(actions, slot)
    assert max(progress.lag for progress in training.run()) <= MODES["async"]


def test_whole_episodes_are_played_by_one_actor():
    with pytest.raises(
        SettingError, match="actors is 2, min_batch None; evolution plays whole episodes together: use 1 actor"
    ):
        agents.train("toy/Cards-v0", "evolution", actors=2, **SMALL)


def lags_of(mode, frames=2048, **settings):
    seen = []
    agents.train("toy/Cards-v0", "vtrace", frames=frames, mode=mode, on_progress=seen.append, **SMALL, **settings)
    return [progress.lag for progress in seen]


def test_every_mode_keeps_its_lag():
    assert lags_of("sync") == [0] * 16
    assert lags_of("lockstep") == [0] + [1] * 15
    found = lags_of("async")
    assert found[0] == 0 and 0 < max(found) <= MODES["async"]


def test_the_lags_are_counted_in_the_checkpoint(tmp_path):
    training = Training("toy/Cards-v0", "vtrace", frames=1024, mode="lockstep", output=tmp_path / "run", **SMALL)
    list(training.run())
    assert training.history.lags == [1, 7]


def test_lockstep_plays_slot_k_with_the_weights_before_update_k():
    """By hand: the weights of two versions, alternating as the definition says."""
    training = Training("toy/Cards-v0", "a2c", frames=16 * 8 * 6, mode="lockstep", **SMALL)
    played = []
    behaviour = training.pipeline.players[0].actor.behaviour
    load = behaviour.load
    behaviour.load = lambda weights: played.append(weights.version) or load(weights)
    list(training.run())
    assert played[:6] == [0, 0, 1, 2, 3, 4]


def test_slots_do_not_share_memory_with_the_one_that_is_read():
    training = Training("toy/Cards-v0", "a2c", frames=1024, mode="async", **SMALL)
    pipeline = training.pipeline
    first = pipeline.next()
    copy = first.observations.copy()
    ordered = [promise for _, promises in pipeline._ordered for promise in promises]
    while not all(promise.done() for promise in ordered):
        time.sleep(0.001)
    assert np.array_equal(first.observations, copy)
    begun = [promise.result().rollout.observations[0] for promise in ordered]
    assert np.array_equal(begun[0], first.observations[-1])
    pipeline.close()


@pytest.mark.parametrize("mode", MODES)
def test_an_exception_in_an_environment_reaches_the_caller_with_its_place(mode):
    begun = time.perf_counter()
    with pytest.raises(ZeroDivisionError, match="divided by zero") as caught:
        agents.train("toy/Failing-v0", frames=10_000, mode=mode, num_envs=4, rollout_steps=8)
    assert time.perf_counter() - begun < 5.0
    (note,) = caught.value.__notes__
    assert "environment 0 of this run, seed" in note and "episode 2, step 1; its actions: [" in note
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("actor")]


def test_a_mode_that_does_not_exist_is_named():
    with pytest.raises(SettingError, match="mode is 'turbo'; it must be 'sync' or 'lockstep' or 'async'"):
        agents.train("toy/Cards-v0", mode="turbo", **SMALL)


def test_more_threads_than_cores_are_pointed_out(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.warns(UserWarning, match="3 threads are asked for, and there are 2 cores"):
        Training("toy/Cards-v0", mode="lockstep", threads=2, **SMALL)
