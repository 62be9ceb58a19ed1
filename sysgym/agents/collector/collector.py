"""The collector: states of many clients, gathered into batches for receivers, and answers routed back.

This is the mechanism of ELF (Tian et al., NIPS 2017; its second version's `elf/comm`) for actors and learners of any
kind. Clients send states; every label that takes a state gets it, so one state can go to an actor and to a trainer. A
receiver of a label takes batches: full ones, or, after a timeout, partial ones that reach its minimum. What it answers
goes back to the client and the sequence number that it belongs to. A receiver without an answer acknowledges at once,
so that a trainer never holds its clients up.

ELF's faults, each of which a test holds away: the minimum is a number, not a flag; a partial batch lies in memory as
the same rows of a full one; the timeout counts from the first state, not anew from each; nothing is drawn from the
clock; nobody spins, and a client is a row of an array, not a thread; windows do not cross episodes; an unknown label is
an error.

>>> import threading
>>> collector = Collector(
...     {"observation": ((3,), "float32"), "reward": ((), "float64")}, clients=2,
...     receivers=[Receiver("actor", 2, answers=("action",)), Receiver("trainer", 2, history=3)],
... )
>>> actor = threading.Thread(
...     target=collector.serve, args=("actor", lambda batch: {"action": batch["observation"].argmax(axis=1)})
... )
>>> actor.start()
>>> for step in range(3):
...     seen = np.eye(3, dtype=np.float32)[[step, 2 - step]]
...     answer = collector.send([0, 1], observation=seen, reward=np.array([step, step])).wait()
>>> answer["action"]
array([2, 0])
>>> batch = collector.receive("trainer")
>>> batch["reward"].T
array([[0., 1., 2.],
       [0., 1., 2.]])
>>> collector.stop()
>>> actor.join()
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sysgym.agents.collector.inbox import Batch, Collected, Inbox, Message, Receiver, Reply
from sysgym.agents.collector.windows import Fields, Window, Windows
from sysgym.agents.settings import require_choice
from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.core.seeding import stream

__all__ = ["Batch", "Collected", "Collector", "Receiver", "Reply"]


class Collector:
    """Gathers states of N clients for the receivers of each label.

    Args:
        fields: Shape and dtype of each field of a state, by name.
        clients: N; they are numbered from 0.
        receivers: One for each label.
        routing: Which member of a label gets a message: "round_robin", or "random" by `seed`.
        deterministic: Whether batches shall not depend on who is faster: states are taken in the order of (sequence
            number, client), as soon as all clients that have not left have sent as many. Timeouts and minimums do not
            count then, and a client's messages always go to the same member.
        seed: Of random routing.

    Raises:
        SettingError: A value is out of range, a label is given twice, or two labels give the same answer.
    """

    def __init__(
        self,
        fields: Fields,
        clients: int,
        receivers: Sequence[Receiver],
        routing: str = "round_robin",
        deterministic: bool = False,
        seed: int = 0,
    ) -> None:
        require_range("clients", clients, 1, whole=True)
        require_choice("routing", routing, ("round_robin", "random"))
        self.receivers = {receiver.label: receiver for receiver in receivers}
        answers = [name for receiver in receivers for name in receiver.answers]
        if len(self.receivers) < len(receivers) or len(set(answers)) < len(answers):
            raise SettingError("two receivers have the same label or give the same answer; names must differ")
        self.fields, self.clients, self.deterministic = fields, clients, deterministic
        self._lock = threading.Lock()
        self._sequences = np.zeros(clients, dtype=np.int64)
        self._episodes = np.zeros(clients, dtype=np.int64)
        self._begins = np.ones(clients, dtype=np.bool_)
        self._here = np.ones(clients, dtype=np.bool_)
        self._inboxes = {
            label: [Inbox(fields, receiver, self._lock, deterministic) for _ in range(receiver.members)]
            for label, receiver in self.receivers.items()
        }
        self._windows = {
            label: Windows(fields, clients, receiver.history, receiver.shared, receiver.cross_episode)
            for label, receiver in self.receivers.items()
            if receiver.history > 1
        }
        self._turns = dict.fromkeys(self.receivers, 0)
        self._draws = {label: stream(seed, f"collector/{label}") for label in self.receivers}
        self._random = routing == "random"
        self._stopping = False
        self._error: BaseException | None = None
        self._waiting: weakref.WeakSet[Reply] = weakref.WeakSet()

    def send(
        self,
        clients: ArrayLike,
        labels: Sequence[str] | None = None,
        last: ArrayLike = False,
        **states: ArrayLike,
    ) -> Reply:
        """Send one state of each of some clients; they stay together where a batch has room for them.

        Args:
            clients: Numbers, (k,), each once.
            labels: Who shall get them; everybody unless given.
            last: Whether the state ends its client's episode, (k,) or one for all.
            states: An array (k, *shape) for each field. They are read until the reply is there.

        Returns:
            What the receivers will answer.

        Raises:
            UnknownNameError: A label does not exist.
            SettingError: A field is missing or of another shape, or there are no such clients.
            Collected: The collector has been stopped, or a receiver has failed.
        """
        who = np.atleast_1d(np.asarray(clients, dtype=np.int64))
        if not len(who) or who.min() < 0 or who.max() >= self.clients or len(np.unique(who)) < len(who):
            raise SettingError(f"clients are {who.tolist()}; give different numbers from 0 to {self.clients - 1}")
        ends = np.broadcast_to(np.asarray(last, dtype=np.bool_), who.shape)
        chosen = self._labels(labels)
        if set(states) != set(self.fields):
            raise SettingError(f"a state has the fields {', '.join(sorted(states))}; expected {', '.join(self.fields)}")
        arrays = {name: np.asarray(states[name], dtype=kind) for name, (_, kind) in self.fields.items()}
        for name, (shape, _) in self.fields.items():
            if arrays[name].shape != (len(who), *shape):
                raise SettingError(f"{name} has shape {arrays[name].shape}; expected {(len(who), *shape)}")
        with self._lock:
            self._require_open()
            self._sequences[who] += 1
            reply = Reply(who, self._sequences[who])
            for label in chosen:
                self._route(label, who, arrays, ends, reply)
            self._episodes[who[ends]] += 1
            self._begins[who] = ends
            reply.seal()
            self._waiting.add(reply)
            self._wake()
            for label in chosen:
                self._wait_for_room(label, who)
        return reply

    def receive(self, label: str, member: int = 0) -> Batch | None:
        """The next batch of a label; its memory is used again by the next call of the same member.

        Returns:
            The batch, or None when the collector has been stopped and everything has been received.

        Raises:
            UnknownNameError: The label does not exist.
            Collected: A receiver has failed.
        """
        (label,) = self._labels([label])
        inbox = self._inboxes[label][member]
        with self._lock:
            while True:
                if self._error is not None:
                    raise Collected(f"a receiver has failed: {self._error}") from self._error
                taken, patience = inbox.take(time.monotonic(), self._mark(), int(self._here.sum()), self._stopping)
                if taken:
                    inbox.room.notify_all()
                    return Batch(inbox, taken)
                if self._stopping:
                    return None
                inbox.changed.wait(patience)

    def serve(self, label: str, answer: Callable[[Batch], Mapping[str, ArrayLike] | None], member: int = 0) -> None:
        """Answer batch after batch until the collector has been stopped and everything has been received.

        Raises:
            Exception: Whatever `answer` raised; every waiting client and receiver gets it as the cause of `Collected`.
        """
        try:
            while (batch := self.receive(label, member)) is not None:
                answers = answer(batch)
                if self.receivers[label].answers:
                    batch.answer(**(answers or {}))
        except Collected:
            raise
        except BaseException as error:  # the clients, who would wait for ever, are told whatever it was
            self.fail(error)
            raise

    def leave(self, clients: ArrayLike) -> None:
        """Clients that send nothing more: nobody waits for them; when the last has left, the collector stops."""
        with self._lock:
            self._here[np.asarray(clients)] = False
            self._wake()
        if not self._here.any():
            self.stop()

    def stop(self) -> None:
        """Take no more states, and let receivers have the rest: batches of any size, windows of any length."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            for label, windows in self._windows.items():
                rest, every = windows.rest(), np.arange(self.clients)
                if len(rest.chosen):
                    self._post(label, rest, every, Reply(every, self._sequences))
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Let every waiting client and receiver, and whoever sends or receives from now on, know of an error."""
        with self._lock:
            self._error = self._error or error
            for reply in self._waiting:
                if not reply.done:
                    reply.fail(error)
            self._wake()

    def _labels(self, labels: Sequence[str] | None) -> Sequence[str]:
        chosen = list(self.receivers) if labels is None else labels
        for label in chosen:
            require_known("label", label, self.receivers)
        return chosen

    def _require_open(self) -> None:
        if self._error is not None:
            raise Collected(f"a receiver has failed: {self._error}") from self._error
        if self._stopping:
            raise Collected("the collector has been stopped: it takes no more states")

    def _route(
        self,
        label: str,
        who: NDArray[np.int64],
        arrays: Mapping[str, NDArray[Any]],
        ends: NDArray[np.bool_],
        reply: Reply,
    ) -> None:
        """Give a label the states that pass its filter, or the windows that they complete."""
        takes = self.receivers[label].takes
        passed = np.arange(len(who))
        if takes is not None:
            rows = ({name: array[row] for name, array in arrays.items()} for row in range(len(who)))
            passed = np.flatnonzero([takes(row) for row in rows])
        if not len(passed):
            return
        some = arrays if len(passed) == len(who) else {name: array[passed] for name, array in arrays.items()}
        if label in self._windows:
            window = self._windows[label].add(who[passed], some, ends[passed])
            window = window._replace(chosen=passed[window.chosen])
        else:
            kept = some if self.receivers[label].answers else {name: array.copy() for name, array in some.items()}
            first = self._begins[who[passed]][None]
            states = {name: array[None] for name, array in kept.items()}
            window = Window(passed, states, np.ones(len(passed), dtype=np.int64), first)
        if len(window.chosen):
            self._post(label, window, who, reply)

    def _post(self, label: str, window: Window, who: NDArray[np.int64], reply: Reply) -> None:
        """Put windows into the inbox of a member."""
        clients = who[window.chosen]
        message = Message(
            clients,
            self._sequences[clients],
            self._episodes[clients],
            window.states,
            window.lengths,
            window.first,
            window.chosen,
            reply,
        )
        inboxes, now = self._inboxes[label], time.monotonic()
        if not self.deterministic or len(inboxes) == 1:
            parts = [(inboxes[self._next_member(label)], message)]
        else:
            members = clients % len(inboxes)
            parts = [
                (inboxes[member], message.part(np.flatnonzero(members == member))) for member in np.unique(members)
            ]
        for inbox, part in parts:
            if self.receivers[label].answers:
                reply.expect()
            inbox.post(part, now)

    def _next_member(self, label: str) -> int:
        members = self.receivers[label].members
        if self._random:
            return int(self._draws[label].integers(members))
        self._turns[label] += 1
        return (self._turns[label] - 1) % members

    def _mark(self) -> int:
        """The sequence number up to which every client that is still there has sent its states."""
        if not self.deterministic or self._stopping or not self._here.any():
            return int(np.iinfo(np.int64).max)
        return int(self._sequences[self._here].min())

    def _wait_for_room(self, label: str, who: NDArray[np.int64]) -> None:
        """Hold a client up whose receiver only acknowledges and has fallen far behind; memory stays bounded."""
        receiver = self.receivers[label]
        if receiver.answers:
            return
        for inbox in self._inboxes[label]:
            while inbox.count > receiver.limit and not self._stopping and self._error is None:
                if self.deterministic and (self._sequences[who] <= self._mark()).any():
                    return  # the others wait for this client
                inbox.room.wait()

    def _wake(self) -> None:
        for inboxes in self._inboxes.values():
            for inbox in inboxes:
                inbox.changed.notify_all()
                if self._stopping or self._error is not None:
                    inbox.room.notify_all()
