"""A policy that nobody has read, in a process of its own: how the evaluation starts, asks, limits and ends it.

A fresh process plays each scenario, so that nothing is carried from one to the next. It gets copies of observations and
masks and gives one action back; see `candidate` for what runs there, `sandbox` for what it gives up, `wire` for what is
said. Limits are held from here: a policy that does not answer in time is killed with everything it started, and what a
killed or crashed policy leaves of its scenario is played by doing nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sysgym.bench import wire
from sysgym.bench.guard import printable
from sysgym.core.errors import CheckpointError, InputFileError, PolicyError, require_range

LOADING_SECONDS = 120.0
"""Longest time that a policy may take to load; libraries such as torch take their time on a busy machine."""
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_CACHE_DIR": os.devnull,
}


@dataclass(frozen=True)
class Limits:
    """What a candidate may spend.

    Attributes:
        step_seconds: Wall time of one answer.
        cpu_seconds: Processor time of a scenario, loading included.
        memory_bytes: Writable memory.
    """

    step_seconds: float = 1.0
    cpu_seconds: int = 60
    memory_bytes: int = 2**30

    def __post_init__(self) -> None:
        require_range("step_seconds", self.step_seconds, 0.0, open_low=True)
        require_range("cpu_seconds", self.cpu_seconds, 1, whole=True)
        require_range("memory_bytes", self.memory_bytes, 2**26, whole=True)


class CandidateError(PolicyError):
    """The candidate cannot answer any more.

    Attributes:
        kind: "timeout" or "crash".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class IsolatedPolicy:
    """A policy behind the boundary; `open_isolated` makes one with the door that it has.

    Args:
        path: Its file, Python code or a stable-baselines3 zip.
        class_name: The class in the file; of a zip, the algorithm.
        observation_space: Of the environment.
        action_space: Of the environment.
        seed: For a class that takes one.
        limits: What it may spend.
    """

    def __init__(
        self,
        path: Path,
        class_name: str | None,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seed: int,
        limits: Limits,
    ) -> None:
        self.path, self.limits = path, limits
        self.fences: tuple[str, ...] = ()
        self.door = ""
        try:
            described = wire.describe_space(observation_space), wire.describe_space(action_space)
        except TypeError as error:
            raise PolicyError(f"{error}; evaluate it in this process, if you trust it") from error
        self._hello = {
            "file": str(path.resolve()),
            "class": class_name,
            "readable": readable_beside(path),
            "observation_space": described[0],
            "action_space": described[1],
            "seed": seed,
            "doors": ["act", "act_on_state", "act_batch"],
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
        }
        self._nursery = Nursery(class_name or "" if path.suffix == ".zip" else "")
        self._pipes: tuple[int, int] | None = None
        self._layout = b""
        self._fresh = False

    def begin(self, rows: NDArray[np.bool_], seeds: NDArray[np.int64]) -> None:
        """A scenario begins: in a fresh process, which does not learn which scenario it is."""
        del rows, seeds
        if not self._fresh:
            self.start()
        self._fresh = False

    def start(self) -> None:
        """Start a fresh process and wait until it has loaded the policy.

        Raises:
            InputFileError: The policy cannot be loaded; the message says why and where.
            CheckpointError: The same, of a stable-baselines3 model.
        """
        self.end()
        self._pipes, self._layout = self._nursery.play(), b""
        try:
            self._send(wire.frame(wire.HELLO, wire.encoded(self._hello)), LOADING_SECONDS)
            kind, payload = self._receive(LOADING_SECONDS)
        except CandidateError as error:
            raise InputFileError(self.path, f"the policy was not loaded: {error}") from error
        facts = json.loads(payload)
        if kind == wire.FAULT:
            self.end()
            if self.path.suffix == ".zip":
                raise CheckpointError(f"{self.path}: {printable(facts['text'])}")
            remedy = "; install it, or leave the import out" if facts["import"] else ""
            raise InputFileError(self.path, f"{printable(facts['text'])}{remedy}", line=facts["line"])
        self.door, self.fences = facts["door"], tuple(facts["fences"])
        self._fresh = True

    def ask(self, *question: Any) -> int | None:
        """The candidate's answer, or None where it is no integer.

        Raises:
            CandidateError: It crashed or took too long; its process is gone.
        """
        layout = wire.encoded(wire.layout_of(question))
        message = wire.frame(wire.STEP, wire.payload_of(question))
        if layout != self._layout:
            message, self._layout = wire.frame(wire.LAYOUT, layout) + message, layout
        self._send(message, self.limits.step_seconds)
        kind, payload = self._receive(self.limits.step_seconds)
        if kind == wire.CHOSEN and len(payload) == wire.ACTION.size:
            return int(wire.ACTION.unpack(payload)[0])
        if kind != wire.NOT_AN_ACTION:
            self._fail("crash", printable(self._fault_text(kind, payload)))
        return None

    def end(self) -> None:
        """End the process that plays, and whatever it started."""
        if self._pipes is not None:
            for pipe in self._pipes:
                os.close(pipe)
            self._pipes = None
            self._nursery.end()

    def close(self) -> None:
        """End everything; a policy that was closed cannot play any more."""
        self.end()
        self._nursery.close()

    def _fail(self, kind: str, message: str) -> NoReturn:
        self.end()
        raise CandidateError(kind, message)

    def _fault_text(self, kind: bytes, payload: bytes) -> str:
        if kind == wire.FAULT:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                facts = json.loads(payload)
                return f"{facts['text']}" + (f" ({self.path.name}, line {facts['line']})" if facts["line"] else "")
        return "the policy's process wrote to the pipe itself"

    def _pipe(self, which: int) -> int:
        if self._pipes is None:
            raise CandidateError("crash", "the policy's process has ended")
        return self._pipes[which]

    def _send(self, message: bytes, seconds: float) -> None:
        pipe, left = self._pipe(0), memoryview(message)
        deadline = time.monotonic() + seconds
        while left:
            try:
                left = left[os.write(pipe, left) :]
            except BlockingIOError:
                self._wait(pipe, select.POLLOUT, deadline, seconds)
            except BrokenPipeError:
                self._fail("crash", "the policy's process has ended")

    def _receive(self, seconds: float) -> tuple[bytes, bytes]:
        pipe, deadline = self._pipe(1), time.monotonic() + seconds
        length, kind = wire.HEAD.unpack(self._exactly(pipe, wire.HEAD.size, deadline, seconds))
        if length > wire.LARGEST_REPLY:
            self._fail("crash", "the policy's process wrote to the pipe itself")
        return bytes([kind]), self._exactly(pipe, length, deadline, seconds)

    def _exactly(self, pipe: int, count: int, deadline: float, seconds: float) -> bytes:
        found = b""
        while len(found) < count:
            self._wait(pipe, select.POLLIN, deadline, seconds)
            part = os.read(pipe, count - len(found))
            if not part:
                self._fail(
                    "crash", "the policy's process ended without an answer (memory or time used up, or it exited)"
                )
            found += part
        return found

    def _wait(self, pipe: int, event: int, deadline: float, seconds: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            self._fail("timeout", f"no answer within {seconds:g} s")


class Nursery:
    """The program that makes a candidate's processes, one after another: `candidate.main`, with its control socket.

    Args:
        algorithm: Of a stable-baselines3 zip, whose library is then imported once and not for every scenario.
    """

    def __init__(self, algorithm: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sysgym-candidate-")
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(__file__).with_name("candidate.py")), str(theirs.fileno()), algorithm],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._folder.name,
                env=_ENVIRONMENT,
                pass_fds=[theirs.fileno()],
            )
        self._finalizer = weakref.finalize(self, _end_nursery, self._control, self._process, self._folder)

    def play(self) -> tuple[int, int]:
        """Start a process; returns the pipes for questions and answers, neither of which blocks."""
        (their_questions, questions), (answers, their_answers) = os.pipe(), os.pipe()
        socket.send_fds(self._control, [wire.PLAY], [their_questions, their_answers])
        os.close(their_questions)
        os.close(their_answers)
        self._control.recv(1)
        os.set_blocking(questions, False)
        os.set_blocking(answers, False)
        return questions, answers

    def end(self) -> None:
        """End the process that plays."""
        self._control.sendall(wire.END)
        self._control.recv(1)

    def close(self) -> None:
        """End the program; happens by itself where the nursery is forgotten."""
        self._finalizer()


