"""The moves of one compiled episode: what a rewrite leads to, and what may be done then.

Everything that is found out about a term is kept in a `Memo` beside the arena and never computed again: its normal
form, and what the rules make of it. A rewrite changes a few terms and those above them, so a step looks at these alone.
What a rule makes is weighed, and made when it is chosen. Where the arena is full a move answers `FULL` and has changed
nothing of the episode; `compiled_engine` then empties the arena.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted, uncounted_inline
from sysgym.exprsimp.arena import FULL, TURNS, Arena, intern, make_arena
from sysgym.exprsimp.kernel import WEIGHT, WORDS, admit, lowest_bit, normalise, scratch, weighed
from sysgym.exprsimp.rules.program import WORD, Program

_UP = 2
_WORD = int(WORD)
_TRACE = 4096


class Memo(NamedTuple):
    """What is known of an arena's terms, and space to work in.

    Attributes:
        normal: int64 (2, capacity): see `kernel.normalise`.
        begin: int64 (capacity,): where a term's matches begin in `matches`; -1 where they aren't known.
        end: int64 (capacity,): where they end.
        matches: int64 (room, 4): the variant that applies, size and mark of the term that it makes.
        filled: int64 (1,): matches so far.
        stack: int64 (capacity,): of walks.
        place: int64 (capacity,): row of a term in the table at hand, where `stamp` says so.
        stamp: int64 (capacity,): number of the walk that has met a term last.
        walks: int64 (1,): walks so far.
        trace: int64 (room, 3): of normal forms; not read.
        order: int64 (rows,): terms of the expression at hand, children first.
        changed: int64 (rows,): terms that take the place of others.
        weights: int64 (rows, 2): what each term's mark counts in the root's.
        steps: int64 (1,): rewrites of the normal form at hand.
        space: int64: see `kernel.scratch`.
    """

    normal: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    matches: NDArray[np.int64]
    filled: NDArray[np.int64]
    stack: NDArray[np.int64]
    place: NDArray[np.int64]
    stamp: NDArray[np.int64]
    walks: NDArray[np.int64]
    trace: NDArray[np.int64]
    order: NDArray[np.int64]
    changed: NDArray[np.int64]
    weights: NDArray[np.int64]
    steps: NDArray[np.int64]
    space: NDArray[np.int64]


class World(NamedTuple):
    """The arena that all episodes share, what is known of it, and the rules.

    Attributes:
        arena: The terms.
        memo: What is known of them.
        normal: The rules that run by themselves.
        actions: The rules that a policy chooses from.
    """

    arena: Arena
    memo: Memo
    normal: Program
    actions: Program


def make_world(capacity: int, rows: int, normal: Program, actions: Program) -> World:
    """An empty world with room for a number of terms, for expressions of up to `rows` terms."""

    def column(size: int = capacity, fill: int = -1) -> NDArray[np.int64]:
        return np.full(size, fill, np.int64)

    memo = Memo(
        normal=np.full((2, capacity), -1, np.int64), begin=column(), end=column(),
        matches=np.empty((4 * capacity, 4), np.int64), filled=column(1, 0), stack=np.empty(capacity, np.int64),
        place=column(), stamp=column(), walks=column(1, 0), trace=np.empty((_TRACE + 64 * rows, 3), np.int64),
        order=column(rows + 1), changed=column(rows + 1), weights=np.empty((rows + 1, 2), np.int64), steps=column(1, 0),
        space=max(scratch(normal), scratch(actions), key=len),
    )  # fmt: skip
    return World(make_arena(capacity), memo, normal, actions)


@uncounted
def empty(world: World) -> None:
    """Forget all terms."""
    arena, memo = world.arena, world.memo
    arena.table[:] = -1
    arena.filled[0] = memo.filled[0] = 0
    memo.normal[:] = -1
    memo.begin[:] = -1
    memo.stamp[:] = -1


@uncounted_inline
def load_table(world: World, nodes: NDArray[np.int64]) -> int:
    """Add the terms of a table; the number of its root, or `FULL`."""
    place = world.memo.stack
    for row in range(nodes.shape[0]):
        a, b, c = nodes[row, 1], nodes[row, 2], nodes[row, 3]
        a = place[a] if a >= 0 else -1
        b = place[b] if b >= 0 else -1
        c = place[c] if c >= 0 else -1
        made = intern(world.arena, nodes[row, 0], a, b, c, nodes[row, 4])
        if made == FULL:
            return FULL
        place[row] = made
    return int(place[nodes.shape[0] - 1])


@uncounted_inline
def write_table(world: World, count: int, terms: NDArray[np.int64], table: NDArray[np.int64]) -> None:
    """Write the expression in `memo.order`: its terms by row, and its table, the inverse of `load_table`."""
    memo, nodes = world.memo, world.arena.nodes
    for row in range(count):
        term = memo.order[row]
        terms[row] = term
        table[row, 0], table[row, 4] = nodes[term, 0], nodes[term, 4]
        for child in range(1, 4):
            operand = nodes[term, child]
            table[row, child] = memo.place[operand] if operand >= 0 else -1


@uncounted_inline
def normal_form(world: World, root: int) -> int:
    """The normal form of a term, or `FULL`."""
    if world.memo.normal[0, root] >= 0:
        return int(world.memo.normal[0, root])
    memo = world.memo
    memo.steps[0] = 0
    found = normalise(world.arena, world.normal, root, memo.normal, memo.trace, memo.steps, memo.stack, memo.space)
    return FULL if found < 0 else found


@uncounted_inline
def exchanged(world: World, terms: NDArray[np.int64], table: NDArray[np.int64], count: int, row: int, new: int) -> int:
    """The root of a table after the term of a row was exchanged everywhere, or `FULL`."""
    changed = world.memo.changed
    for at in range(row):
        changed[at] = terms[at]
    changed[row] = new
    for at in range(row + 1, count):
        op, a, b, c = table[at, 0], table[at, 1], table[at, 2], table[at, 3]
        changed[at] = terms[at]
        if a < 0:
            continue
        same = changed[a] == terms[a] and (b < 0 or changed[b] == terms[b]) and (c < 0 or changed[c] == terms[c])
        if not same:
            b, c = changed[b] if b >= 0 else -1, changed[c] if c >= 0 else -1
            made = intern(world.arena, op, changed[a], b, c, table[at, 4])
            if made == FULL:
                return FULL
            changed[at] = made
    return int(changed[count - 1])


@uncounted_inline
def weigh_rows(world: World, table: NDArray[np.int64], count: int) -> None:
    """What the mark of each of a table's terms counts in the first part of the root's, into `memo.weights`."""
    weights = world.memo.weights
    for row in range(count):
        weights[row, 0] = weights[row, 1] = 0
    weights[count - 1, 0] = 1
    for row in range(count - 1, -1, -1):
        x, y = weights[row, 0], weights[row, 1]
        for place in range(3):
            child = table[row, 1 + place]
            if child >= 0:
                turn = TURNS[table[row, 0], place]
                weights[child, 0] += x * turn[0] + y * turn[2]
                weights[child, 1] += x * turn[1] + y * turn[3]


@uncounted_inline
def ordered(world: World, root: int) -> int:
    """Terms below a root into `memo.order`, as a walk from the left leaves them; how many."""
    memo, nodes = world.memo, world.arena.nodes
    stack, place, stamp, order = memo.stack, memo.place, memo.stamp, memo.order
    memo.walks[0] += 1
    walk, depth, count = memo.walks[0], 1, 0
    stack[0] = root
    while depth:
        term = stack[depth - 1]
        if term < 0:  # -1 - term marks a term whose operands are done
            depth -= 1
            term = -1 - term
            if stamp[term] != walk:
                stamp[term], place[term], order[count] = walk, count, term
                count += 1
        elif stamp[term] == walk:
            depth -= 1
        elif nodes[term, 1] < 0:
            depth -= 1
            stamp[term], place[term], order[count] = walk, count, term
            count += 1
        else:
            stack[depth - 1] = -1 - term
            for child in range(3, 0, -1):
                if nodes[term, child] >= 0:
                    stack[depth] = nodes[term, child]
                    depth += 1
    return count


@uncounted_inline
def _match(world: World, term: int) -> bool:
    """Find what the rules make of a term: the first orientation of each rule that changes it; False without room."""
    arena, memo, program = world.arena, world.memo, world.actions
    filed, space = program.filed[arena.nodes[term, 0]], memo.space
    words, last = space[WORDS:], -1
    begin = count = memo.filled[0]
    for place in range(admit(arena, program, term, _UP, space)):
        while words[place] != 0:
            variant = filed[place * _WORD + lowest_bit(words[place])]
            words[place] &= words[place] - 1
            if program.rule[variant] != last and weighed(arena, program, variant, term, space):
                if count >= memo.matches.shape[0]:
                    return False
                last = program.rule[variant]
                memo.matches[count, 0] = variant
                for part in range(3):
                    memo.matches[count, 1 + part] = space[WEIGHT + part]
                count += 1
    memo.begin[term], memo.end[term], memo.filled[0] = begin, count, count
    return True


@uncounted_inline
def matched(world: World, count: int) -> bool:
    """Find what the rules make of those terms in `memo.order` that are new; False without room."""
    memo = world.memo
    for row in range(count):
        term = memo.order[row]
        if memo.begin[term] < 0:
            if world.arena.nodes[term, 1] < 0:
                memo.begin[term] = memo.end[term] = 0
            elif not _match(world, term):
                return False
    return True


@uncounted_inline
def prepared(world: World, root: int) -> int:
    """Put an expression's terms in order and find what the rules make of those that are new; their number or `FULL`."""
    count = ordered(world, root)
    return count if matched(world, count) else FULL
