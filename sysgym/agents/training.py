"""The training loop: have a slot played, learn from it, report, until the budget is spent.

A run with a budget of frames gives the same weights for the same seed on the same machine and package versions, in the
modes `sync` and `lockstep` of `playing.pipeline`, whether it was interrupted and resumed or not. The loop knows
algorithms as `Learner` only.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sysgym.agents import checkpoint as checkpoints
from sysgym.agents.actor import Weights
from sysgym.agents.algorithms import SEARCHES, algorithm_of
from sysgym.agents.checkpoint import SAVE_SECONDS, Checkpoint, facts_of
from sysgym.agents.defaults import check_cores, learner_kind, settled
from sysgym.agents.interruption import Interruption
from sysgym.agents.learner import Learner
from sysgym.agents.linear_start import begin_linear
from sysgym.agents.networks import Network, build_network
from sysgym.agents.playing.pipeline import MODES, Pipeline
from sysgym.agents.playing.players import Player, Role, torch_threads
from sysgym.agents.policy import TrainedPolicy
from sysgym.agents.request import Request
from sysgym.agents.search.search import Search
from sysgym.agents.settings import make_settings, require_choice
from sysgym.agents.telemetry.progress import History, Progress
from sysgym.agents.telemetry.stages import Span
from sysgym.core.errors import SettingError, TrainingError
from sysgym.core.files import filled
from sysgym.core.seeding import stream_key


def train(
    env_id: str,
    algorithm: str = "ppo",
    *,
    seed: int = 0,
    num_envs: int | None = None,
    frames: int | None = None,
    seconds: float | None = None,
    environment: Mapping[str, Any] | None = None,
    words: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    mode: str | None = None,
    threads: int | None = None,
    learner: str | None = None,
    device: str = "cpu",
    backend: str | None = None,
    actors: int | None = None,
    workers: int | None = None,
    min_batch: int | None = None,
    address: str | None = None,
    watchdog: float | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    **settings: Any,
) -> TrainedPolicy:
    """Learn a policy for an environment with discrete actions.

    Args:
        env_id: A registered id, also as Gymnasium's `module:EnvId`.
        algorithm: A name of `algorithms.ALGORITHMS`, or of `SEARCHES`, which take none of the arguments from
            `num_envs` on but budget, environment, output and settings.
        seed: Of weights, actions, minibatches and environments, each its own stream.
        num_envs: Environments that are stepped together; None takes 64 native ones, or 16 in Python.
        frames: Budget in environment steps, earlier runs included; the last slot may exceed it.
        seconds: Budget in seconds of training; whichever of both ends first. Neither: 500,000 frames.
        environment: Arguments of the environment; `${SYSGYM_DATA}` in them stands for the folder of that variable.
        words: The same as the checkpoint shall say them, where `environment` holds what only this machine can read,
            such as absolute paths; None: as `environment` says them.
        output: File of the checkpoint, written every 30 seconds, at the end, and where SIGINT or SIGTERM ends the run:
            it then finishes the update, saves, and raises `KeyboardInterrupt` or `SystemExit(0)`.
        resume: Whether to go on from `output`: weights, optimiser, environments, random streams, counters and scales
            stand as they stood. With the same budget of frames, `sync` and `lockstep` end in the same weights, bit
            for bit, as a run that was never interrupted. What is not given is as the checkpoint has it.
        mode: "sync" (default), "lockstep" or "async": how actor and learner share the time, see `playing.pipeline`.
        threads: Threads that learn, 1 unless given; playing takes one of its own. The weights do not depend on it.
        learner: "torch", "native" (compiled; multi-layer perceptrons on the processor, the same algorithm two to four
            times as fast), or "auto" (default): native where it can be and no hidden layer is wider than 256. A run
            goes on with either, but repeats bit for bit only with the one that began it.
        device: "cpu" or "cuda".
        backend: "threads" (default); "processes", which steps environments in worker processes: for those in Python,
            whose steps cost more than a message; "ray", where each actor is one of Ray's. It changes no number.
        actors: Among how many the environments are divided, 1 unless given; each plays its rows of every slot, at the
            same time as the others. Belongs to what must be the same for a run to repeat.
        workers: Worker processes of backend="processes"; one a core unless given.
        min_batch: Fewest environments (of an actor) whose observations are answered at once: where their steps take
            unequally long, the policy need not wait for the slowest. Such a run does not repeat bit for bit.
        address: Of a Ray cluster, as `ray.init` takes it; this machine unless given.
        watchdog: Seconds after which a worker process that does not answer is replaced, 5 unless given: more than a
            step of its environments may take.
        on_progress: Called after every update.
        settings: Settings of the algorithm, such as those of `ppo.PPOSettings`.

    Returns:
        The policy, acting greedily.

    Raises:
        UnknownNameError: The environment, algorithm or a setting does not exist.
        SettingError: A value is out of range, or the environment does not suit an agent.
        TrainingError: A reward, observation or gradient is not finite; `output` keeps the last good checkpoint.
        CheckpointError: `output` cannot be resumed from.
        OutputError: `output` cannot be written.
    """
    given = locals() | settings  # the signature is the only list of the arguments here; `Request` knows them again
    del given["settings"], given["on_progress"]
    training = _search(**given) if algorithm in SEARCHES else Training(**given)
    for progress in training.run():
        if on_progress is not None:
            on_progress(progress)
    return training.policy()


def _search(
    env_id: str, algorithm: str, *, environment: Mapping[str, Any] | None, device: str, watchdog: float | None,
    **arguments: Any,
) -> Search:  # fmt: skip
    del watchdog  # there is no worker process to watch
    foreign = ("num_envs", "mode", "threads", "learner", "backend", "actors", "workers", "min_batch", "address")
    refused = [name for name in foreign if arguments.pop(name) is not None]
    if refused or device != "cpu":
        raise SettingError(
            f"algorithm {algorithm!r} searches in one compiled loop; leave {', '.join(refused) or 'device'} out"
        )
    return Search(env_id, [environment or {}], **arguments)


class Training:
    """A training run as an object, for callers that want to watch or stop it; arguments are those of `train`.

    >>> training = Training("CartPole-v1", frames=2048)
    >>> [progress.frames for progress in training.run()]
    [1024, 2048]
    """

    def __init__(self, env_id: str, algorithm: str = "ppo", **arguments: Any) -> None:
        kind = algorithm_of(algorithm)
        request = Request.of(env_id, algorithm, arguments)
        earlier = request.earlier()
        if earlier is not None:
            request = request.completed(earlier)
        self.env_id, self.algorithm, self.seed = env_id, algorithm, request.seed
        self.budget, self.output, self.history = request.budget, request.output, History()
        self.environment = request.described_environment
        self.mode, self.threads = request.mode or "sync", request.threads or 1
        require_choice("mode", self.mode, tuple(MODES))
        chosen = make_settings(kind.settings, request.settings)
        self.backend = request.gathering()
        ahead = self.mode != "sync"
        here = self.backend.actors if self.backend.name != "ray" else 0
        check_cores(self.threads + here if ahead else max(self.threads, here))
        self.stage = self.backend.open(env_id, request.num_envs, filled(dict(request.environment or {})))
        self.settings, self.architecture = settled(chosen, self.stage.like)
        self.spaces = self.architecture.played(self.stage.spaces)
        if self.settings.whole_episodes:
            self.backend.require_together(algorithm)
        self.network = self._beginning().to(request.device)
        self.learner_kind = learner_kind(request.learner or "auto", kind, self.network)
        self.learner: Learner[Any] = kind.learner(self.learner_kind)(
            self.network, self.settings, self.seed, self.threads
        )
        if earlier is None:
            with torch_threads(1), threadpool_limits(1, "blas"):
                self.learner.prepare(env_id, self.environment)
        first = self._restore(earlier) if earlier is not None else None
        self.pipeline = Pipeline(
            self._players(earlier),
            self.stage.rows,
            self.mode,
            self.stage.spaces,
            self.settings.rollout_steps,
            self._weights(),
            first,
            self.output is not None,
        )

    def run(self) -> Iterator[Progress]:
        """Play and learn until the budget is spent; yields after every update. A run is run once.

        Raises:
            TrainingError: A reward, observation or gradient is not finite.
            OutputError: The checkpoint cannot be written.
        """
        resumed_at = self.history.update
        try:
            with Interruption() if self.output is not None else nullcontext(None) as interruption:
                # small products gain nothing from the library's own threads, and would fight ours
                with threadpool_limits(1, "blas"):
                    yield from self._updates(interruption)
                if self.history.update > resumed_at or not resumed_at:  # what was finished stays the same file
                    self._save()
            if interruption is not None:
                interruption.end_run()
        finally:
            self.pipeline.close()

    def policy(self) -> TrainedPolicy:
        """The policy as it stands, acting greedily."""
        return TrainedPolicy(self.checkpoint(resumable=False))

    def checkpoint(self, *, resumable: bool = True) -> Checkpoint:
        """Weights and facts as they stand, and what a resumed run needs."""
        facts = facts_of(self, self.algorithm, "sysgym", "gymnasium", "numpy", "torch")
        weights = self.network.state_dict()
        tensors = {f"weights/{name}": value.numpy(force=True).copy() for name, value in weights.items()}
        stood = self.pipeline.snapshot() if resumable else None
        if stood is not None:
            learned, values = self.learner.state()
            first = self.pipeline.next_weights()
            parts: dict[str, Mapping[str, Any]] = {"learner": learned}
            parts |= {f"actors/{number}": arrays for number, (arrays, _) in enumerate(stood)}
            if first.version < self.history.update:
                parts["behaviour"] = {name: value.numpy(force=True) for name, value in first.tensors.items()}
            tensors |= {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
            facts["training"] = {
                "num_envs": self.stage.num_envs,
                "backend": self.backend.name,
                "workers": self.stage.workers or None,
                "min_batch": self.backend.min_batch,
                "mode": self.mode,
                "threads": self.threads,
                "learner_kind": self.learner_kind,
                "learner": values,
                "actors": self.backend.actors,
                "stood": [values for _, values in stood],
                "behaviour": first.version,
                "history": dataclasses.asdict(self.history),
            }
        return Checkpoint(facts, tensors)

    def _updates(self, interruption: Interruption | None) -> Iterator[Progress]:
        history, share = self.history, self.budget.share(self.history)
        frames_before, seconds_before = history.frames, history.seconds
        started = saved = time.perf_counter()
        while share < 1.0 and not (interruption and interruption.received):
            update = self._update(share)
            now = time.perf_counter()
            history.seconds = seconds_before + now - started
            history.count_stages(update.stages)
            share, share_before = self.budget.share(history), share
            history.extend_curve(share, share_before)
            if now - saved > SAVE_SECONDS:
                self._save()
                saved = now
            yield Progress(
                share,
                history.update,
                history.frames,
                history.seconds,
                (history.frames - frames_before) / (now - started),
                history.episodes,
                history.mean_return,
                update.lag,
                update.waited / 1e9,
                update.stages["learn"] / 1e9,
                update.metrics,
                update.frames,
                update.stages,
                update.spans,
                tuple(history.lags),
                dict(history.stages),
            )

    def _update(self, share: float) -> _Update:
        asked = time.perf_counter_ns()
        try:
            rollout = self.pipeline.next()
            played = time.perf_counter_ns()
            rollout.check_finite()
            with torch_threads(1):
                metrics = self.learner.update(rollout, share)
        except TrainingError as error:
            kept = f"; {self.output} keeps the last good checkpoint" if self.output is not None else ""
            raise TrainingError(f"{self.env_id}, update {self.history.update + 1}: {error}{kept}") from error
        learned = time.perf_counter_ns()
        lag = self.history.update - rollout.version
        self.history.add(rollout.num_frames, rollout.episode_returns, lag)
        self.pipeline.publish(self._weights())
        published = time.perf_counter_ns()
        spans = [Span("learner", "wait", asked, played), Span("learner", "learn", played, learned)]
        spans.append(Span("learner", "publish", learned, published))
        spans += [Span(f"actor {number}", "play", *span) for number, span in enumerate(rollout.played)]
        playing = sum(ended - max(begun, asked) for begun, ended in rollout.played) if self.mode == "sync" else 0
        stages = rollout.spent | {"wait": max(0, played - asked - playing), "learn": learned - played}
        stages["publish"] = published - learned
        return _Update(lag, played - asked, rollout.num_frames, metrics, stages, spans)

    def _beginning(self) -> Network:
        """The network before it has learned anything."""
        with torch_threads(1):
            network = build_network(self.spaces, self.architecture, stream_key(self.seed, "network"))
            if self.settings.start:
                begin_linear(network, self.settings.start)
        return network

    def _weights(self) -> Weights:
        return Weights.of(self.network, self.history.update)

    def _players(self, earlier: Checkpoint | None) -> list[Player]:
        """Who plays, where an earlier run left off."""
        stage, group, begun = self.stage, 0, self.history.update
        if self.settings.whole_episodes:
            group = self.settings.rows_per_workload(stage.num_envs)
        players: list[Player] = []
        with ExitStack() as dismissed:  # none is left behind where one cannot begin
            for rows in stage.rows:
                cycle: int | None = getattr(self.settings, "workloads", None)
                role = Role(rows, self.learner.behaviour(), self.seed, begun, group, self.backend.min_batch, cycle)
                players.append(stage.player(role, self.settings.rollout_steps, threaded=self.mode != "sync"))
                dismissed.callback(players[-1].close)
            if earlier is not None:
                self._restore_players(players, earlier)
            dismissed.pop_all()
        return players

    def _restore_players(self, players: Sequence[Player], earlier: Checkpoint) -> None:
        stood = earlier.facts["training"]["stood"]
        stand = [
            player.restore((earlier.part(f"actors/{number}/"), stood[number])) for number, player in enumerate(players)
        ]
        if not all(stand):
            warnings.warn(
                f"{self.env_id} cannot be put back where it stood: its episodes begin anew, so the resumed run differs "
                "from one that was never interrupted",
                stacklevel=5,
            )

    def _save(self) -> None:
        if self.output is not None:
            checkpoints.write(self.output, self.checkpoint())

    def _restore(self, earlier: Checkpoint) -> Weights | None:
        """Weights, learner and counters of a checkpoint; returns the weights that play next, if they are older."""
        TrainedPolicy(earlier).check(self.stage.like.observation_space, self.stage.like.action_space)
        self.network.load_state_dict(_torch_tensors(earlier.part("weights/")))
        training = earlier.facts["training"]
        self.learner.restore(earlier.part("learner/"), training["learner"])
        self.history = History(**training["history"])
        behaviour = _torch_tensors(earlier.part("behaviour/"))
        return Weights(training["behaviour"], behaviour) if behaviour else None


class _Update(NamedTuple):
    """What came of an update, and what it took; see `Progress`. `waited` are nanoseconds."""

    lag: int
    waited: int
    frames: int
    metrics: dict[str, float]
    stages: dict[str, int]
    spans: list[Span]


def _torch_tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
