"""The fast copy of `matcher`: all legal (term, rule) pairs of batches of expressions, rewriting, and normal forms.

Sets of bits rule out most patterns by the symbols near a term's root. What is left is run like a program over a stack
of terms; terms that are equal are one number, so a name that comes again costs one comparison. Newcomb et al. (OOPSLA
2020) order their rules so that rewriting ends; `normalise` relies on the same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.exprsimp.arena import FULL, NO_TERM, Arena, below, compiled, inlined, intern
from sysgym.exprsimp.matcher import INT32
from sysgym.exprsimp.model import ARITY, GIVES_BOOL, Op
from sysgym.exprsimp.rules.program import WORD, Program
from sysgym.exprsimp.rules.table import SLOTS

NO = -1
_DOWN, _UP = 0, 2
_WORD, _NO_TERM = int(WORD), int(NO_TERM)
_LOWEST = np.zeros(32, np.int64)
for _bit in range(32):
    _LOWEST[((0x077CB531 << _bit) & 0xFFFFFFFF) >> 27] = _bit
_SLOTS, _STACK = int(SLOTS), 64
_INT, _TRUTH, _VAR, _BOOL_VAR, _CONSTANT = int(Op.INT), int(Op.TRUTH), int(Op.VAR), int(Op.BOOL_VAR), int(Op.CONSTANT)
_ADD, _SUB, _MUL, _DIV, _MOD, _MIN, _MAX, _LT, _LE, _EQ, _AND, _OR, _NOT, _SELECT = (
    int(op) for op in Op if op > Op.CONSTANT
)
_ARITY = np.array(ARITY, np.int64)
_GIVES_BOOL = np.array([op in GIVES_BOOL for op in Op], np.int64)
_BEYOND = INT32  # marks a result that doesn't fit


@inlined
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


@inlined
def _matches(arena: Arena, program: Program, variant: int, term: int, slots: NDArray[np.int64]) -> bool:
    """Run a pattern; fills the slots of its names."""
    nodes, pattern = arena.nodes, program.pattern
    stack = slots[_SLOTS:]
    stack[0], depth = term, 1
    for step in range(program.pattern_begin[variant], program.pattern_begin[variant + 1]):
        depth -= 1
        here = stack[depth]
        op, value = pattern[step, 0], pattern[step, 1]
        if _VAR <= op <= _CONSTANT:
            if pattern[step, 2] == 1:
                if op == _CONSTANT and nodes[here, 0] != _INT:
                    return False
                if arena.sort[here] != (1 if op == _BOOL_VAR else 0):
                    return False
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


@inlined
def _holds(arena: Arena, program: Program, variant: int, slots: NDArray[np.int64]) -> bool:
    """Run the condition on the constants that were matched."""
    begin, end = program.condition_begin[variant], program.condition_begin[variant + 1]
    if begin == end:
        return True
    condition, stack, depth = program.condition, slots[_SLOTS:], 0
    for step in range(begin, end):
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


@inlined
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


@inlined
def rewrite(arena: Arena, program: Program, variant: int, term: int, slots: NDArray[np.int64]) -> int:
    """What a variant makes of a term; `NO` where it doesn't apply, `FULL` without room. `slots` is scratch space."""
    if not _matches(arena, program, variant, term, slots) or not _holds(arena, program, variant, slots):
        return NO
    return _build(arena, program, variant, slots)


