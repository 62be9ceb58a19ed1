"""Actors on Ray (Nishihara et al., "Real-time machine learning: the missing pieces", HotOS 2017): plain Ray, no RLlib.

An actor on Ray owns its environments and its copy of the policy and plays a whole part of a slot at one call: one
object comes back a slot, and the weights go out as one object a version. Nothing is called per step.

Ray restarts an actor that was lost but is told not to repeat calls (`max_task_retries=0`), because an actor that begins
anew stands elsewhere. The engine repeats the call itself, with what the actor needs to stand where it stood: the state
behind its last slot, streams included. So a lost actor costs a slot's time and changes nothing. Where environments
cannot be put back, new episodes begin, with a seed from (run, actor, slot).
"""

from __future__ import annotations

import importlib
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import cloudpickle
import torch

from sysgym.agents.actor import Weights
from sysgym.agents.playing.players import Played, Player, Role, Snapshot
from sysgym.agents.rollout import ARRAYS, Rollout
from sysgym.agents.stepping.environments import Recipe
from sysgym.core.errors import SettingError, TrainingError
from sysgym.core.seeding import stream_key

CONNECT_SECONDS = 5.0
"""How long an address may take to answer at all."""
HEALTH_SECONDS = 20.0
"""How long it may take to show that it is a Ray cluster; most of it loads Ray."""
RESTARTS = 10
"""How often one actor is restarted in a run."""
RESTART_SECONDS = 120.0
"""How long a restart may take."""

BESIDE = ("final_observations", "episode_returns", "version", "spent")
"""What comes back of a slot beside its arrays."""


