"""Environments in worker processes, for what Python itself has to step: SimPy simulators and other people's code.

The rows are dealt out to W processes that step theirs at the same time. Actions, observations, masks, rewards and
flags lie in shared memory (`worker.SharedStep`); a step costs each worker one byte through a pipe in both directions.
Every row plays what it would play in this process, so the numbers of a run do not depend on the backend.

A worker that is killed is noticed when its pipe ends, one that hangs by the watchdog. Either is replaced: the new one
puts its environments back where the slot began and plays the slot's actions again, so that a lost worker costs time and
changes nothing. Where that cannot be had, the run ends in one line.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, util
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from sysgym.agents.stepping.environments import Arrays, Environments, Recipe, part_of_copied
from sysgym.agents.stepping.worker import DONE, STEP, SharedStep, work
from sysgym.core.errors import CheckpointError, TrainingError
from sysgym.core.protocols import Slot

WATCHDOG_SECONDS = 5.0
"""How long a worker may take for one command before it counts as stuck: the only such limit there is."""
START_SECONDS = 120.0
"""The same for a process that begins, and for whatever it compiles at its first commands."""
REPLACEMENTS = 3
"""How often the workers of a slot are replaced before the run gives up."""
THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""What the libraries read that would otherwise start a thread for each core in every worker."""

MAKE = pickle.dumps(("make",))

_starting = threading.Lock()