@inlined
def admit(arena: Arena, program: Program, term: int, steepest: int, words: NDArray[np.int64]) -> int:
    """The variants that may match a term, as bits of `program.filed[operator]`; returns how many words they fill."""
    nodes, symbol, admitted = arena.nodes, arena.symbol, program.admitted
    op, a, b, c = nodes[term, 0], nodes[term, 1], nodes[term, 2], nodes[term, 3]
    count = program.words[op]
    if count == 0:
        return 0
    at_a = at_b = at_c = _NO_TERM
    at_aa = at_ab = at_ba = at_bb = _NO_TERM
    at_a = symbol[a]
    if nodes[a, 1] >= 0:
        at_aa = symbol[nodes[a, 1]]
        if nodes[a, 2] >= 0:
            at_ab = symbol[nodes[a, 2]]
    if b >= 0:
        at_b = symbol[b]
        if nodes[b, 1] >= 0:
            at_ba = symbol[nodes[b, 1]]
            if nodes[b, 2] >= 0:
                at_bb = symbol[nodes[b, 2]]
        if c >= 0:
            at_c = symbol[c]
    for word in range(count):
        bits = program.gentle[steepest, op, word] & admitted[op, 0, at_a, word] & admitted[op, 1, at_b, word]
        if bits != 0:
            bits &= admitted[op, 2, at_c, word] & admitted[op, 3, at_aa, word] & admitted[op, 4, at_ab, word]
            bits &= admitted[op, 5, at_ba, word] & admitted[op, 6, at_bb, word]
        words[word] = bits
    return int(count)


@inlined
def lowest_bit(word: int) -> int:
    """Number of the lowest bit of a 32-bit word that isn't 0 (a de Bruijn sequence; Leiserson et al., 1998)."""
    return int(_LOWEST[(((word & -word) * 0x077CB531) & 0xFFFFFFFF) >> 27])


@compiled
def scratch() -> NDArray[np.int64]:
    """Space for the slots of a pattern and a stack."""
    return np.empty(_SLOTS + _STACK, np.int64)


@compiled
def admission(program: Program) -> NDArray[np.int64]:
    """Space for `admit`."""
    return np.empty(program.admitted.shape[3], np.int64)


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
    slots, words, count = scratch(), admission(program), 0
    for term in below(arena, root):
        filed = program.filed[arena.nodes[term, 0]]
        for place in range(admit(arena, program, term, steepest, words)):
            while words[place] != 0:
                variant = filed[place * _WORD + lowest_bit(words[place])]
                words[place] &= words[place] - 1
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
    slots, words = scratch(), admission(program)
    done = np.zeros(mask.shape[0], np.bool_)
    for root in roots:
        for term in below(arena, root):
            if done[term]:
                continue
            done[term] = True
            filed = program.filed[arena.nodes[term, 0]]
            for place in range(admit(arena, program, term, _UP, words)):
                while words[place] != 0:
                    variant = filed[place * _WORD + lowest_bit(words[place])]
                    words[place] &= words[place] - 1
                    result = rewrite(arena, program, variant, term, slots)
                    if result == FULL:
                        return False
                    mask[term, variant] = result != NO
    return True


@inlined
def first_down(
    arena: Arena, program: Program, term: int, slots: NDArray[np.int64], words: NDArray[np.int64]
) -> tuple[int, int]:
    """The first down variant of the table that applies to a term, and its result; (`NO`, `NO`) where none does."""
    filed = program.filed[arena.nodes[term, 0]]
    for place in range(admit(arena, program, term, _DOWN, words)):
        while words[place] != 0:
            variant = filed[place * _WORD + lowest_bit(words[place])]
            words[place] &= words[place] - 1
            result = rewrite(arena, program, variant, term, slots)
            if result != NO:
                return int(variant), result
    return NO, NO


@compiled
def normalise(  # noqa: PLR0912  one stack machine
    arena: Arena,
    program: Program,
    root: int,
    normal: NDArray[np.int64],
    trace: NDArray[np.int64],
    steps: NDArray[np.int64],
    stack: NDArray[np.int64],
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
        stack: int64 (capacity,): scratch space.

    Returns:
        The normal form, `NO` where the trace is full, or `FULL`.
    """
    slots, words = scratch(), admission(program)
    known, forward = normal[0], normal[1]
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
            variant, result = first_down(arena, program, same, slots, words)
            if result == FULL:
                return FULL
            if result != NO:
                if steps[0] >= trace.shape[0]:
                    return NO
                forward[same] = result
                trace[steps[0], 0], trace[steps[0], 1], trace[steps[0], 2] = same, variant, result
                steps[0] += 1
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
