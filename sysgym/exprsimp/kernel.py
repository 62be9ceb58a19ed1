"""The fast copy of `matcher`: all legal (term, rule) pairs of batches of expressions, rewriting, and normal forms.

A pattern is run like a program over a stack of terms; terms that are equal are one number, so a name that comes again
costs one comparison. Newcomb et al. (OOPSLA 2020) order their rules so that rewriting ends; `normalise` relies on the
same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.exprsimp.arena import FULL, Arena, below, compiled, intern
from sysgym.exprsimp.matcher import INT32
from sysgym.exprsimp.model import ARITY, GIVES_BOOL, Op
from sysgym.exprsimp.rules.program import Program
from sysgym.exprsimp.rules.table import SLOTS

NO = -1
_OPERATORS = len(Op)
_SLOTS, _STACK = int(SLOTS), 64
_INT, _TRUTH, _VAR, _BOOL_VAR, _CONSTANT = int(Op.INT), int(Op.TRUTH), int(Op.VAR), int(Op.BOOL_VAR), int(Op.CONSTANT)
_ADD, _SUB, _MUL, _DIV, _MOD, _MIN, _MAX, _LT, _LE, _EQ, _AND, _OR, _NOT, _SELECT = (
    int(op) for op in Op if op > Op.CONSTANT
)
_ARITY = np.array(ARITY, np.int64)
_GIVES_BOOL = np.array([op in GIVES_BOOL for op in Op], np.int64)
_BEYOND = INT32  # marks a result that doesn't fit


@compiled
def _fold(op: int, x: int, y: int, z: int) -> int:  # noqa: PLR0912  one line an operator
    """`model.apply` on 32-bit numbers; `_BEYOND` where the result isn't one."""
    if op == _ADD:
        result = x + y
    elif op == _SUB:
        result = x - y
    elif op == _MUL:
        result = x * y
    elif op == _DIV:
        result = (x - x % abs(y)) // y if y != 0 else 0
    elif op == _MOD:
        result = x % abs(y) if y != 0 else 0
    elif op == _MIN:
        result = min(x, y)
    elif op == _MAX:
        result = max(x, y)
    elif op == _LT:
        result = 1 if x < y else 0
    elif op == _LE:
        result = 1 if x <= y else 0
    elif op == _EQ:
        result = 1 if x == y else 0
    elif op == _AND:
        result = x & y
    elif op == _OR:
        result = x | y
    elif op == _NOT:
        result = 1 - x
    else:
        result = y if x != 0 else z
    return result if -_BEYOND <= result < _BEYOND else _BEYOND


@compiled
def _matches(arena: Arena, program: Program, variant: int, term: int, slots: NDArray[np.int64]) -> bool:
    """Run a pattern; fills the slots of its names."""
    nodes, pattern = arena.nodes, program.pattern
    begin, end = program.pattern_begin[variant], program.pattern_begin[variant + 1]
    slots[:_SLOTS] = NO
    stack = slots[_SLOTS:]
    stack[0], depth = term, 1
    for step in range(begin, end):
        depth -= 1
        here = stack[depth]
        op, value = pattern[step, 0], pattern[step, 1]
        if _VAR <= op <= _CONSTANT:
            if op == _CONSTANT and nodes[here, 0] != _INT:
                return False
            if arena.sort[here] != (1 if op == _BOOL_VAR else 0):
                return False
            if slots[value] == NO:
                slots[value] = here
            elif slots[value] != here:
                return False
        elif nodes[here, 0] != op:
            return False
        elif op <= _TRUTH:
            if nodes[here, 4] != value:
                return False
        else:
            for child in range(_ARITY[op], 0, -1):
                stack[depth] = nodes[here, child]
                depth += 1
    return True


@compiled
def _holds(arena: Arena, program: Program, variant: int, slots: NDArray[np.int64]) -> bool:
    """Run the condition on the constants that were matched."""
    condition, stack, depth = program.condition, slots[_SLOTS:], 0
    for step in range(program.condition_begin[variant], program.condition_begin[variant + 1]):
        op, value = condition[step, 0], condition[step, 1]
        if op == _CONSTANT:
            value = arena.nodes[slots[value], 4]
        if op > _CONSTANT:
            arity = _ARITY[op]
            depth -= arity
            y = stack[depth + 1] if arity > 1 else 0
            value = _fold(op, stack[depth], y, stack[depth + 2] if arity > 2 else 0)
        if value >= _BEYOND or value < -_BEYOND:
            return False
        stack[depth] = value
        depth += 1
    return bool(stack[0] != 0)


@compiled
def _build(arena: Arena, program: Program, variant: int, slots: NDArray[np.int64]) -> int:
    """The replacement's term; `NO` where a computed constant doesn't fit 32 bits, `FULL` without room."""
    steps, stack, depth = program.replacement, slots[_SLOTS:], 0
    for step in range(program.replacement_begin[variant], program.replacement_begin[variant + 1]):
        op, value, computed = steps[step, 0], steps[step, 1], steps[step, 2]
        if _VAR <= op <= _CONSTANT:
            made = slots[value]
            if op == _CONSTANT and not -_BEYOND <= arena.nodes[made, 4] < _BEYOND:
                return NO
        elif op <= _TRUTH:
            made = intern(arena, op, -1, -1, -1, value)
        else:
            arity = _ARITY[op]
            depth -= arity
            a = stack[depth]
            b = stack[depth + 1] if arity > 1 else -1
            c = stack[depth + 2] if arity > 2 else -1
            if computed == 1 and op != _SELECT:
                number = _fold(op, arena.nodes[a, 4], arena.nodes[b, 4] if b >= 0 else 0, 0)
                if number == _BEYOND:
                    return NO
                made = intern(arena, _TRUTH if _GIVES_BOOL[op] == 1 else _INT, -1, -1, -1, number)
            else:
                made = intern(arena, op, a, b, c, 0)
        if made == FULL:
            return FULL
        stack[depth] = made
        depth += 1
    return int(stack[0])


