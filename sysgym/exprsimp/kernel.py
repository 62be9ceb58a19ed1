"""The fast copy of `matcher`: all legal (term, rule) pairs of batches of expressions, rewriting, and normal forms.

Sets of bits rule out most patterns by the symbols near a root, and by which terms there are equal. What is left is run
like a program over a stack of terms; equal terms are one number, so a name that comes again costs one comparison.
Newcomb et al. (OOPSLA 2020) order their rules so that rewriting ends; `normalise` relies on the same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, uncounted, uncounted_inline
from sysgym.exprsimp.arena import FULL, NO_TERM, TURNS, Arena, below, intern, own_mark
from sysgym.exprsimp.arithmetic import apply_to_words
from sysgym.exprsimp.matcher import INT32
from sysgym.exprsimp.model import ARITY, GIVES_BOOL, Op
from sysgym.exprsimp.rules.program import WORD, Program
from sysgym.exprsimp.rules.table import SLOTS

NO = -1
_DOWN, _UP = 0, 2
_WORD, _NO_TERM = int(WORD), int(NO_TERM)
_DE_BRUIJN = 0x03F79D71B4CB0A89
_LOWEST = np.zeros(64, np.int64)
for _bit in range(64):
    _LOWEST[(_DE_BRUIJN << _bit >> 58) & 63] = _bit
_SLOTS, _STACK, _ENTRY = int(SLOTS), 64, 4
WEIGHT = _SLOTS
"""Where in `scratch` stands what `weighed` has found: size, both parts of the mark."""
WORDS = _SLOTS + _STACK * _ENTRY
"""Where in `scratch` stands what `admit` has found."""
_INT, _TRUTH, _VAR, _BOOL_VAR, _CONSTANT = int(Op.INT), int(Op.TRUTH), int(Op.VAR), int(Op.BOOL_VAR), int(Op.CONSTANT)
_ARITY = np.array(ARITY, np.int64)
_GIVES_BOOL = np.array([op in GIVES_BOOL for op in Op], np.int64)
_BEYOND = INT32  # marks a result that doesn't fit


@uncounted_inline
def _fold(op: int, x: int, y: int, z: int) -> int:
    """The value of an operator on 32-bit numbers; `_BEYOND` where the result isn't one."""
    result = apply_to_words(op, x, y, z)
    return result if -_BEYOND <= result < _BEYOND else _BEYOND


@uncounted_inline
def _matches(arena: Arena, program: Program, variant: int, term: int, space: NDArray[np.int64]) -> bool:
    """Run a pattern; fills the slots of its names."""
    nodes, pattern = arena.nodes, program.pattern
    slots, stack = space, space[_SLOTS:]
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


@uncounted_inline
def _holds(arena: Arena, program: Program, variant: int, space: NDArray[np.int64]) -> bool:
    """Run the condition on the constants that were matched."""
    begin, end = program.condition_begin[variant], program.condition_begin[variant + 1]
    if begin == end:
        return True
    condition, slots, stack, depth = program.condition, space, space[_SLOTS:], 0
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


@uncounted_inline
def _build(arena: Arena, program: Program, variant: int, space: NDArray[np.int64]) -> int:
    """The replacement's term; `NO` where a computed constant doesn't fit 32 bits, `FULL` without room."""
    steps, slots, stack, depth = program.replacement, space, space[_SLOTS:], 0
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
            if computed == 1:
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


@uncounted_inline
def _weigh(arena: Arena, program: Program, variant: int, space: NDArray[np.int64]) -> bool:
    """Size and mark of the term that `_build` would make, which is not made; False where it would answer `NO`."""
    steps, nodes, mark = program.replacement, arena.nodes, arena.mark
    top = WEIGHT
    for step in range(program.replacement_begin[variant], program.replacement_begin[variant + 1]):
        op, value, computed = steps[step, 0], steps[step, 1], steps[step, 2]
        if _VAR <= op <= _CONSTANT:
            made = space[value]
            size, first, second, value = arena.size[made], mark[made, 0], mark[made, 1], nodes[made, 4]
            if op == _CONSTANT and not -_BEYOND <= value < _BEYOND:
                return False
        elif op > _TRUTH and computed == 0:
            top -= _ENTRY * _ARITY[op]
            size = 1
            first, second = own_mark(op, 0)
            for place in range(_ARITY[op]):
                turn, below = TURNS[op, place], top + _ENTRY * place
                size += space[below]
                first += turn[0] * space[below + 1] + turn[1] * space[below + 2]
                second += turn[2] * space[below + 1] + turn[3] * space[below + 2]
        else:
            if op > _TRUTH:
                top -= _ENTRY * _ARITY[op]
                value = _fold(op, space[top + 3], space[top + _ENTRY + 3] if _ARITY[op] > 1 else 0, 0)
                if value == _BEYOND:
                    return False
                op = _TRUTH if _GIVES_BOOL[op] == 1 else _INT
            size = 1
            first, second = own_mark(op, value)
        space[top], space[top + 1], space[top + 2], space[top + 3] = size, first, second, value
        top += _ENTRY
    return True


@uncounted_inline
def weighed(arena: Arena, program: Program, variant: int, term: int, space: NDArray[np.int64]) -> bool:
    """Whether a variant changes a term; size and mark of the result stand in `space` from `WEIGHT` on."""
    return (
        _matches(arena, program, variant, term, space)
        and _holds(arena, program, variant, space)
        and _weigh(arena, program, variant, space)
        and (space[WEIGHT + 1] != arena.mark[term, 0] or space[WEIGHT + 2] != arena.mark[term, 1])
    )