def connect(address: str | None, needed: int) -> Any:
    """Ray, connected to a cluster or to one of this machine alone, which is started and ends with this process.

    Args:
        address: "host:port", "ray://host:port" or "auto"; None: this machine. A connection that exists is used.
        needed: CPUs that will be asked for at the same time.

    Returns:
        The module `ray`.

    Raises:
        SettingError: Ray is not installed, nothing answers at the address, or the cluster is too small.
    """
    try:
        ray: Any = importlib.import_module("ray")  # heavy, and an extra
    except ImportError as error:
        raise SettingError("backend='ray' needs Ray: pip install 'sysgym[ray]'") from error
    if not ray.is_initialized():
        quiet = {"logging_level": "ERROR", "log_to_driver": False}
        if address is None:
            cpus = max(os.cpu_count() or 1, needed)
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            _require_reachable(address)
            try:
                ray.init(address=address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise _unreachable(address, " ".join(str(error).split())) from error
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if cpus < needed:
        raise SettingError(f"{needed} CPUs are asked for, and the Ray cluster has {cpus}: use at most as many actors")
    return ray


def _require_reachable(address: str) -> None:
    """Find out within seconds what Ray itself would take minutes to find out."""
    if address == "auto":
        return
    place = address.removeprefix("ray://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise SettingError(f"address is {address!r}; it must be 'host:port', 'ray://host:port' or 'auto'")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise _unreachable(address, str(error)) from error
    if address.startswith("ray://"):
        return
    health = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", place]
    try:
        subprocess.run(health, timeout=HEALTH_SECONDS, capture_output=True, check=True)
    except subprocess.CalledProcessError as error:
        if b"AuthenticationError" in error.stderr:
            raise SettingError(
                f"the Ray cluster at {address!r} asks for an authentication token; set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as its owner tells you"
            ) from error
        raise _unreachable(address, "something answers, but it is no healthy Ray") from error
    except subprocess.TimeoutExpired as error:
        raise _unreachable(address, f"something answers, but not as Ray within {HEALTH_SECONDS:g} s") from error


def _unreachable(address: str, cause: str) -> SettingError:
    return SettingError(
        f"no Ray cluster at {address!r} ({cause}); begin one with `ray start --head`, or leave the address out to "
        "use this machine"
    )


class RemoteActor:
    """What runs on Ray: an actor, its environments, and which slot comes next.

    Args:
        pickled: A `Recipe` and a `Role`.
        steps: T.
    """

    def __init__(self, pickled: bytes, steps: int) -> None:
        torch.set_num_threads(1)
        recipe, self.role = cloudpickle.loads(pickled)
        environments = recipe.make(self.role.rows.stop - self.role.rows.start, self.role.rows.start)
        self.actor = self.role.cast(environments)
        self.rollout = Rollout.allocate(environments.spaces, steps, environments.num_envs)
        self.slot = 0

    def snapshot(self) -> Snapshot:
        """Where the actor stands."""
        stood: Snapshot = self.actor.snapshot()
        return stood

    def restore(self, slot: int, snapshot: Snapshot) -> bool:
        """Let it stand where it stood before a slot; False where new episodes begin instead."""
        self.slot = slot
        stood: bool = self.actor.restore(*snapshot)
        if not stood:
            self.actor.seed = stream_key(self.role.seed, f"environments/{self.role.rows.start}/{slot}") % 2**31
        return stood

    def play(self, slot: int, version: int, weights: dict[str, Any]) -> dict[str, Any] | None:
        """Play a slot; None where the actor was restarted and another slot would come next."""
        if slot != self.slot:
            return None
        self.slot += 1
        tensors = {name: torch.tensor(array) for name, array in weights.items()}
        self.actor.behaviour.load(Weights(version, tensors))
        filled = self.actor.collect(self.rollout)
        arrays = {name: getattr(filled, name) for name in ARRAYS}  # of whole episodes perhaps fewer steps than T
        beside = {name: getattr(filled, name) for name in BESIDE}
        return arrays | beside | {"behind": self.actor.snapshot()}


class Publisher:
    """Weights as objects of Ray: put once a version, for all actors.

    Args:
        ray: The module.
    """

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self._put: dict[int, Any] = {}
        self._lock = threading.Lock()

    def reference(self, weights: Weights) -> Any:
        """The object of these weights."""
        with self._lock:
            if weights.version not in self._put:
                arrays = {name: tensor.numpy(force=True) for name, tensor in weights.tensors.items()}
                self._put[weights.version] = self.ray.put(arrays)
                for old in sorted(self._put)[:-4]:  # more versions are never under way
                    del self._put[old]
            return self._put[weights.version]


class RayPlayer(Player):
    """An actor on Ray.

    Args:
        publisher: Of the weights.
        recipe: Of the environments.
        role: What it plays.
        steps: T.

    Attributes:
        restarted: How often it was lost so far.
    """

    def __init__(self, publisher: Publisher, recipe: Recipe, role: Role, steps: int) -> None:
        self.publisher, self.role, self.restarted = publisher, role, 0
        self._ray = publisher.ray
        role.behaviour.to("cpu")
        kind = self._ray.remote(RemoteActor).options(num_cpus=1, max_restarts=RESTARTS, max_task_retries=0)
        self._actor = kind.remote(cloudpickle.dumps((recipe, role)), steps)
        self._thread = ThreadPoolExecutor(1, "actor")
        self._slot, self._closed = 0, False
        self._stood: Snapshot = self._repeat(self._actor.snapshot.remote)

    def order(self, part: Rollout, weights: Callable[[], Weights], keep: bool) -> Future[Played]:
        """See `Player.order`."""
        return self._thread.submit(self._play, part, weights, keep)

    def snapshot(self) -> Snapshot:
        """See `Player.snapshot`."""
        return self._stood

    def restore(self, snapshot: Snapshot) -> bool:
        """See `Player.restore`."""
        self._stood = snapshot
        stood: bool = self._repeat(lambda: self._actor.restore.remote(self._slot, snapshot))
        return stood

    def close(self) -> None:
        """See `Player.close`."""
        self._closed = True
        if self._ray.is_initialized():
            self._ray.kill(self._actor)
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _play(self, part: Rollout, weights: Callable[[], Weights], keep: bool) -> Played:
        chosen, asked = weights(), time.perf_counter_ns()
        reference = self.publisher.reference(chosen)
        played = self._repeat(lambda: self._actor.play.remote(self._slot, chosen.version, reference))
        while played is None:
            if not self._repeat(lambda: self._actor.restore.remote(self._slot, self._stood)):
                warnings.warn(
                    f"{self} was lost, and its environments cannot be put back: new episodes begin", stacklevel=2
                )
            played = self._repeat(lambda: self._actor.play.remote(self._slot, chosen.version, reference))
        part = part.first(len(played["actions"]))
        for name in ARRAYS:
            getattr(part, name)[...] = played[name]
        part.begin(played["version"])
        for name in BESIDE:
            setattr(part, name, played[name])
        part.played = [(asked, time.perf_counter_ns())]  # another machine's clock says nothing here
        self._slot += 1
        self._stood = played["behind"]
        return Played(part, self._stood if keep else None)

    def _repeat(self, call: Callable[[], Any]) -> Any:
        """The answer of a call, which is made again while the actor is being restarted."""
        deadline = None
        while True:
            try:
                return self._ray.get(call())
            except self._ray.exceptions.RayTaskError as error:
                raise _cause(error) from error
            except self._ray.exceptions.RayActorError as error:
                if self._closed:
                    raise CancelledError from error
                if deadline is None:
                    self.restarted += 1
                    deadline = time.monotonic() + RESTART_SECONDS
                    warnings.warn(f"{self} was lost; it begins anew and plays its slot again", stacklevel=4)
                if isinstance(error, self._ray.exceptions.ActorDiedError) or time.monotonic() > deadline:
                    raise TrainingError(f"{self} was lost for good, after {self.restarted} restarts") from error
                time.sleep(0.1)

    def __str__(self) -> str:
        return f"the Ray actor of environments {self.role.rows.start} to {self.role.rows.stop - 1}"


def _cause(error: Any) -> BaseException:
    """What an environment or policy raised on Ray; its traceback there is the cause of what is raised here."""
    cause = error.cause
    try:
        return pickle.loads(pickle.dumps(cause)) if isinstance(cause, Exception) else TrainingError(str(error))
    except Exception:  # of a class that pickle cannot find here
        return TrainingError(f"{type(cause).__name__}: {cause}")
