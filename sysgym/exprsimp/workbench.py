"""What all methods of simplification work on: one expression's arena, its rewrites, its values at a few points.

A search holds terms by number. Whatever it does is one of two things: a rule applied to a term, or a term exchanged for
an equal one with a proof. Both are kept as `Move`s, from which the certificate is written in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.seeding import stream
from sysgym.exprsimp import kernel
from sysgym.exprsimp.arena import FULL, Arena, below, intern, load, make_arena, replace
from sysgym.exprsimp.certificate import Certificate, bools_of, claim, write_steps
from sysgym.exprsimp.evaluation import draw_points, evaluate_row
from sysgym.exprsimp.model import Builder, Expression, Op
from sysgym.exprsimp.printer import to_text
from sysgym.exprsimp.prover import find_proof
from sysgym.exprsimp.rules.program import Program, compile_rules
from sysgym.exprsimp.rules.table import Rule, published_rules
from sysgym.exprsimp.witness import Proof

POINTS = 64
_ROOM = 4096


NORMALISE = -2
"""Variant of a move that stands for all rewrites by down rules."""


class ArenaFull(Exception):  # noqa: N818  no error: the search ends with what it has
    """The arena has no room for another term."""


@dataclass(frozen=True)
class Move:
    """A term exchanged for another everywhere: by a variant of the program, or by a proof; or the normal form taken."""

    term: int
    result: int
    variant: int = -1
    proof: Proof | None = None


@dataclass(frozen=True)
class State:
    """An expression that a search arrived at, and how."""

    root: int
    moves: tuple[Move, ...] = ()


@lru_cache(maxsize=4)
def program_of(rules: tuple[Rule, ...]) -> Program:
    """Compiled rules, kept."""
    return compile_rules(rules)


@lru_cache(maxsize=16)
def _points(variables: int) -> NDArray[np.int64]:
    return draw_points(stream(0, "simplify/points"), POINTS, variables)


class Workbench:
    """One expression on its way.

    Args:
        expression: Where it starts.
        rules: The rules; the published ones when left out.
        capacity: Terms that may be made on the way.
    """

    def __init__(self, expression: Expression, rules: Sequence[Rule] | None = None, capacity: int = 1 << 15) -> None:
        self.rules = tuple(rules) if rules is not None else published_rules()
        self.program = program_of(self.rules)
        self.input, self.names = expression, expression.variables
        capacity = max(capacity, 16 * len(expression.nodes))
        self.arena: Arena = make_arena(capacity)
        self._normal = np.full((2, capacity), -1, np.int64)
        self._stack, self._space = np.empty(capacity, np.int64), kernel.scratch(self.program)
        self._trace = np.empty((_ROOM + 64 * len(expression.nodes), 3), np.int64)
        self.values = np.empty((capacity, POINTS), np.int64)
        self.usable = np.zeros(capacity, np.bool_)
        self.valued = np.zeros(1, np.int64)
        self.points = _points(max(1, len(self.names)))
        self.start = load(self.arena, _renamed(expression, {name: place for place, name in enumerate(self.names)}))
        self._refused: set[tuple[int, int]] = set()

    def cost(self, root: int) -> tuple[int, int]:
        """Size and length of an expression: what all methods minimise, in this order."""
        return int(self.arena.size[root]), int(self.arena.length[root])

    def terms(self, root: int) -> NDArray[np.int64]:
        """Unique terms of an expression, children first."""
        return below(self.arena, root)

    def make(self, op: int, a: int = -1, b: int = -1, c: int = -1, value: int = 0) -> int:
        """A term, made if it is new."""
        term = int(intern(self.arena, int(op), a, b, c, value))
        if term == FULL:
            raise ArenaFull
        return term

    def normalised(self, state: State) -> State:
        """The normal form under the down rules."""
        root = self._normalise(state.root, self._normal)[0]
        return state if root == state.root else State(root, (*state.moves, Move(state.root, root, NORMALISE)))

    def exchanged(self, state: State, move: Move) -> State:
        """The state after a move, not yet normalised."""
        root = int(replace(self.arena, state.root, move.term, move.result))
        if root == FULL:
            raise ArenaFull
        return State(root, (*state.moves, move))

    def applications(self, root: int, room: int, steepest: int) -> list[list[int]]:
        """What rules can do to an expression: (term, variant, result), at most `room` of them."""
        found = np.empty((room, 3), np.int64)
        count = kernel.applications(self.arena, self.program, root, found, steepest)
        if count == FULL:
            raise ArenaFull
        return [list(row) for row in found[:count].tolist()]

    def evaluated(self) -> None:
        """Bring the values at the points up to date with the arena."""
        evaluate_arena(self.arena, self.points, self.values, self.usable, self.valued)

    def proved(self, old: int, new: int, budget: int) -> Proof | None:
        """A proof that two terms are equal; what was refused once is not tried again."""
        if (old, new) in self._refused:
            return None
        builder = Builder()
        table = _Table(self.arena, builder)
        proof = find_proof(claim(builder, table.term(old), table.term(new)), budget)
        if proof is None:
            self._refused.add((old, new))
        return proof

    def certificate(self, state: State) -> Certificate:
        """The way to a state as JSON that the checker replays."""
        builder = Builder()
        table = _Table(self.arena, builder, self.names)
        root = table.term(self.start)
        steps: list[dict[str, Any]] = []
        for move in state.moves:
            reasons = {
                table.term(single.term): (table.term(single.result), self._reason(single))
                for single in self._single(move)
            }
            while True:
                order = builder.order(root)
                # a term that a rule changes in a normal form holds none that another changes
                exchanges = {term: reasons[term] for term in order if term in reasons}
                if not exchanges:
                    break
                steps.append(write_steps(builder, order, exchanges))
                root = builder.exchange(root, {term: result for term, (result, _) in exchanges.items()}, order)
                if move.variant != NORMALISE:
                    break
        output = to_text(builder.expression(root))
        return {"input": to_text(self.input), "output": output, "bools": bools_of(self.input), "steps": steps}

    def _reason(self, move: Move) -> dict[str, Any]:
        if move.variant < 0:
            return {"proof": move.proof}
        rule = self.rules[int(self.program.rule[move.variant])]
        return {"rule": rule.id, "orientation": int(self.program.orientation[move.variant])}

    def _single(self, move: Move) -> list[Move]:
        """A move; a normal form spelt out, rewrite by rewrite."""
        if move.variant != NORMALISE:
            return [move]
        _, steps = self._normalise(move.term, np.full_like(self._normal, -1))
        return [Move(term, result, variant) for term, variant, result in self._trace[:steps].tolist()]

    def _normalise(self, root: int, normal: NDArray[np.int64]) -> tuple[int, int]:
        steps = np.zeros(1, np.int64)
        found = int(
            kernel.normalise(self.arena, self.program, root, normal, self._trace, steps, self._stack, self._space)
        )
        if found < 0:
            raise ArenaFull
        return found, int(steps[0])


class _Table:
    """Terms of an arena in a builder, each taken over once."""

    def __init__(self, arena: Arena, builder: Builder, names: Sequence[int] | None = None) -> None:
        self._nodes, self._arena, self._builder, self._names = arena.nodes, arena, builder, names
        self._places: dict[int, int] = {-1: -1}

    def term(self, root: int) -> int:
        """The builder's number of a term."""
        if root not in self._places:
            places = self._places
            for term in below(self._arena, root).tolist():
                if term not in places:
                    op, a, b, c, value = self._nodes[term].tolist()
                    if self._names and op in (Op.VAR, Op.BOOL_VAR):
                        value = self._names[value]
                    places[term] = self._builder.add(op, places[a], places[b], places[c], value)
        return self._places[root]


def _renamed(expression: Expression, places: dict[int, int]) -> Expression:
    """Variables numbered from 0 without gaps."""
    nodes = expression.nodes.copy()
    variable = (nodes[:, 0] == Op.VAR) | (nodes[:, 0] == Op.BOOL_VAR)
    nodes[variable, 4] = [places[value] for value in nodes[variable, 4].tolist()]
    return Expression(nodes)


@compiled
def evaluate_arena(
    arena: Arena,
    points: NDArray[np.int64],
    values: NDArray[np.int64],
    usable: NDArray[np.bool_],
    valued: NDArray[np.int64],
) -> None:
    """Values of all terms that are new since the last call; where 64 bits don't suffice a term isn't `usable`."""
    nodes = arena.nodes
    for term in range(valued[0], arena.filled[0]):
        known = True
        for child in range(1, 4):
            known = known and (nodes[term, child] < 0 or usable[nodes[term, child]])
        usable[term] = known and evaluate_row(nodes, term, points, values)
    valued[0] = arena.filled[0]