class WorkerTraceback(Exception):  # noqa: N818, it is shown as the cause of an error and never raised by itself
    """The traceback of an exception that another process raised."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


@dataclass
class _Stand:
    """Where a worker's environments can be put back, and what they have done since.

    Attributes:
        snapshot: From `Environments.snapshot`; None before the first.
        observations: What was seen there.
        since: The commands since then, with the actions of a step.
    """

    snapshot: Arrays | None = None
    observations: NDArray[Any] | None = None
    since: list[tuple[bytes, NDArray[np.int64] | None]] = field(default_factory=list)


class _Lost(Exception):  # noqa: N818, it never leaves this file
    """A worker does not answer; the argument says why."""


class ProcessEnvironments(Environments):
    """N environments, stepped by worker processes.

    Args:
        recipe: How they are made.
        like: Environments of the same recipe, for their spaces.
        num_envs: N.
        workers: W, at most N.
        first_row: Number of the first among all of the run, for messages.
        watchdog: Seconds after which a worker counts as stuck.

    Attributes:
        replaced: How many workers had to be replaced so far.
    """

    native = False

    def __init__(
        self,
        recipe: Recipe,
        like: Environments,
        num_envs: int,
        workers: int,
        first_row: int = 0,
        watchdog: float = WATCHDOG_SECONDS,
    ) -> None:
        super().__init__(num_envs, like.observation_space, like.action_space)
        self.watchdog, self.replaced = watchdog, 0
        self.network, self.foreseen, self._splits = like.network, like.foreseen, not like.native
        self._shared = SharedStep(self.spaces, num_envs)
        edges = [num_envs * worker // workers for worker in range(workers + 1)]
        layout = (self.spaces, num_envs, self._shared.memory)
        pickled = cloudpickle.dumps(recipe)
        self._workers = [
            _Worker(pickled, layout, slice(first, end), first_row) for first, end in itertools.pairwise(edges)
        ]
        self._stands = [_Stand() for _ in self._workers]
        self._replacements = 0
        # before multiprocessing waits for processes that only end when their pipe does
        self._stop = util.Finalize(self, _stop_all, (self._workers,), exitpriority=20)
        with ExitStack() as closed:  # no process is left behind where one cannot begin
            closed.callback(self.close)
            for worker in self._workers:
                worker.start()
            self._all([MAKE] * workers)
            closed.pop_all()

    def reset(self, seeds: NDArray[np.int64], observations: NDArray[Any], masks: NDArray[np.int8]) -> None:
        """See `Environments.reset`."""
        commands = [_pickled("reset", seeds[worker.rows]) for worker in self._workers]
        self._stands = [_Stand(since=[(command, None)]) for command in commands]
        self._replacements = 0
        self._all(commands)
        observations[...], masks[...] = self._shared.slot.observations, self._shared.slot.action_masks

    def begin_slot(self) -> None:
        """See `Environments.begin_slot`."""
        snapshots = self._all([_pickled("snapshot")] * len(self._workers))
        for worker, stand, snapshot in zip(self._workers, self._stands, snapshots, strict=True):
            if snapshot is not None:
                stand.snapshot, stand.since = snapshot, []
                stand.observations = self._shared.slot.observations[worker.rows].copy()
        self._replacements = 0

    def step_into(self, actions: NDArray[np.int64], slot: Slot) -> None:
        """See `Environments.step_into`."""
        self._shared.actions[:] = actions
        kept = self._shared.actions.copy()
        for worker, stand in zip(self._workers, self._stands, strict=True):
            stand.since.append((STEP, kept[worker.rows]))
        self._all([STEP] * len(self._workers))
        done = self._shared.slot
        slot.observations[...], slot.action_masks[...] = done.observations, done.action_masks
        slot.rewards[:], slot.terminated[:], slot.truncated[:] = done.rewards, done.terminated, done.truncated

    def final_observations(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """See `Environments.final_observations`; of truncated episodes."""
        final: NDArray[Any] = self._shared.final[rows].copy()
        return final

    def snapshot(self) -> Arrays | None:
        """See `Environments.snapshot`.

        Environments in Python give what they would in one process, native ones a part for each worker.
        """
        parts = self._all([_pickled("snapshot")] * len(self._workers))
        if any(part is None for part in parts):
            return None
        if self._splits:
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {f"{number}/{name}": array for number, part in enumerate(parts) for name, array in part.items()}

    def restore(self, snapshot: Mapping[str, NDArray[Any]], observations: NDArray[Any]) -> bool:
        """See `Environments.restore`.

        Raises:
            CheckpointError: The snapshot is of another number of workers, and cannot be divided anew.
        """
        parts = self._parts(snapshot)
        rows = [observations[worker.rows] for worker in self._workers]
        self._stands = [_Stand(part, seen.copy()) for part, seen in zip(parts, rows, strict=True)]
        self._shared.slot.observations[...] = observations
        return all(self._all([_pickled("restore", part, seen) for part, seen in zip(parts, rows, strict=True)]))

    def _parts(self, snapshot: Mapping[str, NDArray[Any]]) -> list[Arrays]:
        """What of a snapshot each worker restores."""
        if self._splits and "lengths" in snapshot:
            return [part_of_copied(snapshot, worker.rows) for worker in self._workers]
        parts: list[Arrays] = [{} for _ in self._workers]
        for key, array in snapshot.items():
            number, _, name = key.partition("/")
            if not number.isdigit() or int(number) >= len(parts):
                break
            parts[int(number)][name] = array
        else:
            if all(parts):
                return parts
        raise CheckpointError(
            f"these environments were divided otherwise than among {len(parts)} worker processes; resume with the "
            "backend, the actors and the workers that the run began with"
        )

    def close(self) -> None:
        """See `Environments.close`."""
        self._stop()

    def _all(self, commands: Sequence[bytes]) -> list[Any]:
        """Have every worker carry out its command at the same time; what they answer, in their order."""
        answers: list[Any] = [None] * len(self._workers)
        lost: list[tuple[int, str]] = []
        waiting: dict[Any, int] = {}
        for number, command in enumerate(commands):
            try:
                self._workers[number].tell(command)
                waiting[self._workers[number].pipe] = number
            except _Lost as loss:
                lost.append((number, str(loss)))
        deadline = time.monotonic() + max(worker.patience(self.watchdog) for worker in self._workers)
        while waiting:
            ready = connection.wait(list(waiting), max(0.0, deadline - time.monotonic()))
            if not ready:
                lost += [(number, self._workers[number].stuck(self.watchdog)) for number in waiting.values()]
                break
            for pipe in ready:
                number = waiting.pop(pipe)
                try:
                    answers[number] = self._workers[number].answer()
                except _Lost as loss:
                    lost.append((number, str(loss)))
        for number, cause in sorted(lost):
            answers[number] = self._replace(number, cause, commands[number])
        return answers

    def _replace(self, number: int, cause: str, command: bytes) -> Any:
        """Start a lost worker anew, let it stand where it stood, and carry out the command again."""
        worker, stand = self._workers[number], self._stands[number]
        if command == MAKE:
            raise TrainingError(cause)
        while True:
            self._replacements += 1
            if self._replacements > REPLACEMENTS:
                raise TrainingError(f"{cause}; it was replaced {REPLACEMENTS} times in this slot, to no avail")
            if stand.snapshot is None and any(told == STEP for told, _ in stand.since):
                raise TrainingError(f"{cause}; its environments cannot be put back where they stood (no snapshot)")
            self.replaced += 1
            warnings.warn(f"{cause}; a new one plays its slot again", stacklevel=2)
            try:
                return self._play_again(worker, stand, command)
            except _Lost as loss:
                cause = str(loss)

    def _play_again(self, worker: _Worker, stand: _Stand, command: bytes) -> Any:
        worker.start()
        answer: Any = worker.ask(MAKE, self.watchdog)
        if stand.snapshot is not None and not worker.ask(
            _pickled("restore", stand.snapshot, stand.observations), self.watchdog
        ):
            raise TrainingError(
                f"{worker} was lost, and its environments do not repeat: the same seeds and actions led elsewhere"
            )
        for told, actions in stand.since:
            if actions is not None:
                self._shared.actions[worker.rows] = actions
            answer = worker.ask(told, self.watchdog)
        ended_with_it = bool(stand.since) and stand.since[-1][0] == command
        return answer if ended_with_it else worker.ask(command, self.watchdog)


class _Worker:
    """One process, its pipe, and the rows it steps."""

    def __init__(self, recipe: bytes, layout: tuple[Any, int, Any], rows: slice, first_row: int) -> None:
        self.recipe, self.layout, self.rows, self.first_row = recipe, layout, rows, first_row
        self.process: Any = None
        self.pipe: connection.Connection = None  # type: ignore[assignment]
        self.stacks = ""
        self._commands = 0

    def start(self) -> None:
        """Begin a process; the old one, if any, is ended."""
        self.stop()
        context = multiprocessing.get_context("spawn")
        handle, self.stacks = tempfile.mkstemp(prefix="sysgym-stacks-")
        os.close(handle)
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self.recipe, self.layout, self.rows, self.first_row, self.stacks)
        self.process = context.Process(target=work, args=arguments, name=f"environments-{self.rows.start}")
        with _one_thread_each():
            self.process.start()
        theirs.close()
        self._commands = 0

    def patience(self, watchdog: float) -> float:
        """Seconds for the next answer: more at the beginning, when modules are imported and kernels compiled."""
        return max(watchdog, START_SECONDS) if self._commands <= 4 else watchdog  # make, reset, snapshot, step

    def ask(self, command: bytes, watchdog: float) -> Any:
        """Carry out a command and wait for the answer."""
        self.tell(command)
        if not self.pipe.poll(self.patience(watchdog)):
            raise _Lost(self.stuck(watchdog))
        return self.answer()

    def tell(self, command: bytes) -> None:
        """Send a command."""
        self._commands += 1
        try:
            self.pipe.send_bytes(command)
        except OSError:
            raise _Lost(self.ended()) from None

    def answer(self) -> Any:
        """Read an answer that is there; raises what the worker raised."""
        try:
            answer = self.pipe.recv_bytes()
        except (EOFError, OSError):
            raise _Lost(self.ended()) from None
        if answer == DONE:
            return None
        kind, *content = pickle.loads(answer)
        if kind == "error":
            error, text = content
            error.__cause__ = WorkerTraceback(text)
            raise error
        return content[0]

    def ended(self) -> str:
        """How the process ended, in words."""
        self.process.join(1.0)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"{self} was killed by {signal.Signals(-code).name}"
        hint = ""
        if self._commands <= 1:
            hint = ": a script that trains with processes needs its `if __name__ == '__main__':`"
        return f"{self} ended by itself (exit code {code}){hint}"

    def stuck(self, watchdog: float) -> str:
        """What a process that does not answer was doing, in words."""
        place = ""
        if hasattr(signal, "SIGUSR1") and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGUSR1)
            self.process.join(0.2)
            place = _innermost(Path(self.stacks).read_text(errors="replace"))
        return f"{self} did not answer for {watchdog:g} s{place} (one that may take so long needs a larger watchdog)"

    def stop(self) -> None:
        """End the process, gently where it listens, and forget it."""
        if self.process is None:
            return
        self.pipe.close()
        if self.process.pid is not None:  # else it could not begin
            self.process.join(0.5)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()
        self.process = None
        Path(self.stacks).unlink(missing_ok=True)

    def __str__(self) -> str:
        first, last = self.first_row + self.rows.start, self.first_row + self.rows.stop - 1
        return f"the worker process of environments {first} to {last}"


def _stop_all(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.process is not None:
            worker.pipe.close()
    for worker in workers:
        worker.stop()


def _pickled(name: str, *arguments: Any) -> bytes:
    return pickle.dumps((name, *arguments))


def _innermost(stacks: str) -> str:
    """Where the main thread stands in what `faulthandler` wrote: the last stack, whose first line is the innermost."""
    lines = [line.strip() for line in stacks.rpartition("most recent call first")[2].splitlines() if "File" in line]
    return f" ({lines[0]})" if lines else ""


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that are started within it compute with one thread; they read it before any code of ours runs."""
    with _starting:
        before = {name: os.environ.get(name) for name in THREAD_LIMITS}
        os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
