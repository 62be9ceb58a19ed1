"""The rival egglog: our rules as an e-graph's, bounded, and the smallest term extracted.

Every rule is exported in the orientation in which it is written, beside the axioms of commutativity. Conditions become
one rule for each way to fulfil them; what is made of constants is computed by egglog's 64-bit numbers, with our
division spelt out, and only for constants of at most 30 bits, so that nothing overflows. The graph grows one iteration
at a time: four, and more until one takes 10 ms, 40 are done, or the time is up (0.3 s unless told).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

from sysgym.core.errors import SettingError
from sysgym.exprsimp.model import ARITY, COMMUTATIVE, Builder, Expression, Op
from sysgym.exprsimp.rules.table import Rule, name_of, published_rules

_NAMES: dict[Op, str] = {op: op.name.title().replace("_", "") for op in Op if op != Op.CONSTANT}
_PRIMITIVES = {Op.ADD: "+", Op.SUB: "-", Op.MUL: "*", Op.MIN: "min", Op.MAX: "max"}
_LEAVES = (Op.INT, Op.TRUTH, Op.VAR, Op.BOOL_VAR)
_LARGEST = 2**30
_MOST_NODES = 1_000
_SECONDS, _ITERATION, _ITERATIONS, _FIRST = 0.3, 0.01, 40, 3
_TOKEN = re.compile(r"[()]|[^\s()]+")


def egglog_module() -> Any:
    """The module egglog.bindings.

    Raises:
        SettingError: It isn't installed.
    """
    try:
        from egglog import bindings  # noqa: PLC0415  an extra, and slow to load
    except ImportError as error:
        raise SettingError("egglog is not installed; pip install 'sysgym[rivals]' brings it") from error
    return bindings


def saturated(expression: Expression, time_limit: float | None = None) -> tuple[Expression | None, float]:
    """The smallest term that was found equal, and the seconds that it took; None where egglog gave up.

    Raises:
        SettingError: egglog isn't installed.
    """
    bindings = egglog_module()
    if expression.size > _MOST_NODES or any(abs(row[4]) >= _LARGEST for row in expression.nodes.tolist()):
        return None, 0.0
    graph = _graph()
    began = time.perf_counter()
    graph.run_program(*graph.parse_program("(push)"))
    try:
        graph.run_program(*graph.parse_program(f"(let $root {_term(expression)})"))
        for iteration in range(_ITERATIONS):
            before = time.perf_counter()
            graph.run_program(*graph.parse_program("(run 1)"))
            now = time.perf_counter()
            if iteration >= _FIRST and (now - before > _ITERATION or now - began > (time_limit or _SECONDS)):
                break
        answer = str(graph.run_program(*graph.parse_program("(extract $root)"))[-1])
    except bindings.EggSmolError:
        answer = ""
    graph.run_program(*graph.parse_program("(pop)"))
    seconds = time.perf_counter() - began
    return (_read(answer) if answer else None), seconds


@cache
def _graph() -> Any:
    """An e-graph that knows the rules."""
    bindings = egglog_module()
    graph = bindings.EGraph()
    graph.run_program(*graph.parse_program(program_text(published_rules())))
    return graph


def program_text(rules: tuple[Rule, ...]) -> str:
    """Our language and rules as an egglog program."""
    constructors = [f"({_NAMES[op]} {'i64' if op in _LEAVES else ' '.join(['E'] * ARITY[op])})" for op in _NAMES]
    lines = [f"(datatype E {' '.join(constructors)})"]
    lines += [f"(rewrite ({_NAMES[op]} x y) ({_NAMES[op]} y x))" for op in Op if op in COMMUTATIVE]
    return "\n".join([*lines, *(line for rule in rules for line in _exported(rule))])


def _exported(rule: Rule) -> Iterator[str]:
    """A rule's lines, one for each way to fulfil its condition."""
    constants = sorted({name_of(op, value) for op, *_, value in rule.lhs.nodes.tolist() if op == Op.CONSTANT})
    bounds = [f"(< {name} {_LARGEST})" for name in constants] + [f"(< -{_LARGEST} {name})" for name in constants]
    left, right = _pattern(rule.lhs), _replacement(rule.rhs)
    if right is None:
        yield from _folded_truth(rule, left, bounds)
        return
    made, computed = right
    for ways in _ways(rule.condition, len(rule.condition.nodes) - 1, True):
        facts = " ".join([f"(= e {left})", *bounds, *ways, *computed])
        yield f"(rule ({facts}) ((union e {made})))"


def _folded_truth(rule: Rule, left: str, bounds: list[str]) -> Iterator[str]:
    """A comparison of constants: one rule for true, one for false."""
    for truth in (True, False):
        for ways in _ways(rule.rhs, len(rule.rhs.nodes) - 1, truth):
            facts = " ".join([f"(= e {left})", *bounds, *ways])
            yield f"(rule ({facts}) ((union e (Truth {int(truth)}))))"


