"""Certificates of simplifications, and the checker that replays them.

A certificate is plain JSON: the input, the output, and steps. A step names a place in the expression (pre-order over
its tree) whose term is exchanged everywhere it occurs: by a rule, in one of its orientations, or by a term whose
equality carries a proof of its own. Steps that don't touch each other are written as one pass, whose places are all
those of the expression before it, so that thousands of rewrites cost a few walks over the expression.
The checker has its own matcher (`matcher`), reads the rules' table and their stored proofs,
follows proofs with `witness.verify`, and knows nothing of any search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from sysgym.core.errors import SysgymError
from sysgym.exprsimp.matcher import rewrite
from sysgym.exprsimp.model import Builder, Expression, ExpressionError, Op, Sort
from sysgym.exprsimp.parser import parse
from sysgym.exprsimp.printer import term_text, to_text
from sysgym.exprsimp.proofs import read_certificates
from sysgym.exprsimp.rules.table import Rule, oriented, published_rules
from sysgym.exprsimp.witness import verify

Certificate = dict[str, Any]


class CertificateError(SysgymError):
    """Raised when a certificate does not show what it says; names the first step that fails."""


def claim(builder: Builder, old: int, new: int) -> Expression:
    """The Bool expression that says that two terms are equal."""
    if builder.sorts[old] == Sort.INT:
        return builder.expression(builder.add(Op.EQ, old, new))
    op, *_, value = builder.rows[new]
    if op == Op.TRUTH:
        return builder.expression(old if value else builder.add(Op.NOT, old))
    both = builder.add(Op.AND, old, new)
    neither = builder.add(Op.NOT, builder.add(Op.OR, old, new))
    return builder.expression(builder.add(Op.OR, both, neither))


def bools_of(expression: Expression) -> list[str]:
    """Names of the Bool variables."""
    rows = expression.nodes
    return [f"v{value}" for value in sorted(set(rows[rows[:, 0] == Op.BOOL_VAR, 4].tolist()))]


def write_steps(
    builder: Builder, order: list[int], exchanges: Mapping[int, tuple[int, Mapping[str, Any]]]
) -> dict[str, Any]:
    """One step as JSON, or several as a pass.

    Args:
        builder: Table of the terms.
        order: Terms of the expression at hand, the root last.
        exchanges: What takes a term's place, and why: the rule and orientation, or the proof.
    """
    places = builder.positions(order)
    steps: list[dict[str, Any]] = []
    for term, (result, reason) in exchanges.items():
        step: dict[str, Any] = {"position": places[term], **reason}
        if "proof" in reason:
            step["result"] = term_text(builder, result)
        steps.append(step)
    return steps[0] if len(steps) == 1 else {"pass": steps}


def single_steps(certificate: Certificate) -> list[dict[str, Any]]:
    """All steps, those of passes one by one."""
    return [single for step in certificate["steps"] for single in step.get("pass", [step])]


def replay(certificate: Certificate, rules: Sequence[Rule] | None = None) -> Expression:
    """Follow a certificate to the end.

    Args:
        certificate: As in `Simplification.certificate`.
        rules: The table that the steps name; the published rules when left out, whose stored proofs are read too.

    Returns:
        The expression it arrives at, which is the certificate's output.

    Raises:
        CertificateError: A step, or the output, is not what the certificate says.
    """
    known = _proved_rules() if rules is None else {rule.id: rule for rule in rules}
    builder = Builder()
    try:
        bools = list(certificate["bools"])
        root = builder.load(parse(certificate["input"], bools))
        output = str(certificate["output"])
        steps = list(certificate["steps"])
    except (KeyError, TypeError, ExpressionError) as error:
        raise CertificateError(f"the certificate has no readable input, output, bools and steps: {error}") from error
    for number, step in enumerate(steps, 1):
        try:
            root = _follow(builder, root, step, known, bools)
        except (CertificateError, ExpressionError, KeyError, TypeError, ValueError) as error:
            raise CertificateError(f"step {number} of {len(steps)} fails: {error}") from error
    found = builder.expression(root)
    if to_text(found) != output:  # as text, in which the Int 1 and the Bool 1 are one
        raise CertificateError(f"the steps lead to {to_text(found)}, not to the output {output}")
    return found


@cache
def _proved_rules() -> dict[str, Rule]:
    """The published rules whose stored proof says that they are proved."""
    proofs = read_certificates()
    return {rule.id: rule for rule in published_rules() if rule.id in proofs and proofs[rule.id].status == "proved"}


def _follow(
    builder: Builder, root: int, step: Mapping[str, Any], rules: Mapping[str, Rule], bools: Sequence[str]
) -> int:
    if not isinstance(step, Mapping):
        raise CertificateError(f"{step!r} is no step; it must be an object with a position, or a pass of such")
    steps = step.get("pass", [step])
    places = [single["position"] for single in steps]
    if not places or any(type(place) is not int for place in places):
        raise CertificateError(f"the expression has no position {places!r}")
    results: dict[int, int] = {}
    for place, term, single in zip(places, builder.terms_at(root, places), steps, strict=True):
        if term < 0:
            raise CertificateError(f"the expression has no position {place!r}")
        results[term] = _result(builder, term, single, rules, bools)
    order = builder.order(root)
    if len(results) > 1:
        _require_apart(builder, order, results)
    return builder.exchange(root, results, order)


def _result(
    builder: Builder, term: int, step: Mapping[str, Any], rules: Mapping[str, Rule], bools: Sequence[str]
) -> int:
    """What a step puts in a term's place."""
    if "rule" in step:
        rule = rules.get(step["rule"])
        if rule is None:
            raise CertificateError(f"there is no proved rule {step['rule']!r}")
        made = _apply(builder, rule, int(step["orientation"]), term)
        if made is None:
            raise CertificateError(f"rule {rule.id} ({rule.text}) does not apply to {term_text(builder, term)}")
        return made
    result = builder.load(parse(step["result"], bools))
    if builder.sorts[result] != builder.sorts[term]:
        result = _as_truth(builder, term, result)
    if not verify(claim(builder, term, result), step["proof"]):
        raise CertificateError(f"the proof does not show that {term_text(builder, term)} is {step['result']}")
    return result


def _require_apart(builder: Builder, order: list[int], results: Mapping[int, int]) -> None:
    """Refuse a pass in which a term stands within another: it could not be told what the outer one becomes."""
    above: set[int] = set()
    for term in order:
        if any(child in above or child in results for child in builder.rows[term][1:4] if child >= 0):
            above.add(term)
            if term in results:
                raise CertificateError(f"the pass exchanges {term_text(builder, term)} and a term within it")


def _as_truth(builder: Builder, term: int, result: int) -> int:
    """`1` or `0` read on its own is an Int; where a Bool stood it is the Bool constant."""
    op, *_, value = builder.rows[result]
    if op != Op.INT or value not in (0, 1) or builder.sorts[term] != Sort.BOOL:
        raise CertificateError("the result has another sort")
    return builder.add(Op.TRUTH, value=value)


def _apply(builder: Builder, rule: Rule, orientation: int, term: int) -> int | None:
    return rewrite(builder, rule, _turned(rule, orientation), term)


@lru_cache(maxsize=4096)
def _turned(rule: Rule, orientation: int) -> Expression:
    pattern = Builder()
    return pattern.expression(oriented(pattern, pattern.load(rule.lhs), orientation))
