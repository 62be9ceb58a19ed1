"""The compiled moves of B episodes, row b of every array for episode b; the fast copy of `simulator`.

A move that finds the arena full says so and has changed nothing of its episode; `compiled_engine` empties the arena
and makes it again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import zeroed
from sysgym.core.compiled import uncounted, uncounted_inline
from sysgym.exprsimp.arena import FULL
from sysgym.exprsimp.dynamics import (
    World,
    exchanged,
    load_table,
    matched,
    normal_form,
    ordered,
    prepared,
    weigh_rows,
    write_table,
)
from sysgym.exprsimp.kernel import rewrite
from sysgym.exprsimp.observation import COLUMNS, count_occurrences, write_episode, write_terms
from sysgym.exprsimp.rewards import reward_of

UNKNOWN = -1
"""Number of the places shown of a mask that was never written."""


class Numbers(NamedTuple):
    """`EpisodeConfig` and the reward for compiled code."""

    rules: int
    max_nodes: int
    max_steps: int
    limit: float
    penalty: float
    look: float
    rewrite: float
    node: float
    reward: int


class Episodes(NamedTuple):
    """State of B episodes, row b for episode b; everything that decides how they go on.

    `nodes` counts the terms of `table`, `best_nodes` those of `best`; costs are pairs of size and length.
    """

    table: NDArray[np.int64]
    nodes: NDArray[np.int64]
    now: NDArray[np.int64]
    best: NDArray[np.int64]
    best_nodes: NDArray[np.int64]
    best_cost: NDArray[np.int64]
    least: NDArray[np.int64]
    of_input: NDArray[np.int64]
    steps: NDArray[np.int64]
    seconds: NDArray[np.float64]
    met: NDArray[np.int64]
    met_count: NDArray[np.int64]
    trace: NDArray[np.int64]
    rewrites: NDArray[np.int64]
    event_time: NDArray[np.float64]
    event_cost: NDArray[np.int64]


class Present(NamedTuple):
    """What follows from `Episodes` and the arena: terms by row, what is allowed, and what is shown of it.

    `legal` holds row, rule and variant of each rewrite that is allowed, ascending.
    """

    terms: NDArray[np.int64]
    legal: NDArray[np.int32]
    legal_count: NDArray[np.int64]
    seen: NDArray[np.int32]
    shown: NDArray[np.int32]
    shown_count: NDArray[np.int64]
    sizes: NDArray[np.int64]
    lengths: NDArray[np.int64]
    occurrences: NDArray[np.int64]


def allocate(episodes: int, rows: int, steps: int) -> Episodes:
    """Zeroed state."""
    return zeroed(
        Episodes, episodes, table=(rows, 5), best=(rows, 5), now=2, best_cost=2, least=2, of_input=2,
        met=2 * steps + 2, trace=(steps, 2), event_time=steps + 1, event_cost=(steps + 1, 2),
    )  # fmt: skip


def allocate_present(episodes: int, rows: int, actions: int) -> Present:
    """Space for what is found out."""
    return Present(
        terms=np.zeros((episodes, rows), np.int64),
        legal=np.empty((episodes, actions, 3), np.int32),  # memory is taken as it fills
        legal_count=np.zeros(episodes, np.int64),
        seen=np.zeros((episodes, rows + 1, COLUMNS), np.int32),
        shown=np.empty((episodes, actions), np.int32),
        shown_count=np.full(episodes, UNKNOWN, np.int64),
        sizes=np.zeros(rows, np.int64), lengths=np.zeros(rows, np.int64), occurrences=np.zeros(rows, np.int64),
    )  # fmt: skip


@uncounted_inline
def _settle(world: World, e: Episodes, p: Present, numbers: Numbers, b: int, count: int) -> None:
    """Make the expression in `memo.order` that of an episode."""
    arena, table, terms = world.arena, e.table[b], p.terms[b]
    write_table(world, count, terms, table)
    for row in range(count):
        p.sizes[row], p.lengths[row] = arena.size[terms[row]], arena.length[terms[row]]
    e.nodes[b] = count
    e.now[b, 0], e.now[b, 1] = p.sizes[count - 1], p.lengths[count - 1]
    _find_legal(world, e, p, numbers, b)
    write_terms(table, count, p.sizes, p.lengths, p.occurrences, p.seen[b])


@uncounted_inline
def _find_legal(world: World, e: Episodes, p: Present, numbers: Numbers, b: int) -> None:
    """Rewrites whose result is small enough and was not met before, by row, then rule."""
    memo, arena = world.memo, world.arena
    table, count, terms = e.table[b], e.nodes[b], p.terms[b]
    count_occurrences(table, count, p.occurrences)
    weigh_rows(world, table, count)
    now, found = arena.mark[terms[count - 1], 0], 0
    for row in range(count):
        term = terms[row]
        for place in range(memo.begin[term], memo.end[term]):
            match = memo.matches[place]
            if e.now[b, 0] + p.occurrences[row] * (match[1] - arena.size[term]) > numbers.max_nodes:
                continue
            change = memo.weights[row, 0] * (match[2] - arena.mark[term, 0])
            change += memo.weights[row, 1] * (match[3] - arena.mark[term, 1])
            if not _was_met(e, b, now + change):
                legal = p.legal[b, found]
                legal[0], legal[1], legal[2] = row, world.actions.rule[match[0]], match[0]
                found += 1
    p.legal_count[b] = found


@uncounted_inline
def _was_met(e: Episodes, b: int, mark: int) -> bool:
    known = False
    for old in range(e.met_count[b]):
        known |= e.met[b, old] == mark
    return known


@uncounted_inline
def _meet(e: Episodes, b: int, mark: int) -> None:
    if not _was_met(e, b, mark):
        e.met[b, e.met_count[b]] = mark
        e.met_count[b] += 1


@uncounted_inline
def _write_down(e: Episodes, b: int) -> None:
    """The event of the expression at hand, and whether it is the best."""
    at = e.rewrites[b]
    size, length = e.now[b, 0], e.now[b, 1]
    e.event_time[b, at] = e.seconds[b]
    e.event_cost[b, at, 0], e.event_cost[b, at, 1] = size, length
    better = size < e.best_cost[b, 0] or (size == e.best_cost[b, 0] and length < e.best_cost[b, 1])
    if at == 0 or better:
        e.best_cost[b, 0], e.best_cost[b, 1] = size, length
        e.best_nodes[b] = e.nodes[b]
        for row in range(e.nodes[b]):
            for column in range(5):
                e.best[b, row, column] = e.table[b, row, column]
    if at == 0:
        e.least[b, 0], e.least[b, 1] = size, length
    e.least[b, 0], e.least[b, 1] = min(e.least[b, 0], size), min(e.least[b, 1], length)


@uncounted_inline
def _begin_row(world: World, e: Episodes, p: Present, numbers: Numbers, b: int, nodes: NDArray[np.int64]) -> bool:
    """Begin an episode with a table; False without room, and nothing has changed."""
    loaded = load_table(world, nodes)
    if loaded == FULL:
        return False
    root = normal_form(world, loaded)
    if root == FULL:
        return False
    count = prepared(world, root)
    if count == FULL:
        return False
    arena = world.arena
    e.steps[b] = e.rewrites[b] = e.met_count[b] = 0
    e.seconds[b] = 0.0
    e.of_input[b, 0], e.of_input[b, 1] = arena.size[loaded], arena.length[loaded]
    _meet(e, b, arena.mark[loaded, 0])
    _meet(e, b, arena.mark[root, 0])
    _settle(world, e, p, numbers, b, count)
    _write_down(e, b)
    return True


@uncounted
def begin_rows(
    world: World, e: Episodes, p: Present, numbers: Numbers, rows: NDArray[np.int64], first: int,
    nodes: NDArray[np.int64], begin: NDArray[np.int64], drawn: NDArray[np.int64],
) -> int:  # fmt: skip
    """Begin episodes with drawn tables in the rows from place `first` on; the place that has no room, or their number.

    Args:
        world: Arena and rules.
        e: State.
        p: What follows from it.
        numbers: Parameters.
        rows: Which episodes.
        first: Where in `rows` to begin.
        nodes: Tables, one behind the other.
        begin: Where each begins.
        drawn: Table of each of the rows.
    """
    for place in range(first, len(rows)):
        table = nodes[begin[drawn[place]] : begin[drawn[place] + 1]]
        if not _begin_row(world, e, p, numbers, rows[place], table):
            return place
    return len(rows)


@uncounted_inline
def _find(p: Present, numbers: Numbers, b: int, action: int) -> int:
    row, rule = action // numbers.rules, action % numbers.rules
    low, high = 0, p.legal_count[b]
    while low < high:
        middle = (low + high) // 2
        at_row, at_rule = p.legal[b, middle, 0], p.legal[b, middle, 1]
        if at_row < row or (at_row == row and at_rule < rule):
            low = middle + 1
        else:
            high = middle
    if low < p.legal_count[b] and p.legal[b, low, 0] == row and p.legal[b, low, 1] == rule:
        return int(low)
    return -1


@uncounted_inline
def _followed(world: World, e: Episodes, p: Present, b: int, place: int) -> tuple[int, int, int]:
    """What an allowed rewrite makes of its term and of the expression, and its normal form; `FULL` without room."""
    row, variant = p.legal[b, place, 0], p.legal[b, place, 2]
    result = rewrite(world.arena, world.actions, variant, p.terms[b, row], world.memo.space)
    if result == FULL:
        return FULL, FULL, FULL
    direct = exchanged(world, p.terms[b], e.table[b], e.nodes[b], row, result)
    return result, direct, FULL if direct == FULL else normal_form(world, direct)


@uncounted_inline
def _rewrite(world: World, e: Episodes, p: Present, numbers: Numbers, b: int, place: int) -> int:
    """Make an allowed rewrite: 1 if the episode is over with it, 0 if not, `FULL` without room."""
    row, rule, arena = p.legal[b, place, 0], p.legal[b, place, 1], world.arena
    result, direct, root = _followed(world, e, p, b, place)
    if root == FULL:
        return FULL
    count = ordered(world, root)
    left = numbers.limit - e.seconds[b]
    seconds = numbers.rewrite + numbers.node * arena.size[result] + numbers.look * count
    if seconds > left:
        e.seconds[b] += left
        return 1
    if not matched(world, count):
        return FULL
    e.seconds[b] += seconds
    _meet(e, b, arena.mark[direct, 0])
    _meet(e, b, arena.mark[root, 0])
    e.trace[b, e.rewrites[b], 0], e.trace[b, e.rewrites[b], 1] = row, rule
    e.rewrites[b] += 1
    _settle(world, e, p, numbers, b, count)
    _write_down(e, b)
    return 1 if p.legal_count[b] == 0 else 0


@uncounted
def play_rows(
    world: World, e: Episodes, p: Present, numbers: Numbers, actions: NDArray[np.int64], active: NDArray[np.bool_],
    first: int, rewards: NDArray[np.float64], terminated: NDArray[np.bool_], truncated: NDArray[np.bool_],
) -> int:  # fmt: skip
    """Play one action in every active row from `first` on; the row that has no room, or B."""
    for b in range(first, len(active)):
        if not active[b]:
            continue
        before, least = (e.now[b, 0], e.now[b, 1]), (e.least[b, 0], e.least[b, 1])
        started, over, penalty = e.seconds[b], 1, 0.0
        if actions[b] != numbers.max_nodes * numbers.rules:
            place, over = _find(p, numbers, b, actions[b]), 0
            if place >= 0:
                over = _rewrite(world, e, p, numbers, b, place)
                if over == FULL:
                    return b
            else:
                penalty = numbers.penalty
        e.steps[b] += 1
        terminated[b] = over == 1
        truncated[b] = over == 0 and e.steps[b] >= numbers.max_steps
        rewards[b] = reward_of(
            numbers.reward, (e.of_input[b, 0], e.of_input[b, 1]), before, (e.now[b, 0], e.now[b, 1]), least,
            (started, e.seconds[b]), numbers.limit, terminated[b] or truncated[b],
        ) - penalty  # fmt: skip
    return len(active)


@uncounted
def show_rows(
    e: Episodes, p: Present, numbers: Numbers, rows: NDArray[np.bool_], observations: NDArray[np.int32],
    masks: NDArray[np.int8],
) -> None:  # fmt: skip
    """Write observations and masks of the chosen rows."""
    for b in range(len(rows)):
        if not rows[b]:
            continue
        left = 1.0 if numbers.limit == np.inf else (numbers.limit - e.seconds[b]) / numbers.limit
        write_episode(
            p.seen[b], numbers.max_steps - e.steps[b], left, (e.now[b, 0], e.now[b, 1]),
            (e.best_cost[b, 0], e.best_cost[b, 1]), (e.of_input[b, 0], e.of_input[b, 1]),
        )  # fmt: skip
        for row in range(observations.shape[1]):
            for column in range(COLUMNS):
                observations[b, row, column] = p.seen[b, row, column]
        mask = masks[b]
        if p.shown_count[b] == UNKNOWN:
            mask[:] = 0
        else:
            for place in range(p.shown_count[b]):
                mask[p.shown[b, place]] = 0
        for place in range(p.legal_count[b]):
            action = p.legal[b, place, 0] * numbers.rules + p.legal[b, place, 1]
            mask[action] = 1
            p.shown[b, place] = action
        p.shown_count[b] = p.legal_count[b]
        mask[numbers.max_nodes * numbers.rules] = 1


@uncounted
def load_rows(world: World, e: Episodes, p: Present, numbers: Numbers, rows: NDArray[np.bool_]) -> bool:
    """Load the expressions of the chosen rows into an empty arena; False without room."""
    for b in range(len(rows)):
        if rows[b]:
            root = load_table(world, e.table[b, : e.nodes[b]])
            if root == FULL:
                return False
            count = prepared(world, root)
            if count == FULL:
                return False
            _settle(world, e, p, numbers, b, count)
    return True


@uncounted
def costs_after(
    world: World, e: Episodes, p: Present, b: int, sizes: NDArray[np.int64], lengths: NDArray[np.int64]
) -> bool:
    """Size and length that every allowed rewrite leads to; False without room."""
    for place in range(p.legal_count[b]):
        _, _, root = _followed(world, e, p, b, place)
        if root == FULL:
            return False
        sizes[place], lengths[place] = world.arena.size[root], world.arena.length[root]
    return True
