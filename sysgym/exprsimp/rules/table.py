"""Rules: what one is, how a file of them is read, and which of them always simplify.

A rule file has sections, `[category]`, and in each one rule a line: `pattern -> replacement if condition by a * b`.
`rules/published.rules` explains the words. A rule that decreases a Knuth-Bendix order is `down`: rewriting by down
rules ends, whatever is applied first. `flat` rules keep the size, `up` rules may grow and serve searches alone.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sysgym.core.errors import InputFileError
from sysgym.exprsimp.model import COMMUTATIVE, Builder, Expression, ExpressionError, Op, Sort
from sysgym.exprsimp.parser import parse_into
from sysgym.exprsimp.printer import term_text

CATEGORIES = (
    "not", "simple_bool", "eq_bool", "var_bound", "alg_const", "cmp_const", "left_association", "association",
    "muldiv_elimination", "div_reduction", "muldiv_to_mod", "muldiv_association", "muldiv_distribution",
    "select_simplification", "select_association", "select_distribution", "minmax_simplification",
    "minmax_alg_distribution", "minmax_distribution",
)  # fmt: skip
"""The nineteen published categories, in the order of the published action index."""

INT_NAMES, BOOL_NAMES, CONSTANT_NAMES = "xyzuvw", "pqrst", tuple(f"c{i}" for i in range(10))
SLOTS = len(INT_NAMES) + len(BOOL_NAMES) + len(CONSTANT_NAMES)
"""Places for what a pattern's names stand for: Int terms, then Bool terms, then constants."""