def _pattern(expression: Expression) -> str:
    made: list[str] = []
    for op, a, b, c, value in expression.nodes.tolist():
        if op in (Op.VAR, Op.BOOL_VAR):
            made.append(name_of(op, value))
        elif op == Op.CONSTANT:
            made.append(f"(Int {name_of(op, value)})")
        else:
            parts = [made[child] for child in (a, b, c) if child >= 0] or [str(value)]
            made.append(f"({_NAMES[Op(op)]} {' '.join(parts)})")
    return made[-1]


def _replacement(expression: Expression) -> tuple[str, list[str]] | None:
    """The replacement's term and the facts that compute its constants; None where it computes a Bool."""
    made: list[str] = []
    numbers: list[str | None] = []
    facts: list[str] = []
    for row, (op, a, b, c, value) in enumerate(expression.nodes.tolist()):
        operands = [child for child in (a, b, c) if child >= 0]
        if op == Op.CONSTANT:
            numbers.append(name_of(op, value))
            made.append(f"(Int {name_of(op, value)})")
        elif op in (Op.VAR, Op.BOOL_VAR):
            numbers.append(None)
            made.append(name_of(op, value))
        elif op in (Op.INT, Op.TRUTH):
            numbers.append(str(value))
            made.append(f"({_NAMES[Op(op)]} {value})")
        elif all(numbers[child] is not None for child in operands) and op != Op.SELECT:
            if op not in _PRIMITIVES and op not in (Op.DIV, Op.MOD):
                return None
            name = f"k{row}"
            facts += [f"(= {name} {_computed(op, *(str(numbers[child]) for child in operands))})"]
            facts += [f"(< {name} {_LARGEST})", f"(< -{_LARGEST} {name})"]
            numbers.append(name)
            made.append(f"(Int {name})")
        else:
            numbers.append(None)
            made.append(f"({_NAMES[Op(op)]} {' '.join(made[child] for child in operands)})")
    return made[-1], facts


def _computed(op: int, a: str, b: str) -> str:
    """Our arithmetic in egglog's; a division by 0 fails, and with it the match."""
    if op in _PRIMITIVES:
        return f"({_PRIMITIVES[Op(op)]} {a} {b})"
    size = f"(max {b} (- 0 {b}))"
    remainder = f"(% (+ (% {a} {size}) {size}) {size})"
    return remainder if op == Op.MOD else f"(/ (- {a} {remainder}) {b})"


def _number(expression: Expression, row: int) -> str:
    """An Int over constants."""
    op, a, b, _, value = expression.nodes[row].tolist()
    if op == Op.CONSTANT:
        return name_of(op, value)
    if op == Op.INT:
        return str(value)
    return _computed(op, _number(expression, a), _number(expression, b))


def _ways(expression: Expression, row: int, truth: bool) -> list[list[str]]:
    """A condition as alternatives, each a list of facts."""
    op, a, b, _, value = expression.nodes[row].tolist()
    if op == Op.TRUTH:
        return [[]] if bool(value) == truth else []
    if op == Op.NOT:
        return _ways(expression, a, not truth)
    if op in (Op.AND, Op.OR):
        left, right = _ways(expression, a, truth), _ways(expression, b, truth)
        return [x + y for x, y in product(left, right)] if (op == Op.AND) == truth else left + right
    x, y = _number(expression, a), _number(expression, b)
    if op == Op.EQ:
        return [[f"(= {x} {y})" if truth else f"(!= {x} {y})"]]
    symbol = "<" if (op == Op.LT) == truth else "<="
    return [[f"({symbol} {x} {y})" if truth else f"({symbol} {y} {x})"]]


def _term(expression: Expression) -> str:
    made: list[str] = []
    for op, a, b, c, value in expression.nodes.tolist():
        parts = [made[child] for child in (a, b, c) if child >= 0] or [str(value)]
        made.append(f"({_NAMES[Op(op)]} {' '.join(parts)})")
    return made[-1]


def _read(text: str) -> Expression:
    """A term as egglog prints it."""
    operators = {name: op for op, name in _NAMES.items()}
    builder, stack = Builder(), list[list[Any]]()
    for token in _TOKEN.findall(text):
        if token == "(":
            stack.append([])
        elif token != ")":
            stack[-1].append(token)
        else:
            name, *parts = stack.pop()
            op = operators[name]
            made = builder.add(op, value=int(parts[0])) if op in _LEAVES else builder.add(op, *parts)
            if not stack:
                return builder.expression(made)
            stack[-1].append(made)
    raise AssertionError(text)