def _end_nursery(
    control: socket.socket, process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]
) -> None:
    control.close()  # it ends what plays, and itself
    process.wait()
    folder.cleanup()


class Watching(IsolatedPolicy):
    """One that sees observation and mask."""

    def act(self, observation: Any, action_mask: NDArray[np.int8]) -> int | None:
        """The candidate's answer."""
        return self.ask(observation, action_mask)


class Reading(IsolatedPolicy):
    """One that reads the state."""

    def act_on_state(self, state: Any) -> int | None:
        """The candidate's answer."""
        return self.ask(state)


def open_isolated(
    path: Path, class_name: str | None, env: gym.Env[Any, Any], seed: int = 0, limits: Limits | None = None
) -> Watching | Reading:
    """Start a candidate for an environment.

    Raises:
        InputFileError: It cannot be loaded.
        PolicyError: The environment has spaces that cannot be described.
    """
    arguments = (path, class_name, env.observation_space, env.action_space, seed, limits or Limits())
    watching = Watching(*arguments)
    watching.start()
    if watching.door != "act_on_state":
        return watching
    watching.close()  # its fresh process would wait for another kind of question
    reading = Reading(*arguments)
    reading.start()
    return reading


def readable_beside(path: Path) -> list[str]:
    """What a policy's file may read: itself, and what lies beside it under names that begin with its own stem."""
    place = path.resolve()
    return [str(entry) for entry in sorted(place.parent.iterdir()) if entry.name.startswith(place.stem)]
