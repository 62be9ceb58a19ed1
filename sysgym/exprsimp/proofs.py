"""Proofs of rules by z3 over unbounded integers, and their certificates.

z3 is asked for values under which the condition holds and the two sides differ; none is a proof. z3 leaves division
by zero open, so every division is guarded to give 0 there. A condition that nothing satisfies would prove anything, so
that is asked too; a counterexample is evaluated by our own evaluator before it is believed; and every proved rule is
tried on random and corner values besides (Newcomb et al., OOPSLA 2020, prove Halide's rules likewise).
"""

from __future__ import annotations

import hashlib
import json
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.core.errors import InputFileError, SettingError
from sysgym.core.files import atomic_write
from sysgym.core.seeding import stream
from sysgym.exprsimp.evaluation import draw_points, evaluate
from sysgym.exprsimp.model import Expression, Op
from sysgym.exprsimp.rules.table import PUBLISHED, SLOTS, Rule, name_of, published_rules, rule_text

if TYPE_CHECKING:
    import z3

CERTIFICATES = PUBLISHED.with_name("proofs.jsonl")
_TRIALS = 4000
_PYTHON: dict[Op, Callable[[Any, Any], Any]] = {
    Op.ADD: operator.add, Op.SUB: operator.sub, Op.MUL: operator.mul, Op.LT: operator.lt, Op.LE: operator.le,
    Op.EQ: operator.eq,
}  # fmt: skip
_SECONDS = 3.0


@dataclass(frozen=True)
class Proof:
    """What is known of a rule.

    Attributes:
        id: The rule.
        status: "proved", "refuted", "unknown" or "vacuous" (nothing satisfies the condition).
        milliseconds: Time of the solver.
        solver: Name and version.
        query: SHA-256 of the question's assertions in SMT-LIB.
        counterexample: Values by name under which the sides differ, with "lhs" and "rhs"; None unless refuted.
        trials: Random values, corners among them, that satisfied the condition and gave equal sides.
    """

    id: str
    status: str
    milliseconds: float
    solver: str
    query: str
    counterexample: Mapping[str, int] | None
    trials: int

    def __str__(self) -> str:
        if self.counterexample is None:
            return f"{self.id}: {self.status}"
        values = ", ".join(f"{name} = {value}" for name, value in self.counterexample.items())
        return f"{self.id}: {self.status}: {values}"


Sides = tuple[Expression, Expression, Expression]
"""Pattern, replacement and condition of a rule."""

_ASKED: dict[Sides, Proof] = {}


def solver_module() -> Any:
    """The module z3.

    Raises:
        SettingError: It isn't installed.
    """
    try:
        import z3  # noqa: PLC0415  an extra, and slow to load
    except ImportError as error:
        raise SettingError("z3 is not installed; pip install 'sysgym[rivals]' brings z3-solver") from error
    return z3


def encode(solver: Any, expression: Expression, names: Mapping[tuple[int, int], Any] | None = None) -> Any:
    """An expression as a z3 term with our division; names replace leaves."""
    made: list[Any] = []
    for op, a, b, c, value in expression.nodes.tolist():
        x, y = made[a] if a >= 0 else None, made[b] if b >= 0 else None  # type: Any, Any
        if op == Op.INT:
            term = solver.IntVal(value)
        elif op == Op.TRUTH:
            term = solver.BoolVal(bool(value))
        elif op in (Op.VAR, Op.CONSTANT, Op.BOOL_VAR):
            if names is not None and (op, value) in names:
                term = names[op, value]
            else:
                term = (solver.Bool if op == Op.BOOL_VAR else solver.Int)(f"v{value}")
        elif op in (Op.DIV, Op.MOD):
            zero = solver.IntVal(0)
            exact = x / y if op == Op.DIV else x % y
            divisor = expression.nodes[b]
            known = divisor[0] == Op.INT
            term = (zero if divisor[4] == 0 else exact) if known else solver.If(y == 0, zero, exact)
        elif op in (Op.MIN, Op.MAX):
            term = solver.If(x <= y, x, y) if op == Op.MIN else solver.If(x <= y, y, x)
        elif op == Op.SELECT:
            term = solver.If(x, y, made[c])
        elif op == Op.NOT:
            term = solver.Not(x)
        elif op in (Op.AND, Op.OR):
            term = (solver.And if op == Op.AND else solver.Or)(x, y)
        else:
            term = _PYTHON[Op(op)](x, y)
        made.append(term)
    return made[-1]


def prove(rule: Rule, seconds: float = _SECONDS) -> Proof:
    """Prove or refute one rule.

    Raises:
        SettingError: z3 isn't installed.
    """
    solver = solver_module()
    leaves = _leaves(rule.lhs)
    names = {
        (op, value): (solver.Bool if op == Op.BOOL_VAR else solver.Int)(name_of(op, value)) for op, value in leaves
    }
    lhs, rhs, condition = (encode(solver, side, names) for side in (rule.lhs, rule.rhs, rule.condition))
    check: z3.Solver = solver.Solver()
    check.set("timeout", int(1000 * seconds))
    check.add(condition)
    began = time.perf_counter()
    if check.check() == solver.unsat:
        return Proof(rule.id, "vacuous", _since(began), _version(solver), _hash(check), None, 0)
    if rule.hint is not None:
        *_, (_, a, b, _, _) = rule.hint.nodes.tolist()
        factor, other = (encode(solver, Expression(rule.hint.nodes[: row + 1]), names) for row in (a, b))
        check.add(solver.Implies(factor != 0, _absolute(solver, factor * other) >= _absolute(solver, other)))
    check.add(lhs != rhs)
    status = {"unsat": "proved", "sat": "refuted"}.get(str(check.check()), "unknown")
    query, spent = _hash(check), _since(began)
    example = None
    if status == "refuted":
        example = _counterexample(rule, check.model(), names, solver)
        status = "refuted" if example else "unknown"
    trials, failing = (0, None) if example else _try(rule)
    if failing is not None:
        status, example = "refuted", failing
    return Proof(rule.id, status, round(spent, 2), _version(solver), query, example, trials)


