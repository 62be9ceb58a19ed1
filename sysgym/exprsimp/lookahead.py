"""Looking ahead: the shortest way, over a few rewrites, to a smaller normal form; compiled.

A beam over the rewrites of an episode: every allowed rewrite of every state in the front, normal forms taken, the
smallest `width` new ones make the next front. It ends with the first layer that holds something smaller than the start.
What it finds serves as a heuristic of the environment, and as an example to a learner.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import SettingError
from sysgym.core.protocols import StatePolicy
from sysgym.exprsimp.arena import FULL
from sysgym.exprsimp.dynamics import World, empty, exchanged, load_table, make_world, normal_form, prepared, write_table
from sysgym.exprsimp.episode import EpisodeConfig, ExpressionState
from sysgym.exprsimp.kernel import rewrite
from sysgym.exprsimp.observation import count_occurrences
from sysgym.exprsimp.rules.program import compile_rules

_CAPACITY = 1 << 17
_ROOM = 1 << 13


@compiled
def _cost(world: World, term: int) -> int:
    """Size, then length, as one number."""
    return int((world.arena.size[term] << 32) + world.arena.length[term])


@compiled
def _expand(
    world: World, before: int, filled: int, states: NDArray[np.int64], seen: NDArray[np.int64],
    table: NDArray[np.int64], terms: NDArray[np.int64], occurrences: NDArray[np.int64],
) -> int:  # fmt: skip
    """Put what a rewrite makes of a state behind the `filled` ones; how many there are then, or `FULL` without room."""
    arena, memo, root = world.arena, world.memo, states[before, 0]
    count = prepared(world, root)
    if count == FULL:
        return FULL
    write_table(world, count, terms, table)
    count_occurrences(table, count, occurrences)
    for row in range(count):
        term = terms[row]
        for place in range(memo.begin[term], memo.end[term]):
            variant, size = memo.matches[place, 0], memo.matches[place, 1]
            if arena.size[root] + occurrences[row] * (size - arena.size[term]) > len(terms):
                continue
            made = rewrite(arena, world.actions, variant, term, memo.space)
            if made != FULL:
                made = exchanged(world, terms, table, count, row, made)
            if made != FULL:
                made = normal_form(world, made)
            if made == FULL:
                return FULL
            if seen[made] < 0 and filled < len(states):
                seen[made] = filled
                states[filled, 0], states[filled, 1] = made, before
                states[filled, 2], states[filled, 3] = row, world.actions.rule[variant]
                filled += 1
    return filled


@compiled
def shortest_way(
    world: World, nodes: NDArray[np.int64], max_nodes: int, width: int, depth: int, states: NDArray[np.int64],
    seen: NDArray[np.int64], way: NDArray[np.int64],
) -> int:  # fmt: skip
    """The rewrites that lead to something smaller.

    Args:
        world: Arena and rules; grows.
        nodes: int64 (n, 5), the table of the expression, in normal form.
        max_nodes: Nodes that an expression may have.
        width: Expressions that a layer keeps.
        depth: Layers.
        states: int64 (room, 4), scratch space: root, state before, row, rule.
        seen: int64 (capacity,), all -1: what was met; left as it comes.
        way: int64 (depth, 2), filled with row and rule of each rewrite.

    Returns:
        How many rewrites; 0 where nothing smaller was found, `FULL` without room.
    """
    start = load_table(world, nodes)
    if start == FULL:
        return FULL
    states[0, 0], states[0, 1] = start, -1
    seen[start] = 0
    table, terms = np.empty((max_nodes, 5), np.int64), np.empty(max_nodes, np.int64)
    occurrences, front, filled = np.empty(max_nodes, np.int64), np.zeros(1, np.int64), 1
    for layer in range(depth):
        first = filled
        for before in front:
            filled = _expand(world, int(before), filled, states, seen, table, terms, occurrences)
            if filled == FULL:
                return FULL
        if filled == first:
            return 0
        costs = np.empty(filled - first, np.int64)
        for state in range(first, filled):
            costs[state - first] = _cost(world, states[state, 0])
        order = np.argsort(costs, kind="mergesort")
        if costs[order[0]] < _cost(world, start):
            state = int(first + order[0])
            for at in range(layer, -1, -1):
                way[at, 0], way[at, 1] = states[state, 2], states[state, 3]
                state = int(states[state, 1])
            return layer + 1
        front = first + order[:width]
    return 0


class LookaheadPolicy(StatePolicy):
    """Follows the shortest way to something smaller, again and again, and stops where none is found.

    Args:
        config: The episode's rules and limits; the defaults of the environment when left out.
        width: Expressions that a layer keeps.
        depth: Rewrites ahead.
    """

    name = "lookahead"

    def __init__(self, config: EpisodeConfig | None = None, width: int = 16, depth: int = 5) -> None:
        self.config, self.width, self.depth = config or EpisodeConfig(), width, depth
        self._room = _room(self.config)
        self._planned: list[tuple[int, int]] = []
        self._expected = 0

    def reset(self) -> None:
        """Forget what was planned."""
        self._planned, self._expected = [], 0

    def act_on_state(self, state: ExpressionState) -> int:
        """The next rewrite of the plan; a new plan where the last one is done.

        Raises:
            SettingError: The episode has other rules than the policy plans with.
        """
        rules = len(self.config.actions)
        if state.stop % rules:  # it stands behind a whole number of rows
            raise SettingError(
                f"lookahead plans with {rules} rules, the episode has others; build LookaheadPolicy with the episode's "
                "EpisodeConfig"
            )
        if not self._planned or len(state.trace) != self._expected:
            self._planned = self.plan(state.nodes)
        if not self._planned:
            return state.stop
        row, rule = self._planned.pop(0)
        self._expected = len(state.trace) + 1
        action = row * rules + rule
        return action if action in state.actions else state.stop

    def plan(self, nodes: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Row and rule of every rewrite that leads from a table to something smaller; none where nothing is found."""
        way = np.empty((self.depth, 2), np.int64)
        world, states, seen = self._room
        for _ in range(2):
            count = shortest_way(world, nodes, self.config.max_nodes, self.width, self.depth, states, seen, way)
            seen[: world.arena.filled[0]] = -1
            if count != FULL:
                return [(row, rule) for row, rule in way[:count].tolist()]
            empty(world)
        return []


@lru_cache(maxsize=2)
def _room(config: EpisodeConfig) -> tuple[World, NDArray[np.int64], NDArray[np.int64]]:
    """Where all policies of a configuration search: what one has found out about a term serves the next."""
    world = make_world(_CAPACITY, 4 * config.max_nodes, compile_rules(config.normal), compile_rules(config.actions))
    return world, np.empty((_ROOM, 4), np.int64), np.full(_CAPACITY, -1, np.int64)
