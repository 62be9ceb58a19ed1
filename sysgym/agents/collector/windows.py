"""Windows: the last states of every client, cut so that each transition is used exactly once.

A window of H states holds H - 1 transitions. Consecutive windows of a client share `overlap` states, by default the one
state between two transitions. A window does not cross the end of an episode unless asked to: what is left there goes
out as a shorter window. (ELF kept one ring across episodes and could not tell an end from a truncation.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sysgym.agents.stepping.environments import Arrays

Fields = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and dtype of each field of a state, by name."""


class Window(NamedTuple):
    """Windows of some clients.

    Attributes:
        chosen: Places, among the clients that were given, of those that have one.
        states: Arrays (H, k, *shape) by field, time first; zero behind a window's length.
        lengths: int64, (k,), states in each.
        first: bool, (H, k), whether a state begins an episode.
    """

    chosen: NDArray[np.int64]
    states: Arrays
    lengths: NDArray[np.int64]
    first: NDArray[np.bool_]


class Windows:
    """The running windows of N clients.

    Args:
        fields: Shape and dtype of one state's fields.
        clients: N.
        history: H.
        overlap: States that consecutive windows share, below H.
        cross_episode: Whether a window goes on behind the end of an episode.
    """

    def __init__(self, fields: Fields, clients: int, history: int, overlap: int, cross_episode: bool) -> None:
        self.history, self.overlap, self.cross_episode = history, overlap, cross_episode
        self._states = {name: np.zeros((history, clients, *shape), kind) for name, (shape, kind) in fields.items()}
        self._first = np.zeros((history, clients), dtype=np.bool_)
        self._lengths = np.zeros(clients, dtype=np.int64)
        self._fresh = np.zeros(clients, dtype=np.int64)  # states since the last window
        self._begins = np.ones(clients, dtype=np.bool_)

    def add(
        self, clients: NDArray[np.int64], states: Mapping[str, NDArray[np.generic]], last: NDArray[np.bool_]
    ) -> Window:
        """Append a state to each of some clients.

        Args:
            clients: Which, (k,), each once.
            states: Arrays (k, *shape) by field.
            last: Whether the state is the last of its episode, (k,).

        Returns:
            The windows that are complete, as copies.
        """
        at = self._lengths[clients]
        for name, array in self._states.items():
            array[at, clients] = states[name]
        self._first[at, clients] = self._begins[clients]
        self._begins[clients] = last
        self._lengths[clients] += 1
        self._fresh[clients] += 1
        ended = last & (not self.cross_episode)
        complete = self._lengths[clients] == self.history
        # the end of an episode closes a window early, if it holds a transition that no window had
        rest = ended & ~complete & (self._fresh[clients] > 0) & (self._lengths[clients] > min(1, self.history - 1))
        window = self._cut(np.flatnonzero(complete | rest), clients)
        gone = clients[ended]
        self._lengths[gone] = self._fresh[gone] = 0
        return window

    def rest(self) -> Window:
        """The windows that are still incomplete but hold transitions that no window had; they end there."""
        every = np.arange(len(self._lengths))
        window = self._cut(np.flatnonzero((self._fresh > 0) & (self._lengths > min(1, self.history - 1))), every)
        self._lengths[:] = self._fresh[:] = 0
        return window

    def _cut(self, chosen: NDArray[np.int64], clients: NDArray[np.int64]) -> Window:
        which = clients[chosen]
        lengths = self._lengths[which]
        within = np.arange(self.history)[:, None] < lengths
        states = {}
        for name, array in self._states.items():
            cut = array[:, which]
            cut[~within] = 0
            states[name] = cut
        first = self._first[:, which] & within
        whole = which[lengths == self.history]  # a shorter one is the end of its episode, nothing follows it
        for array in (*self._states.values(), self._first):
            array[: self.overlap, whole] = array[self.history - self.overlap :, whole]
        self._lengths[which], self._fresh[which] = self.overlap, 0
        return Window(chosen, states, lengths, first)