def prove_all(rules: Iterable[Rule]) -> Iterator[Proof]:
    """Prove rules one by one, as they are asked for."""
    return (prove(rule) for rule in rules)


def require_proved(rules: Iterable[Rule]) -> None:
    """Refuse rules that z3 does not prove; the published ones have stored proofs, others are asked once a process.

    Raises:
        SettingError: A rule is refuted (with the counterexample), unknown or vacuous, or z3 isn't installed.
    """
    for rule in rules:
        sides = rule.lhs, rule.rhs, rule.condition
        if sides in _published_sides():
            continue
        if sides not in _ASKED:
            _ASKED[sides] = prove(rule)
        if _ASKED[sides].status != "proved":
            raise SettingError(f"rule {rule.text!r} is not proved, so it may change values; {_ASKED[sides]}")


@cache
def _published_sides() -> frozenset[Sides]:
    proofs = read_certificates()
    return frozenset(
        (rule.lhs, rule.rhs, rule.condition)
        for rule in published_rules()
        if rule.id in proofs and proofs[rule.id].status == "proved"
    )


def write_certificates(proofs: Iterable[Proof], path: str | Path = CERTIFICATES) -> None:
    """Store proofs as JSON Lines."""
    with atomic_write(path) as handle:
        for proof in proofs:
            handle.write(json.dumps(asdict(proof)) + "\n")


def read_certificates(path: str | Path = CERTIFICATES) -> dict[str, Proof]:
    """Stored proofs by rule.

    Raises:
        InputFileError: The file is missing or a line is no certificate.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputFileError(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputFileError(path, f"no certificates: {error}") from error
    proofs = {}
    for number, line in enumerate(lines, 1):
        try:
            proof = Proof(**json.loads(line))
        except (TypeError, json.JSONDecodeError) as error:
            raise InputFileError(path, f"no certificate: {error}", line=number) from error
        proofs[proof.id] = proof
    return proofs


def _absolute(solver: Any, term: Any) -> Any:
    return solver.If(term >= 0, term, -term)


def _leaves(expression: Expression) -> list[tuple[int, int]]:
    rows = expression.nodes.tolist()
    return [(op, value) for op, *_, value in rows if op in (Op.VAR, Op.BOOL_VAR, Op.CONSTANT)]


def _since(began: float) -> float:
    return 1000 * (time.perf_counter() - began)


def _version(solver: Any) -> str:
    return f"z3 {solver.get_version_string()}"


def _hash(check: Any) -> str:
    """Of the assertions alone: the order in which z3 declares names depends on what the process has asked before."""
    return hashlib.sha256("\n".join(each.sexpr() for each in check.assertions()).encode()).hexdigest()


def plain(expression: Expression) -> Expression:
    """A side of a rule with constants as variables, so that it can be evaluated: slot i is variable i."""
    nodes = expression.nodes.copy()
    nodes[nodes[:, 0] == Op.CONSTANT, 0] = Op.VAR
    return Expression(nodes)


def _counterexample(rule: Rule, model: Any, names: Mapping[tuple[int, int], Any], solver: Any) -> dict[str, int] | None:
    """A model as values by name, if our evaluator agrees that the sides differ there."""
    slots, values = [0] * SLOTS, {}
    for (op, slot), term in names.items():
        found = model.eval(term, model_completion=True)
        slots[slot] = int(solver.is_true(found)) if op == Op.BOOL_VAR else found.as_long()
        values[name_of(op, slot)] = slots[slot]
    point = np.array([slots], object)
    lhs, rhs, holds = (int(evaluate(plain(side), point)[0]) for side in (rule.lhs, rule.rhs, rule.condition))
    return {**values, "lhs": lhs, "rhs": rhs} if holds and lhs != rhs else None


def _try(rule: Rule) -> tuple[int, dict[str, int] | None]:
    """Count random values under which the condition and equality hold; a failing one if there is any."""
    generator = stream(0, f"rule/{rule_text(rule.lhs)}")
    points = draw_points(generator, _TRIALS, SLOTS)
    small = generator.integers(-9, 10, size=(_TRIALS, SLOTS))
    tied = points[:, generator.integers(0, SLOTS, size=SLOTS)]
    points = np.concatenate([points, small, tied])
    points = points[evaluate(plain(rule.condition), points) != 0]
    lhs, rhs = evaluate(plain(rule.lhs), points), evaluate(plain(rule.rhs), points)
    wrong = np.flatnonzero(lhs != rhs)
    if not len(wrong):
        return len(points), None
    row = int(wrong[0])
    example = {name_of(op, slot): int(points[row, slot]) for op, slot in _leaves(rule.lhs)}
    return len(points), {**example, "lhs": int(lhs[row]), "rhs": int(rhs[row])}
