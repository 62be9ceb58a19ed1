"""What runs in a worker process: some of the environments, stepped on command into memory that both sides see.

A command that is played at every step is a single byte, its answer is empty, and everything that a step takes and
gives lies in `SharedStep`: nothing is pickled per step. Other commands (a snapshot, say) are pickled tuples.

A worker leaves SIGINT and SIGTERM to the process that started it, which may want to finish and save first. It ends when
its pipe does, and at once when that process is gone, even in the middle of a step.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import pickle
import signal
import traceback
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.stepping.environments import Environments, Recipe
from sysgym.core.errors import TrainingError
from sysgym.core.protocols import Slot
from sysgym.core.stopping import end_with_parent

STEP = b"s"
DONE = b""


class SharedStep:
    """One step of N environments in memory that processes share.

    The memory is a `RawArray`: multiprocessing unlinks its file as soon as it is mapped, so that nothing is left over
    however the processes end, which names in `multiprocessing.shared_memory` cannot promise.

    Args:
        spaces: What is seen and may be done.
        num_envs: N.
        memory: Of another `SharedStep` of the same arguments; None allocates.

    Attributes:
        actions: int64, (N,).
        slot: Observations, masks, rewards and flags of the step, see `Slot`.
        final: (N, *shape), last observations of the episodes that the step truncated.
        memory: What another process needs to see the same.
    """

    def __init__(self, spaces: Spaces, num_envs: int, memory: Any = None) -> None:
        layout: list[tuple[tuple[int, ...], Any]] = [
            ((num_envs,), np.int64),
            ((num_envs, *spaces.shape), spaces.dtype),
            ((num_envs, spaces.num_actions), np.int8),
            ((num_envs,), np.float64),
            ((num_envs,), np.bool_),
            ((num_envs,), np.bool_),
            ((num_envs, *spaces.shape), spaces.dtype),
        ]
        sizes = [-(-int(np.prod(shape)) * np.dtype(kind).itemsize // 64) * 64 for shape, kind in layout]
        self.memory = memory or multiprocessing.get_context("spawn").RawArray("b", sum(sizes))
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        arrays = [
            np.frombuffer(self.memory, dtype=kind, count=int(np.prod(shape)), offset=start).reshape(shape)
            for (shape, kind), start in zip(layout, starts, strict=True)
        ]
        self.actions: NDArray[np.int64] = arrays[0]
        self.slot = Slot(*arrays[1:6])
        self.final: NDArray[Any] = arrays[6]


def work(
    pipe: Connection, recipe: bytes, layout: tuple[Spaces, int, Any], rows: slice, first_row: int, stacks: str
) -> None:
    """Serve commands until the pipe ends.

    Args:
        pipe: Where commands come from and answers go.
        recipe: A `Recipe`, pickled.
        layout: Arguments of `SharedStep`.
        rows: Which of the environments are stepped here.
        first_row: Number of the first of all of them, for messages.
        stacks: File for the stack of a worker that is stuck, written on SIGUSR1.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1, open(stacks, "w"), all_threads=True)  # noqa: SIM115, PTH123  stays open
    end_with_parent()
    served = _Served(recipe, SharedStep(*layout), rows, first_row)
    try:
        while True:
            pipe.send_bytes(served.answer(pipe.recv_bytes()))
    except (EOFError, OSError):
        served.close()


class _Served:
    """The environments of a worker, made at the first command, so that what goes wrong then has somebody to hear it."""

    def __init__(self, recipe: bytes, shared: SharedStep, rows: slice, first_row: int) -> None:
        self.recipe, self.shared, self.rows, self.first_row = recipe, shared, rows, first_row
        self.slot = shared.slot.rows(rows)
        self.environments: Environments | None = None

    def answer(self, command: bytes) -> bytes:
        try:
            if command == STEP:
                self.step()
                return DONE
            name, *arguments = pickle.loads(command)
            return pickle.dumps(("value", getattr(self, name)(*arguments)))
        except Exception as error:  # whatever an environment raises belongs to the caller
            return pickle.dumps(("error", _portable(error), "".join(traceback.format_exception(error))))

    def make(self) -> None:
        recipe: Recipe = cloudpickle.loads(self.recipe)
        self.environments = recipe.make(self.rows.stop - self.rows.start, self.first_row + self.rows.start)

    def reset(self, seeds: NDArray[np.int64]) -> None:
        assert self.environments is not None
        self.environments.reset(seeds, self.slot.observations, self.slot.action_masks)

    def step(self) -> None:
        assert self.environments is not None
        self.environments.step_into(self.shared.actions[self.rows], self.slot)
        cut = np.flatnonzero(self.slot.truncated & ~self.slot.terminated)
        if len(cut):
            self.shared.final[self.rows][cut] = self.environments.final_observations(cut)

    def snapshot(self) -> dict[str, NDArray[Any]] | None:
        assert self.environments is not None
        return self.environments.snapshot()

    def restore(self, snapshot: dict[str, NDArray[Any]], observations: NDArray[Any]) -> bool:
        assert self.environments is not None
        return self.environments.restore(snapshot, observations)

    def close(self) -> None:
        if self.environments is not None:
            self.environments.close()


def _portable(error: Exception) -> Exception:
    """The exception, or one that says the same where it does not survive pickling."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception of a class that pickle cannot find, or that it builds wrongly
        said = TrainingError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            said.add_note(note)
        return said
    return error
