"""Methods side by side on one set of expressions, by one protocol.

Shares are means over all inputs, those that did not shrink included, and both metrics are those of the one expression
that was returned. Inputs that some method of the run reduced to a constant are reported by themselves, because they
make most of what anybody gains on compilers' conditions. Every result is compared with its input.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sysgym.core.errors import SettingError
from sysgym.exprsimp.certificate import replay
from sysgym.exprsimp.model import Expression, ExpressionError, Op, Sort
from sysgym.exprsimp.parser import parse
from sysgym.exprsimp.simplification import Simplification, equality, simplify


def compare(
    texts: Sequence[str],
    methods: Sequence[str],
    time_limit: float | None = None,
    seed: int = 0,
    tell: Callable[[float, str], None] = lambda share, note: None,
    *,
    bools: Iterable[str] = (),
    lenient: bool = False,
) -> list[dict[str, Any]]:
    """Simplify all expressions by all methods; one row a method.

    Args:
        texts: The expressions.
        methods: As `simplify` takes them.
        time_limit: Seconds an expression.
        seed: Of the methods that draw.
        tell: Is told the share done and the method at work.
        bools: Names of Bool variables, in all expressions.
        lenient: Whether to convert between sorts where a text mixes them.

    Returns:
        Rows with `method expressions length_share size_share bool_share int_share constants constant_inputs
        other_share mean_ms median_ms max_ms steps equal_by_proof equal_by_points different texts`: shares of the
        characters (`size_share`: nodes) that were saved, `other_share` on the inputs that no method found constant;
        `texts` are the results.

    Raises:
        ExpressionError: An expression cannot be read; says which.
        SettingError: There is no expression, or a rival isn't installed.
    """
    if not texts:
        raise SettingError("there is no expression to simplify; give at least one")
    declared = tuple(bools)
    inputs = [_parsed(number, text, declared, lenient) for number, text in enumerate(texts, 1)]
    results: dict[str, list[Simplification]] = {}
    for place, method in enumerate(methods):
        simplify("v0 + 0", method)  # kernels compile outside the clock
        results[method] = []
        for count, expression in enumerate(inputs):
            results[method].append(simplify(expression, method, time_limit, seed=seed))
            tell((place + count / len(inputs)) / len(methods), method)
    constant = [any(_is_constant(found[row]) for found in results.values()) for row in range(len(inputs))]
    return [_row(method, inputs, results[method], constant) for method in methods]


def _parsed(number: int, text: str, bools: Sequence[str], lenient: bool) -> Expression:
    try:
        return parse(text, bools, lenient=lenient)
    except ExpressionError as error:
        raise ExpressionError(f"expression {number}: {error}") from error


def _is_constant(result: Simplification) -> bool:
    return result.size == 1 and not result.text.startswith("v")


def _row(method: str, inputs: list[Expression], results: list[Simplification], constant: list[bool]) -> dict[str, Any]:
    before = [expression.length for expression in inputs]
    rows = range(len(inputs))

    def share(chosen: Sequence[int]) -> float | None:
        total = sum(before[row] for row in chosen)
        return 1 - sum(results[row].length for row in chosen) / total if total else None

    shown = Counter(_shown(expression, result) for expression, result in zip(inputs, results, strict=True))
    milliseconds = [1000 * result.seconds for result in results]
    return {
        "method": method,
        "expressions": len(inputs),
        "length_share": share(rows),
        "size_share": 1 - sum(result.size for result in results) / sum(expression.size for expression in inputs),
        "bool_share": share([row for row in rows if inputs[row].sort == Sort.BOOL]),
        "int_share": share([row for row in rows if inputs[row].sort == Sort.INT]),
        "constants": sum(map(_is_constant, results)),
        "constant_inputs": sum(constant),
        "other_share": share([row for row in rows if not constant[row]]),
        "mean_ms": statistics.mean(milliseconds),
        "median_ms": statistics.median(milliseconds),
        "max_ms": max(milliseconds),
        "steps": sum(len(result.steps) for result in results),
        "equal_by_proof": shown["same"] + shown["z3"],
        "equal_by_points": shown["points"],
        "different": shown[""],
        "texts": [result.text for result in results],
    }


def _shown(expression: Expression, result: Simplification) -> str:
    """How a result was shown equal; a certificate is replayed as well."""
    if "equality" in result.certificate:
        return str(result.certificate["equality"])
    replay(result.certificate)
    bools = [f"v{value}" for op, *_, value in expression.nodes.tolist() if op == Op.BOOL_VAR]
    return equality(expression, parse(result.text, bools))
