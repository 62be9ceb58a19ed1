"""A receiver, the messages that wait for it, and the batches that it takes from them."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sysgym.agents.collector.windows import Fields
from sysgym.agents.settings import require_choice
from sysgym.core.errors import SettingError, require_range

if TYPE_CHECKING:
    from sysgym.agents.stepping.environments import Arrays


class Collected(Exception):  # noqa: N818, it ends a collection, which need not be an error
    """Raised where a client or a receiver cannot go on: the collector was stopped, or a receiver failed (the cause)."""


@dataclass(frozen=True)
class Receiver:
    """Who takes the states of a label.

    Attributes:
        label: Its name.
        batch_size: B, most states (or windows) of a batch.
        min_batch: Fewest of a batch that goes out before it is full, 1 to B.
        timeout: Seconds after which a batch goes out that has the minimum; None waits until it is full.
        timeout_mode: "deadline": the timeout counts from the first state of the batch; "gap": anew from each, as ELF
            did, so that a batch can take B times as long.
        history: H, states in a window.
        overlap: States that consecutive windows of a client share; None: 1, so that every transition is used once.
        cross_episode: Whether windows go on behind the end of an episode; `Batch.first` tells where one begins.
        takes: Whether a state (its fields by name) is for this label; None takes all.
        answers: Names of what is answered; without any, states are acknowledged at once.
        members: How many receivers take turns at the label's messages.
        capacity: Where states are only acknowledged: how many may wait before clients are held up; None: 4 B.

    Raises:
        SettingError: A value is out of range.
    """

    label: str
    batch_size: int
    min_batch: int = 1
    timeout: float | None = None
    timeout_mode: str = "deadline"
    history: int = 1
    overlap: int | None = None
    cross_episode: bool = False
    takes: Callable[[Mapping[str, Any]], bool] | None = None
    answers: tuple[str, ...] = ()
    members: int = 1
    capacity: int | None = None

    def __post_init__(self) -> None:
        require_range("batch_size", self.batch_size, 1, whole=True)
        require_range("min_batch", self.min_batch, 1, self.batch_size, whole=True)
        require_range("history", self.history, 1, whole=True)
        require_range("members", self.members, 1, whole=True)
        require_choice("timeout_mode", self.timeout_mode, ("deadline", "gap"))
        if self.timeout is not None:
            require_range("timeout", self.timeout, 0.0)
        if self.overlap is not None:
            require_range("overlap", self.overlap, 0, self.history - 1, whole=True)
        if self.capacity is not None:
            require_range("capacity", self.capacity, self.batch_size, whole=True)

    @property
    def shared(self) -> int:
        """The overlap with its default settled."""
        return min(1, self.history - 1) if self.overlap is None else self.overlap

    @property
    def limit(self) -> int:
        """The capacity with its default settled."""
        return 4 * self.batch_size if self.capacity is None else self.capacity


class Reply:
    """What the receivers answer to the states that were sent together."""

    def __init__(self, clients: NDArray[np.int64], sequences: NDArray[np.int64]) -> None:
        self.clients, self.sequences = clients, sequences
        self.answers: Arrays = {}
        self._expected = self._given = 0
        self._sealed = False
        self._error: BaseException | None = None
        self._there = threading.Event()

    @property
    def done(self) -> bool:
        """Whether all answers are there."""
        return self._there.is_set()

    def wait(self, timeout: float | None = None) -> Arrays:
        """Arrays (k, ...) by name, in the order of the clients that were sent; zero for those that were not asked.

        Raises:
            Collected: A receiver has failed; its error is the cause.
            TimeoutError: There is no answer yet.
        """
        if not self._there.wait(timeout):
            raise TimeoutError(f"no answer after {timeout:g} s")
        if self._error is not None:
            raise Collected(f"a receiver has failed: {self._error}") from self._error
        return self.answers

    def expect(self) -> None:
        """Another message waits for an answer."""
        self._expected += 1

    def seal(self) -> None:
        """No more messages are to come."""
        self._sealed = True
        self._settle()

    def give(self, places: NDArray[np.int64], answers: Mapping[str, NDArray[Any]]) -> None:
        """One message is answered."""
        for name, values in answers.items():
            if name not in self.answers:
                self.answers[name] = np.zeros((len(self.clients), *values.shape[1:]), dtype=values.dtype)
            self.answers[name][places] = values
        self._given += 1
        self._settle()

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        self._error = error
        self._there.set()

    def _settle(self) -> None:
        if self._sealed and self._given == self._expected:
            self._there.set()


@dataclass(eq=False)
class Message:
    """States or windows of clients that were sent together, for one label.

    Attributes:
        clients: (k,).
        sequences: (k,), number of the last state among those of its client.
        episodes: (k,), of the last state.
        states: (H, k, *shape) by field.
        lengths: (k,), states in each window.
        first: (H, k), whether a state begins an episode.
        places: (k,), of the clients in the reply.
        reply: Where the answer goes.
    """

    clients: NDArray[np.int64]
    sequences: NDArray[np.int64]
    episodes: NDArray[np.int64]
    states: Arrays
    lengths: NDArray[np.int64]
    first: NDArray[np.bool_]
    places: NDArray[np.int64]
    reply: Reply

    @property
    def order(self) -> tuple[int, int]:
        """Where it belongs when arrival does not count."""
        return int(self.sequences.max()), int(self.clients[0])

    def part(self, rows: NDArray[np.int64] | slice) -> Message:
        """Some of the rows, as a message of their own; the reply must expect it."""
        return Message(
            self.clients[rows],
            self.sequences[rows],
            self.episodes[rows],
            {name: array[:, rows] for name, array in self.states.items()},
            self.lengths[rows],
            self.first[:, rows],
            self.places[rows],
            self.reply,
        )


class Batch:
    """What a receiver gets: `size` rows at the beginning of memory that always has the stride of a full batch.

    `batch["field"]` is (size, *shape), or (H, size, *shape) for windows, time first.

    Attributes:
        size: Rows.
        clients: (size,), whose they are.
        sequences: (size,), number of the (last) state among those of its client.
        episodes: (size,), episodes of its client before this one.
        lengths: (size,), states in each window; the memory behind is zero.
        first: (H, size), whether a state begins an episode.
    """

    def __init__(self, inbox: Inbox, messages: list[Message]) -> None:
        self._inbox, self._messages = inbox, messages
        self.clients, self.sequences, self.episodes, self.lengths = (
            np.concatenate([getattr(message, name) for message in messages])
            for name in ("clients", "sequences", "episodes", "lengths")
        )
        self.size = len(self.clients)
        ends = list(itertools.accumulate(len(message.clients) for message in messages))
        rows = np.arange(self.size)
        if inbox.ordered:
            order = np.lexsort((self.clients, self.sequences))
            rows[order] = np.arange(self.size)
            for name in ("clients", "sequences", "episodes", "lengths"):
                setattr(self, name, getattr(self, name)[order])
        self._rows = np.split(rows, ends[:-1])
        self.first = inbox.first[:, : self.size]
        for message, where in zip(messages, self._rows, strict=True):
            self.first[:, where] = message.first
            for name, memory in inbox.memory.items():
                memory[:, where] = message.states[name]

    def __getitem__(self, field: str) -> NDArray[Any]:
        rows = self._inbox.memory[field][:, : self.size]
        return rows[0] if self._inbox.receiver.history == 1 else rows

    def answer(self, **answers: ArrayLike) -> None:
        """Answer every row, each in its place; once.

        Raises:
            SettingError: Other answers than the receiver's, or of another length.
        """
        expected = self._inbox.receiver.answers
        arrays = {name: np.asarray(values) for name, values in answers.items()}
        if set(arrays) != set(expected) or any(array.shape[:1] != (self.size,) for array in arrays.values()):
            given = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "nothing"
            raise SettingError(f"{given} was answered; expected {', '.join(expected)}, {self.size} of each")
        messages, self._messages = self._messages, []
        with self._inbox.lock:
            for message, where in zip(messages, self._rows, strict=False):
                message.reply.give(message.places, {name: array[where] for name, array in arrays.items()})


class Inbox:
    """Messages that wait for one member of a label.

    Args:
        fields: Shape and dtype of each field of a state.
        receiver: Whose rules decide when a batch goes out.
        lock: Held by whoever calls.
        ordered: Whether the order of (sequence, client) counts, and not that of arrival.

    Attributes:
        count: States that wait.
        changed: Notified when a batch may be ready.
        room: Notified when messages have been taken.
        memory: Of the batches, (H, B, *shape) by field.
    """

    def __init__(self, fields: Fields, receiver: Receiver, lock: threading.Lock, ordered: bool) -> None:
        self.receiver, self.ordered, self.count = receiver, ordered, 0
        self.lock = lock
        self.changed, self.room = threading.Condition(lock), threading.Condition(lock)
        window, size = receiver.history, receiver.batch_size
        self.memory: Arrays = {name: np.zeros((window, size, *shape), kind) for name, (shape, kind) in fields.items()}
        self.first = np.zeros((window, size), dtype=np.bool_)
        self._messages: deque[tuple[Message, float]] = deque()

    def post(self, message: Message, now: float) -> None:
        """Let a message wait here."""
        self._messages.append((message, now))
        self.count += len(message.clients)

    def take(self, now: float, mark: int, clients: int, draining: bool) -> tuple[list[Message], float | None]:
        """The messages of the next batch, taken out, if it may go; else how long to wait for it at most.

        Args:
            now: The time, as given to `post`.
            mark: Where the order counts: number of the states that all clients have sent.
            clients: How many may still send: more than they are, nobody waits for.
            draining: Whether no more states are to come.
        """
        ready, size = self._ready(mark)
        rule = self.receiver
        if ready and (size == rule.batch_size or draining or (self.ordered and rule.answers)):
            return self._taken(size, ready), None
        if self.ordered or rule.timeout is None or size < min(rule.min_batch, max(1, clients)):
            return [], None
        since = ready[0][1] if rule.timeout_mode == "deadline" else ready[-1][1]
        patience = since + rule.timeout - now
        return (self._taken(size, ready), None) if patience <= 0.0 else ([], patience)

    def _ready(self, mark: int) -> tuple[list[tuple[Message, float]], int]:
        """The next messages, and how many of their states the next batch holds."""
        if not self.ordered:
            size = min(self.count, self.receiver.batch_size)
            return list(itertools.islice(self._messages, size)), size
        self._messages = deque(sorted(self._messages, key=lambda item: item[0].order))
        last = mark
        if self.receiver.answers and self._messages:  # whoever waits for an answer cannot send what comes next
            last = min(mark, self._messages[0][0].order[0])
        ready = list(itertools.takewhile(lambda item: item[0].order[0] <= last, self._messages))
        return ready, min(sum(len(message.clients) for message, _ in ready), self.receiver.batch_size)

    def _taken(self, size: int, ready: list[tuple[Message, float]]) -> list[Message]:
        """The first states of the messages that are ready; the last message is divided where it does not fit."""
        taken = []
        for message, since in ready:
            self._messages.popleft()
            fits = min(size, len(message.clients))
            taken.append(message.part(slice(0, fits)) if fits < len(message.clients) else message)
            size, self.count = size - fits, self.count - fits
            if fits < len(message.clients):
                if self.receiver.answers:
                    message.reply.expect()
                self._messages.appendleft((message.part(slice(fits, None)), since))
            if not size:
                break
        return taken