@compiled
def rewrite(arena: Arena, program: Program, variant: int, term: int, slots: NDArray[np.int64]) -> int:
    """What a variant makes of a term; `NO` where it doesn't apply, `FULL` without room. `slots` is scratch space."""
    if not _matches(arena, program, variant, term, slots) or not _holds(arena, program, variant, slots):
        return NO
    return _build(arena, program, variant, slots)


@compiled
def bucket_of(arena: Arena, term: int) -> int:
    """Number of the bucket of variants that may match a term."""
    nodes = arena.nodes
    first, second = nodes[term, 1], nodes[term, 2]
    a = nodes[first, 0] if first >= 0 else 0
    b = nodes[second, 0] if second >= 0 else 0
    return int((nodes[term, 0] * _OPERATORS + a) * _OPERATORS + b)


@compiled
def scratch() -> NDArray[np.int64]:
    """Space for the slots of a pattern and a stack."""
    return np.empty(_SLOTS + _STACK, np.int64)


@compiled
def applications(arena: Arena, program: Program, root: int, found: NDArray[np.int64], steepest: int) -> int:
    """All that the rules can do to one expression.

    Args:
        arena: Holds the expression; results are added.
        program: The rules.
        root: The expression.
        found: int64 (room, 3), filled with (term, variant, result).
        steepest: Highest direction that is tried: 0 for down rules alone, 2 for all.

    Returns:
        How many were found, at most the room; or `FULL`.
    """
    slots, count = scratch(), 0
    for term in below(arena, root):
        bucket = bucket_of(arena, term)
        for place in range(program.bucket_begin[bucket], program.bucket_begin[bucket + 1]):
            variant = program.bucket[place]
            if program.direction[variant] > steepest:
                continue
            result = rewrite(arena, program, variant, term, slots)
            if result == FULL:
                return FULL
            if result not in (NO, term) and count < found.shape[0]:
                found[count, 0], found[count, 1], found[count, 2] = term, variant, result
                count += 1
    return count


@compiled
def legal_mask(arena: Arena, program: Program, roots: NDArray[np.int64], mask: NDArray[np.bool_]) -> bool:
    """Which variant applies to which term, for a batch; False without room.

    Args:
        arena: Holds the expressions; results are added.
        program: The rules.
        roots: int64 (batch,).
        mask: bool (terms, variants), all False; the rows of the terms below the roots are filled, each once.
    """
    slots = scratch()
    done = np.zeros(mask.shape[0], np.bool_)
    for root in roots:
        for term in below(arena, root):
            if done[term]:
                continue
            done[term] = True
            bucket = bucket_of(arena, term)
            for place in range(program.bucket_begin[bucket], program.bucket_begin[bucket + 1]):
                variant = program.bucket[place]
                result = rewrite(arena, program, variant, term, slots)
                if result == FULL:
                    return False
                mask[term, variant] = result != NO
    return True


@compiled
def normalise(  # noqa: PLR0912  one stack machine
    arena: Arena,
    program: Program,
    root: int,
    normal: NDArray[np.int64],
    trace: NDArray[np.int64],
    steps: NDArray[np.int64],
) -> int:
    """Normal form under the down rules, from the leaves up, the first rule that applies in the table's order.

    Args:
        arena: Holds the expression; grows.
        program: The rules.
        root: The expression.
        normal: int64 (2, capacity): normal form of a term, and what a rule made of it, -1 where unknown. Kept between
            calls, so that nothing is done twice.
        trace: int64 (room, 3), filled with (term, variant, result) in the order in which a replay must follow.
        steps: int64 (1,): rewrites in the trace so far, raised by those of this call.

    Returns:
        The normal form, `NO` where the trace is full, or `FULL`.
    """
    slots = scratch()
    known, forward = normal[0], normal[1]
    stack = np.empty(arena.nodes.shape[0], np.int64)
    stack[0], depth = root, 1
    while depth:
        term = stack[depth - 1]
        if known[term] >= 0:
            depth -= 1
            continue
        op, a, b, c = arena.nodes[term, 0], arena.nodes[term, 1], arena.nodes[term, 2], arena.nodes[term, 3]
        waiting = depth
        for child in (c, b, a):
            if child >= 0 and known[child] < 0:
                stack[depth] = child
                depth += 1
        if depth > waiting:
            continue
        same = term
        if a >= 0:
            b, c = known[b] if b >= 0 else -1, known[c] if c >= 0 else -1
            same = intern(arena, op, known[a], b, c, arena.nodes[term, 4])
            if same == FULL:
                return FULL
        if known[same] < 0 and forward[same] < 0:
            bucket = bucket_of(arena, same)
            for place in range(program.bucket_begin[bucket], program.bucket_begin[bucket + 1]):
                variant = program.bucket[place]
                if program.direction[variant] == 0:
                    result = rewrite(arena, program, variant, same, slots)
                    if result == FULL:
                        return FULL
                    if result != NO:
                        if steps[0] >= trace.shape[0]:
                            return NO
                        forward[same] = result
                        trace[steps[0], 0], trace[steps[0], 1], trace[steps[0], 2] = same, variant, result
                        steps[0] += 1
                        break
            if forward[same] < 0:
                known[same] = same
        if known[same] < 0:
            if known[forward[same]] < 0:
                if depth + 4 >= stack.shape[0]:
                    return FULL
                stack[depth] = forward[same]
                depth += 1
                continue
            known[same] = known[forward[same]]
        known[term] = known[same]
        depth -= 1
    return int(known[root])