PUBLISHED = Path(__file__).parent / "published.rules"
_RULE = re.compile(r"^(?P<lhs>.+?)\s*->\s*(?P<rhs>.+?)(?:\s+if\s+(?P<condition>.+?))?(?:\s+by\s+(?P<hint>.+))?$")
_ABSOLUTE = re.compile(r"\babs\(([^()]+)\)")
_MOST_ORIENTATIONS = 6
_PRECEDENCE = {
    Op.SELECT: 9, Op.NOT: 8, Op.MOD: 7, Op.DIV: 7, Op.SUB: 6, Op.MUL: 5, Op.ADD: 4, Op.EQ: 3, Op.LE: 3, Op.LT: 2,
    Op.OR: 2, Op.AND: 2, Op.MAX: 2, Op.MIN: 2,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rule:
    """A pattern, what replaces it, and when.

    Attributes:
        id: Category and place in it, such as "not.3".
        category: Name of the section.
        text: The line of the file.
        lhs: Pattern; leaves `VAR`, `BOOL_VAR` and `CONSTANT` carry the slot of their name.
        rhs: Replacement over the same slots.
        condition: Bool expression over constants.
        hint: Product whose lemma helps the proof, or None.
        direction: "down", "flat" or "up".
    """

    id: str
    category: str
    text: str
    lhs: Expression
    rhs: Expression
    condition: Expression
    hint: Expression | None
    direction: str


def slot_of(name: str) -> tuple[Op, int] | None:
    """Leaf and slot of a name in a rule."""
    if name in CONSTANT_NAMES:
        return Op.CONSTANT, len(INT_NAMES) + len(BOOL_NAMES) + CONSTANT_NAMES.index(name)
    if len(name) == 1 and name in INT_NAMES:
        return Op.VAR, INT_NAMES.index(name)
    if len(name) == 1 and name in BOOL_NAMES:
        return Op.BOOL_VAR, len(INT_NAMES) + BOOL_NAMES.index(name)
    return None


def name_of(op: int, value: int) -> str:
    """Text of a leaf in a rule."""
    return str(value) if op in (Op.INT, Op.TRUTH) else (*INT_NAMES, *BOOL_NAMES, *CONSTANT_NAMES)[value]


def rule_text(expression: Expression) -> str:
    """Canonical text of a side of a rule."""
    builder = Builder()
    return term_text(builder, builder.load(expression), name_of)


@cache
def published_rules() -> tuple[Rule, ...]:
    """The rules of this package."""
    return read_rules(PUBLISHED)


def read_rules(path: str | Path) -> tuple[Rule, ...]:
    """Read a file of rules.

    Raises:
        InputFileError: The file cannot be read, holds no rule, or a line is not a rule; with the line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(path, f"cannot be read as UTF-8 text: {error}") from error
    rules: list[Rule] = []
    category, counts = "", Counter[str]()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text.startswith("[") and text.endswith("]") and text[1:-1].strip():
            category = text[1:-1].strip()
        elif text:
            if not category:
                raise InputFileError(path, "a rule before the first [category]", line=number)
            counts[category] += 1
            try:
                rules.append(make_rule(text, category, counts[category]))
            except ExpressionError as error:
                raise InputFileError(path, str(error), line=number) from error
    if not rules:
        raise InputFileError(path, "holds no rule; expected lines such as `x + 0 -> x` below a [category]")
    return tuple(rules)


def make_rule(text: str, category: str = "extra", place: int = 1) -> Rule:
    """Read one rule.

    Raises:
        ExpressionError: It is not written as a rule, a side is ill-typed, or a name occurs on the right alone.

    >>> make_rule("x * c0 < c1 -> x < (c1 + c0 - 1) / c0 if 0 < c0").direction
    'down'
    """
    match = _RULE.match(text)
    if match is None:
        raise ExpressionError(f"{text!r} is not a rule; write `pattern -> replacement if condition`")
    builder = Builder()
    lhs = _side(builder, match["lhs"], None)
    if builder.rows[lhs][1] < 0:
        raise ExpressionError(f"the pattern of {text!r} is a single name or constant; it must have an operator")
    sort = Sort(builder.sorts[lhs])
    rhs = _side(builder, match["rhs"], sort)
    condition = _side(builder, match["condition"] or "1", Sort.BOOL)
    hint = _side(builder, match["hint"], Sort.INT) if match["hint"] else None
    known = _leaves(builder, lhs)
    for term, where in ((rhs, "replacement"), (condition, "condition"), (hint, "hint")):
        unknown = [] if term is None else sorted(name_of(*leaf) for leaf in _leaves(builder, term) - known)
        if unknown:
            raise ExpressionError(f"the {where} of {text!r} names {', '.join(unknown)}, which the pattern lacks")
    if any(op != Op.CONSTANT for op, _ in _leaves(builder, condition)):
        raise ExpressionError(f"the condition of {text!r} speaks about terms; only constants c0 .. c9 can be tested")
    if hint is not None and builder.rows[hint][0] != Op.MUL:
        raise ExpressionError(f"the hint of {text!r} is no product; write `by factor * factor`")
    return Rule(
        f"{category}.{place}", category, text, builder.expression(lhs), builder.expression(rhs),
        builder.expression(condition), None if hint is None else builder.expression(hint),
        _direction(builder, lhs, rhs),
    )  # fmt: skip


def _side(builder: Builder, text: str, sort: Sort | None) -> int:
    return parse_into(builder, _ABSOLUTE.sub(r"max(\1, 0 - \1)", text), slot_of, sort)


def _leaves(builder: Builder, root: int) -> set[tuple[int, int]]:
    rows = (builder.rows[term] for term in builder.order(root))
    return {(op, value) for op, *_, value in rows if op in (Op.VAR, Op.BOOL_VAR, Op.CONSTANT)}


def _direction(builder: Builder, lhs: int, rhs: int) -> str:
    """Down only if every orientation of the pattern is above the replacement."""
    if all(decreases(builder, oriented(builder, lhs, mask), rhs) for mask in range(_masks(builder, lhs))):
        return "down"
    left, right = _weigh(builder, lhs), _weigh(builder, rhs)
    return "flat" if left == right else "up"


def decreases(builder: Builder, left: int, right: int) -> bool:
    """Whether a term is above another in the Knuth-Bendix order, whatever terms stand for its names.

    Weight is the number of nodes, what is made of constants counting one because it is computed. Of equal weights the
    operators of the roots decide (`_PRECEDENCE`), then the operands from the left. O(nodes) an operand.
    """
    if builder.rows[left][1] >= 0 and _is_folded(builder, right) and _constant(builder, left):
        return True  # an operator over constants becomes one constant
    while True:
        left_leaves, right_leaves = _occurrences(builder, left), _occurrences(builder, right)
        if any(count > left_leaves[leaf] for leaf, count in right_leaves.items()):
            return False
        weights = _weigh(builder, left), _weigh(builder, right)
        if weights[0] != weights[1]:
            return weights[0] > weights[1]
        if _constant(builder, left) or _constant(builder, right):
            return False
        (op, *below, _), (other, *others, _) = builder.rows[left], builder.rows[right]
        ranks = _PRECEDENCE.get(Op(op), 0), _PRECEDENCE.get(Op(other), 0)
        if op != other or below[0] < 0:
            return ranks[0] > ranks[1]
        pairs = [pair for pair in zip(below, others, strict=True) if pair[0] != pair[1]]
        if not pairs:
            return False
        left, right = pairs[0]


def _constant(builder: Builder, root: int) -> bool:
    return all(builder.rows[term][0] not in (Op.VAR, Op.BOOL_VAR) for term in builder.order(root))


def _is_folded(builder: Builder, root: int) -> bool:
    """Whether a replacement is computed to the end; `select` never is."""
    return _constant(builder, root) and all(builder.rows[term][0] != Op.SELECT for term in builder.order(root))


def _weigh(builder: Builder, root: int) -> int:
    weights: dict[int, int] = {}
    for term in builder.order(root):
        folded = _constant(builder, term)
        weights[term] = 1 if folded else 1 + sum(weights[child] for child in builder.rows[term][1:4] if child >= 0)
    return weights[root]


def _occurrences(builder: Builder, root: int) -> Counter[int]:
    counts: Counter[int] = Counter()
    stack = [root]
    while stack:
        op, *children, value = builder.rows[stack.pop()]
        stack.extend(child for child in children if child >= 0)
        if op in (Op.VAR, Op.BOOL_VAR):
            counts[value] += 1
    return counts


def orientations(rule: Rule) -> list[tuple[int, Expression]]:
    """The pattern with the operands of its commutative nodes in every order that matters.

    Returns:
        Pairs of an orientation and a pattern. Bit i of an orientation swaps the i-th commutative node, in pre-order
        over the pattern's tree. Patterns that differ in their names alone, under the same condition, are given once.
    """
    builder = Builder()
    root, condition = builder.load(rule.lhs), builder.load(rule.condition)
    found: dict[tuple[str, str], tuple[int, Expression]] = {}
    for mask in range(_masks(builder, root)):
        turned = oriented(builder, root, mask)
        names: dict[int, str] = {}
        for term in _preorder(builder, turned):
            op, *_, value = builder.rows[term]
            if op in (Op.VAR, Op.BOOL_VAR, Op.CONSTANT):
                names.setdefault(value, f"{op}_{len(names)}")
        key = _renamed_text(builder, turned, names), _renamed_text(builder, condition, names)
        found.setdefault(key, (mask, builder.expression(turned)))
    return list(found.values())


def _renamed_text(builder: Builder, root: int, names: dict[int, str]) -> str:
    return term_text(builder, root, lambda op, value: str(value) if op <= Op.TRUTH else names.get(value, "?"))


def _masks(builder: Builder, root: int) -> int:
    places = sum(builder.rows[term][0] in COMMUTATIVE for term in _preorder(builder, root))
    return 1 << min(places, _MOST_ORIENTATIONS)


def oriented(builder: Builder, root: int, mask: int) -> int:
    """A pattern's tree with some of its commutative nodes swapped; see `orientations`."""
    tree = [builder.rows[term] for term in _preorder(builder, root)]
    bits = itertools.count()
    swapped = [row[0] in COMMUTATIVE and bool(mask >> next(bits) & 1) for row in tree]
    made: list[int] = []
    for (op, a, b, c, value), swap in zip(reversed(tree), reversed(swapped), strict=True):
        children = [made.pop() for child in (a, b, c) if child >= 0]
        if swap:
            children.reverse()
        first, second, third = children + [-1] * (3 - len(children))
        made.append(builder.add(op, first, second, third, value))
    return made[0]


def _preorder(builder: Builder, root: int) -> list[int]:
    found, stack = [], [root]
    while stack:
        term = stack.pop()
        found.append(term)
        stack.extend(child for child in reversed(builder.rows[term][1:4]) if child >= 0)
    return found
