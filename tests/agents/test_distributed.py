"""Actors on a real, local Ray."""

import os
import signal
import socket
import subprocess

import pytest

import sysgym.agents as agents
from sysgym.agents import distributed
from sysgym.agents.distributed import connect
from sysgym.agents.training import Training
from sysgym.core.errors import SettingError

pytestmark = pytest.mark.xdist_group("ray")
SMALL = {"num_envs": 6, "rollout_steps": 12, "actors": 2, "environment": {"truncate": True, "length": 5}}
RAY = SMALL | {"backend": "ray"}


def pid_of(ray, player):
    """Of the process of an actor."""
    return ray.get(player._actor.__ray_call__.remote(lambda actor: os.getpid()))


@pytest.mark.filterwarnings("ignore:.*there are . cores")
def test_an_actor_that_is_killed_in_mid_run_changes_nothing(local_ray, monkeypatch):
    """Two actors in lockstep; the weights are those of a run in threads, and each version was put once."""
    here = agents.train("toy/Cards-v0", "a2c", frames=12 * 72, mode="lockstep", **SMALL)
    training = Training("toy/Cards-v0", "a2c", frames=12 * 72, mode="lockstep", **RAY)
    put, references = [], []
    monkeypatch.setattr(local_ray, "put", lambda value, real=local_ray.put: put.append(1) or real(value))
    with pytest.warns(UserWarning, match="the Ray actor of environments 3 to 5 was lost; it begins anew"):
        for progress in training.run():
            if progress.update == 4:
                os.kill(pid_of(local_ray, training.pipeline.players[1]), signal.SIGKILL)
            references.append(progress.lag)
    assert references == [0] + [1] * 11
    assert training.policy().weights_sha256() == here.weights_sha256()
    assert len(put) == 12  # of the last two versions, one is never played


def test_a_run_on_ray_is_resumed_in_threads(local_ray, tmp_path):
    whole = agents.train("toy/Card-v0", "a2c", frames=6 * 72, **SMALL)
    first = Training("toy/Card-v0", "a2c", frames=6 * 72, output=tmp_path / "run", **RAY)
    steps = first.run()
    next(steps), next(steps), first._save(), steps.close()
    resumed = agents.train("toy/Card-v0", "a2c", frames=6 * 72, output=tmp_path / "run", resume=True, backend="threads")
    assert resumed.weights_sha256() == whole.weights_sha256()


def test_an_exception_on_ray_reaches_the_caller_with_its_cause(local_ray):
    with pytest.raises(ZeroDivisionError, match="divided by zero") as caught:
        agents.train("toy/Failing-v0", "a2c", frames=10_000, backend="ray", actors=2, num_envs=4, rollout_steps=8)
    assert "episode 2, step 1; its actions: [" in caught.value.__notes__[0]
    assert "in step" in str(caught.value.__cause__)


def test_more_actors_than_the_cluster_has_cpus_are_refused(local_ray):
    with pytest.raises(SettingError, match="3 CPUs are asked for, and the Ray cluster has 2: use at most as many"):
        agents.train("toy/Card-v0", "a2c", backend="ray", actors=3, num_envs=6)


@pytest.fixture
def unconnected(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **settings: pytest.fail("Ray itself was asked, which takes minutes"))


def test_an_address_that_nobody_listens_at_is_told_in_one_line(unconnected):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingError, match=f"no Ray cluster at '{address}' .*refused.*; begin one with `ray start"):
            connect(address, 1)
    with pytest.raises(SettingError, match="address is 'nowhere'; it must be 'host:port'"):
        connect("nowhere", 1)


def test_an_address_of_something_else_is_told_in_one_line(unconnected, monkeypatch):
    monkeypatch.setattr(distributed, "HEALTH_SECONDS", 2.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SettingError, match="something answers, but not as Ray within 2 s"):
            connect(f"127.0.0.1:{other.getsockname()[1]}", 1)


def test_a_cluster_that_asks_for_a_token_is_not_called_absent(unconnected, monkeypatch):
    """As clusters of `ray start` do since Ray 2.60."""
    refusal = subprocess.CalledProcessError(1, "ray", stderr=b"ray.exceptions.AuthenticationError: InvalidAuthToken")
    monkeypatch.setattr(socket, "create_connection", lambda *where: socket.socket())
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **settings: (_ for _ in ()).throw(refusal))
    with pytest.raises(
        SettingError, match="cluster at 'head:6379' asks for an authentication token; set RAY_AUTH_MODE"
    ):
        connect("head:6379", 1)


def test_whole_episodes_are_played_on_ray_too(local_ray):
    whole = {"frames": 200, "num_envs": 4, "environment": {"length": 5}}
    here = agents.train("toy/Cards-v0", "evolution", **whole)
    there = agents.train("toy/Cards-v0", "evolution", backend="ray", **whole)
    assert there.weights_sha256() == here.weights_sha256()


def test_settings_of_other_backends_are_refused():
    cases = {
        "address is 'auto'; only backend='ray' has one": {"address": "auto"},
        "min_batch is 2; an actor on Ray": {"backend": "ray", "min_batch": 2},
        "workers is 2; only backend='processes'": {"backend": "ray", "workers": 2},
    }
    for message, settings in cases.items():
        with pytest.raises(SettingError, match=message):
            agents.train("toy/Card-v0", "a2c", **settings)
