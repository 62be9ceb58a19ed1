"""Rates of gathering experience: in this process, in worker processes, without waiting for the slowest, on a kill."""

import os
import signal
import statistics
import threading
import time
import warnings

import gymnasium as gym
import numpy as np

import sysgym  # noqa: F401  registers the ids
from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.actor import Behaviour
from sysgym.agents.backends import Backend
from sysgym.agents.collector import Collector, Receiver
from sysgym.agents.networks import build_network
from sysgym.agents.playing.players import Role
from sysgym.agents.rollout import Rollout

UNEVEN = "ratios/Uneven-v0"


class Uneven(gym.Env):
    """A step takes 1 ms, and every twentieth, by the environment's own draw, 30 ms; it waits, and computes nothing."""

    observation_space = gym.spaces.Box(0.0, 1.0, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, dtype=np.float32), {}

    def step(self, action):
        time.sleep(0.03 if self.np_random.random() < 0.05 else 0.001)
        return np.zeros(4, dtype=np.float32), 0.0, False, False, {}


def acting(env_id, num_envs, arguments=None, **backend):
    """An actor with a network of 2x64 in the environments of a backend, and the function that ends it."""
    stage = Backend(**backend).open(env_id, num_envs, arguments or {})
    network = build_network(stage.spaces, choose_architecture(stage.spaces, "flat", (64, 64), "tanh", False), 0)
    role = Role(stage.rows[0], Behaviour(network), 0, 0, 0, stage.backend.min_batch)
    player = stage.player(role, 32, threaded=False)
    return player.actor, player.close


def slot_rate(env_id, num_envs, arguments=None, rounds=5, steps=32, **backend):
    """Steps a second of an actor, the median of some slots."""
    actor, close = acting(env_id, num_envs, arguments, **backend)
    slot, seconds = Rollout.allocate(actor.environments.spaces, steps, num_envs), []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        actor.collect(slot)
        seconds.append(time.perf_counter() - begun)
    close()
    return steps * num_envs / statistics.median(seconds[1:])


def seconds_of_a_kill():
    """What a slot takes in which a worker is killed, beyond what it takes otherwise; median of five."""
    actor, close = acting("CartPole-v1", 16, name="processes", workers=2)
    slot, plain, killed = Rollout.allocate(actor.environments.spaces, 64, 16), [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(12):
            if number % 2:
                os.kill(actor.environments._workers[number % 4 // 2].process.pid, signal.SIGKILL)
            begun = time.perf_counter()
            actor.collect(slot)
            (killed if number % 2 else plain).append(time.perf_counter() - begun)
    close()
    return statistics.median(killed) - statistics.median(plain[1:])


def collector_rate(clients=64, threads=4, steps=500):
    """States a second from client threads to an actor that answers at once, and back."""
    fields = {"observation": ((131,), "float32"), "mask": ((11,), "int8")}
    collector = Collector(fields, clients, [Receiver("actor", clients, clients // threads, 0.0, answers=("action",))])
    observation = np.zeros((clients // threads, 131), dtype=np.float32)
    mask = np.ones((clients // threads, 11), dtype=np.int8)

    def send(rows):
        for _ in range(steps):
            collector.send(rows, observation=observation, mask=mask).wait()
        collector.leave(rows)

    parts = np.split(np.arange(clients), threads)
    workers = [threading.Thread(target=send, args=(part,)) for part in parts]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    collector.serve("actor", lambda batch: {"action": batch.clients})
    for worker in workers:
        worker.join()
    return clients * steps / (time.perf_counter() - begun)


def backend_rows(rows):
    """Rows for the table of `make bench`."""
    simpy = {"observation": "compact", "engine": "simpy"}
    here = slot_rate("sysgym/JobSched-v0", 16, simpy)
    there = slot_rate("sysgym/JobSched-v0", 16, simpy, name="processes", workers=2)
    rows.append(("play JobSched compact, SimPy, 16 in this process, steps/s", here, None, ""))
    rows.append(("play JobSched compact, SimPy, 2 worker processes, steps/s", there, None, f"{there / here:.2f}x"))
    gym.register(UNEVEN, entry_point=Uneven)
    waiting = slot_rate(UNEVEN, 8, name="processes", workers=8)
    ready = slot_rate(UNEVEN, 8, name="processes", workers=8, min_batch=1)
    gym.registry.pop(UNEVEN)
    rows.append(("play uneven steps, 8 workers, waiting for all, steps/s", waiting, None, ""))
    rows.append(("play uneven steps, 8 workers, min_batch=1, steps/s", ready, None, f"{ready / waiting:.2f}x"))
    rows.append(("collector, 4 threads of 16 clients, states/s", collector_rate(), None, ""))
    lost = seconds_of_a_kill()
    rows.append(("slots/s where a worker is killed in each", 1 / lost, None, f"{lost:.2f} s lost, goal 2 s"))


if __name__ == "__main__":
    table = []
    backend_rows(table)
    for name, measured, _, beside in table:
        print(f"{name:60} {measured:12,.1f}  {beside}")
