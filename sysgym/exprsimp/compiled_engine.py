"""The compiled engine: B episodes over flat arrays, stepped together.

All episodes share one arena, so that what is known of a term serves wherever it comes again. When the arena is full it
is emptied, and the expressions at hand are loaded again from their tables; nothing that can be seen depends on when.
Masks are long and nearly empty: where the same array is given again, only the places that were set are cleared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import copied_columns, read_only, restore_columns
from sysgym.core.events import EventKind, EventLog, event_kinds
from sysgym.core.protocols import Engine, Slot
from sysgym.exprsimp.dynamics import empty, make_world
from sysgym.exprsimp.episode import EpisodeConfig, ExpressionState
from sysgym.exprsimp.episodes import (
    UNKNOWN,
    Numbers,
    allocate,
    allocate_present,
    begin_rows,
    costs_after,
    load_rows,
    play_rows,
    show_rows,
)
from sysgym.exprsimp.metrics import episode_metrics
from sysgym.exprsimp.observation import spec_of
from sysgym.exprsimp.pool import ExpressionPool
from sysgym.exprsimp.rules.program import compile_rules
from sysgym.exprsimp.simulator import starting_expression

_SUBMIT, _REWRITE, _LENGTH = event_kinds(EventKind.SUBMIT, EventKind.REWRITE, EventKind.LENGTH)
_LEAST_CAPACITY = 1 << 14


class ExpressionKernel(Engine):
    """Compiled engine of B episodes.

    Args:
        config: Parameters.
        pool: Where expressions come from.
        reward: Number of a named reward.
        num_episodes: B.
    """

    def __init__(self, config: EpisodeConfig, pool: ExpressionPool, reward: int, num_episodes: int) -> None:
        self.config, self.pool, self.num_episodes = config, pool, num_episodes
        self.num_actions, self.observation_spec = config.num_actions, spec_of(config.max_nodes)
        rows, costs = config.max_nodes, config.costs
        self._numbers = Numbers(
            len(config.actions), rows, config.max_steps, config.limit, config.illegal_penalty, costs.look,
            costs.rewrite, costs.node, reward,
        )  # fmt: skip
        capacity = max(_LEAST_CAPACITY, 1 << (4 * num_episodes * rows - 1).bit_length())
        self._world = make_world(capacity, rows, compile_rules(config.normal), compile_rules(config.actions))
        self._episodes = allocate(num_episodes, rows, config.max_steps)
        self._present = allocate_present(num_episodes, rows, self.num_actions)
        self._begun = np.zeros(num_episodes, np.bool_)
        self._masks: NDArray[np.int8] | None = None

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`; `options["expression"]` as in `ExpressionSimulator.reset`."""
        pool = self.pool
        nodes, begin = pool.nodes, pool.begin
        drawn = np.array([pool.row(*pair) for pair in zip(seeds.tolist(), episodes.tolist(), strict=True)], np.int64)
        if options:
            nodes = starting_expression(self.config, pool, 0, 0, options).nodes
            begin, drawn = np.array([0, len(nodes)]), np.zeros(len(rows), np.int64)
        self._begun[rows] = False
        begun, stuck = 0, -1
        while begun < len(rows):
            begun = begin_rows(
                self._world, self._episodes, self._present, self._numbers, rows, begun, nodes, begin, drawn
            )
            self._begun[rows[:begun]] = True
            if begun < len(rows):
                assert begun != stuck, "an empty arena holds an expression"
                self._renew()
                stuck = begun

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        row = played = -1
        while row < self.num_episodes:
            row = play_rows(
                self._world, self._episodes, self._present, self._numbers, actions, active, max(0, row), slot.rewards,
                slot.terminated, slot.truncated,
            )  # fmt: skip
            if row < self.num_episodes:
                assert row != played, "an empty arena holds what a rewrite makes"
                self._renew()
                played = row
        self.observe(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        assert isinstance(slot.observations, np.ndarray)
        if self._masks is None or self._masks.ctypes.data != slot.action_masks.ctypes.data:
            self._masks = slot.action_masks  # kept, so that no other array can take its place in memory
            self._present.shown_count[:] = UNKNOWN
        show_rows(self._episodes, self._present, self._numbers, rows, slot.observations, slot.action_masks)

    def state(self, row: int) -> ExpressionState:
        """See `Engine.state`."""
        e, p = self._episodes, self._present
        count = int(p.legal_count[row])
        sizes, lengths = np.empty(count, np.int64), np.empty(count, np.int64)
        if not costs_after(self._world, e, p, row, sizes, lengths):
            self._renew()
            known = costs_after(self._world, e, p, row, sizes, lengths)
            assert known, "an empty arena holds what one expression's rewrites make"
        actions = p.legal[row, :count, 0].astype(np.int64) * self._numbers.rules + p.legal[row, :count, 1]
        (size, length), (best_size, best_length), (input_size, input_length) = (
            tuple(pair[row].tolist()) for pair in (e.now, e.best_cost, e.of_input)
        )
        return ExpressionState(
            read_only(e.table[row, : e.nodes[row]].copy()), size, length,
            read_only(e.best[row, : e.best_nodes[row]].copy()), best_size, best_length, input_size, input_length,
            int(e.steps[row]), float(e.seconds[row]), read_only(actions), read_only(sizes), read_only(lengths),
            self.num_actions - 1, read_only(e.trace[row, : e.rewrites[row]].copy()),
        )  # fmt: skip

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        e = self._episodes
        count = int(e.rewrites[row]) + 1
        times, costs = e.event_time[row, :count], e.event_cost[row, :count]
        numbers = np.arange(count)
        return EventLog(
            np.concatenate([[0.0, 0.0], np.repeat(times, 2)]),
            np.array([_SUBMIT, _LENGTH, *[_REWRITE, _LENGTH] * count], np.int8),
            np.concatenate([[0, 0], np.repeat(numbers, 2)]).astype(np.int64),
            np.concatenate([e.of_input[row], costs.ravel()]).astype(np.float64),
        )

    def costs(self, row: int) -> NDArray[np.int64]:
        """Size and length of every expression of an episode, (rewrites + 1, 2)."""
        return self._episodes.event_cost[row, : int(self._episodes.rewrites[row]) + 1].copy()

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        return episode_metrics(self.events(row))

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """See `Engine.snapshot`: the arena is not part of it."""
        return copied_columns(self._episodes) | {"begun": self._begun.copy()}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`."""
        self._begun[:] = snapshot["begun"]
        restore_columns(self._episodes, snapshot)
        self._renew()

    def _renew(self) -> None:
        """Empty the arena and load the expressions at hand."""
        empty(self._world)
        loaded = load_rows(self._world, self._episodes, self._present, self._numbers, self._begun)
        assert loaded, "an empty arena holds the expressions at hand"

    def __getstate__(self) -> dict[str, Any]:
        """Without the mask that was shown last: a copy shows its masks in memory of its own."""
        return self.__dict__ | {"_masks": None}