@uncounted_inline
def rewrite(arena: Arena, program: Program, variant: int, term: int, space: NDArray[np.int64]) -> int:
    """What a variant makes of a term; `NO` where it doesn't apply, `FULL` without room. `space` is of `scratch`."""
    if not _matches(arena, program, variant, term, space) or not _holds(arena, program, variant, space):
        return NO
    return _build(arena, program, variant, space)


@uncounted_inline
def admit(  # noqa: PLR0912  a question a place
    arena: Arena, program: Program, term: int, steepest: int, space: NDArray[np.int64]
) -> int:
    """The variants that may match a term, as bits of `program.filed[operator]` from `WORDS` on; how many words."""
    nodes, symbol, admitted, distinct = arena.nodes, arena.symbol, program.admitted, program.distinct
    op, a, b, c = nodes[term, 0], nodes[term, 1], nodes[term, 2], nodes[term, 3]
    count = program.words[op]
    if count == 0:
        return 0
    at_b = at_c = at_aa = at_ab = at_ba = at_bb = _NO_TERM
    aa, ab, ba, bb = -2, -3, -4, -5  # no two terms that aren't there are equal
    at_a = symbol[a]
    if nodes[a, 1] >= 0:
        aa = nodes[a, 1]
        at_aa = symbol[aa]
        if nodes[a, 2] >= 0:
            ab = nodes[a, 2]
            at_ab = symbol[ab]
    if b >= 0:
        at_b = symbol[b]
        if nodes[b, 1] >= 0:
            ba = nodes[b, 1]
            at_ba = symbol[ba]
            if nodes[b, 2] >= 0:
                bb = nodes[b, 2]
                at_bb = symbol[bb]
        if c >= 0:
            at_c = symbol[c]
    twins = (
        a == b, a == c, a == ba, a == bb, b == c, b == aa, b == ab, aa == ab, aa == ba, aa == bb, ab == ba, ab == bb,
        ba == bb,
    )  # fmt: skip
    any_twins = False
    for pair in twins:
        any_twins |= pair
    for word in range(count):
        bits = program.gentle[steepest, op, word] & admitted[op, 0, at_a, word] & admitted[op, 1, at_b, word]
        if not any_twins:
            bits &= distinct[op, len(twins), word]
        if bits != 0:
            bits &= admitted[op, 2, at_c, word] & admitted[op, 3, at_aa, word] & admitted[op, 4, at_ab, word]
            bits &= admitted[op, 5, at_ba, word] & admitted[op, 6, at_bb, word]
            if any_twins:
                for pair in range(len(twins)):
                    if not twins[pair]:
                        bits &= distinct[op, pair, word]
        space[WORDS + word] = bits
    return int(count)


@uncounted_inline
def lowest_bit(word: int) -> int:
    """Number of the lowest bit of a word that isn't 0 (a de Bruijn sequence; Leiserson et al., 1998)."""
    return int(_LOWEST[(((word & -word) * _DE_BRUIJN) >> 58) & 63])


@compiled
def scratch(program: Program) -> NDArray[np.int64]:
    """Space for the slots of a pattern, a stack, and what `admit` finds."""
    return np.empty(WORDS + program.admitted.shape[3], np.int64)


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
    space, count = scratch(program), 0
    words = space[WORDS:]
    for term in below(arena, root):
        filed = program.filed[arena.nodes[term, 0]]
        for place in range(admit(arena, program, term, steepest, space)):
            while words[place] != 0:
                variant = filed[place * _WORD + lowest_bit(words[place])]
                words[place] &= words[place] - 1
                result = rewrite(arena, program, variant, term, space)
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
    space = scratch(program)
    words = space[WORDS:]
    done = np.zeros(mask.shape[0], np.bool_)
    for root in roots:
        for term in below(arena, root):
            if done[term]:
                continue
            done[term] = True
            filed = program.filed[arena.nodes[term, 0]]
            for place in range(admit(arena, program, term, _UP, space)):
                while words[place] != 0:
                    variant = filed[place * _WORD + lowest_bit(words[place])]
                    words[place] &= words[place] - 1
                    result = rewrite(arena, program, variant, term, space)
                    if result == FULL:
                        return False
                    mask[term, variant] = result != NO
    return True


@uncounted_inline
def first_down(arena: Arena, program: Program, term: int, space: NDArray[np.int64]) -> tuple[int, int]:
    """The first down variant of the table that applies to a term, and its result; (`NO`, `NO`) where none does."""
    filed, words = program.filed[arena.nodes[term, 0]], space[WORDS:]
    for place in range(admit(arena, program, term, _DOWN, space)):
        while words[place] != 0:
            variant = filed[place * _WORD + lowest_bit(words[place])]
            words[place] &= words[place] - 1
            result = rewrite(arena, program, variant, term, space)
            if result != NO:
                return int(variant), result
    return NO, NO


@uncounted
def normalise(  # noqa: PLR0912  one stack machine
    arena: Arena,
    program: Program,
    root: int,
    normal: NDArray[np.int64],
    trace: NDArray[np.int64],
    steps: NDArray[np.int64],
    stack: NDArray[np.int64],
    space: NDArray[np.int64],
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
        space: More of it, of `scratch`.

    Returns:
        The normal form, `NO` where the trace is full, or `FULL`.
    """
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
            variant, result = first_down(arena, program, same, space)
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
