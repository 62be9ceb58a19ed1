"""Between actors and learner: who waits for whom, and how old the weights may be that play a slot.

With theta_k the weights after k updates, slot k is played by

* `sync`: theta_k. Actors and learner take turns; the run repeats bit for bit.
* `lockstep`: theta_{k-1} (theta_0 for the first), in a thread of its own while the learner reads slot k - 1. The
  version is fixed when the slot is ordered, not when it happens to be played, so the run repeats bit for bit as well.
* `async`: the newest weights when the slot is begun, one version for all of it. Up to two slots are ordered ahead and
  are read in their order, so weights are never more than two updates behind; which, depends on the clock.

Several actors play a slot together, each its rows: parts are joined in the order of the actors, never in that of their
arrival, so a slow actor holds the others up and is never overtaken. In `async` each goes on to its next part by
itself; a slot is as old as its oldest part.

Slots are a ring of memory that is allocated once: one for the learner, and one for every slot that is ordered ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait

from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.actor import Weights
from sysgym.agents.playing.players import Played, Player, Snapshot
from sysgym.agents.rollout import Rollout

MODES = {"sync": 0, "lockstep": 1, "async": 2}
"""Slots that are ordered ahead; also the largest lag."""


class Pipeline:
    """Orders slots from actors ahead of the learner, as the mode allows.

    Args:
        players: The actors, in the order of their rows.
        rows: Which rows each of them plays.
        mode: One of `MODES`.
        spaces: What is seen and may be done.
        steps: T.
        weights: The newest.
        first: Those that play the first slot, where a resumed run had begun it with older ones.
        recoverable: Whether `snapshot` will be asked for.
    """

    def __init__(
        self,
        players: Sequence[Player],
        rows: Sequence[slice],
        mode: str,
        spaces: Spaces,
        steps: int,
        weights: Weights,
        first: Weights | None = None,
        recoverable: bool = False,
    ) -> None:
        self.players, self.rows, self.mode, self.newest = players, rows, mode, weights
        self._keeps = recoverable and mode != "sync"
        self._next_weights = first or weights
        self._ring = [Rollout.allocate(spaces, steps, rows[-1].stop) for _ in range(MODES[mode] + 1)]
        self._tickets = 0
        self._ordered: deque[tuple[Rollout, list[Future[Played]]]] = deque()
        self._last: list[Played] | None = None

    def next(self) -> Rollout:
        """The next slot, in the order in which they were ordered; it may be read until the next call.

        Raises:
            Exception: Whatever the environment or the policy raised, as it was raised.
        """
        if not self._ordered:
            self._order(self.newest if self.mode == "sync" else self._next_weights)
        slot, parts = self._ordered.popleft()
        done, _ = wait(parts, return_when=FIRST_EXCEPTION)  # not in turn: a slow actor must not hold back an error
        failed = [part for part in parts if part in done and part.exception() is not None]
        self._last = [part.result() for part in failed or parts]
        while len(self._ordered) < MODES[self.mode]:
            self._order(self.newest)
        return slot.joined(self.rows, [played.rollout for played in self._last])

    def publish(self, weights: Weights) -> None:
        """Let slots that are ordered (`async`: begun) from now on be played with these weights."""
        self.newest = weights

    def snapshot(self) -> list[Snapshot] | None:
        """Where the actors stood behind the slot that `next` gave last; None where that was not kept."""
        if self.mode == "sync" or (self._last is None and not self._ordered):
            return [player.snapshot() for player in self.players]
        kept = [played.behind for played in self._last or ()]
        return [behind for behind in kept if behind is not None] or None

    def next_weights(self) -> Weights:
        """The weights that play, or have played, the slot after the one that `next` gave last."""
        return self._next_weights if self.mode == "lockstep" else self.newest

    def close(self) -> None:
        """See `Player.close`."""
        for player in self.players:
            player.close()

    def _order(self, weights: Weights) -> None:
        slot = self._ring[self._tickets % len(self._ring)]
        self._tickets += 1
        self._next_weights = weights
        newest = self.mode == "async"  # one reference: version and arrays belong together
        chosen = (lambda: self.newest) if newest else (lambda: weights)
        parts = [
            player.order(slot.part(rows), chosen, self._keeps)
            for player, rows in zip(self.players, self.rows, strict=True)
        ]
        self._ordered.append((slot, parts))
