"""`simplify` and `check`: one expression through one method, with a certificate.

Whatever the method, the input is returned unless neither its length nor its size grows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.core.protocols import Policy, StatePolicy
from sysgym.core.seeding import stream
from sysgym.exprsimp.certificate import Certificate, CertificateError, bools_of, replay, single_steps
from sysgym.exprsimp.evaluation import draw_points, evaluate
from sysgym.exprsimp.model import Builder, Expression, ExpressionError, Op
from sysgym.exprsimp.parser import parse
from sysgym.exprsimp.policies import SEARCHES, Search
from sysgym.exprsimp.printer import to_text
from sysgym.exprsimp.proofs import encode, require_proved, solver_module
from sysgym.exprsimp.rivals import RIVALS
from sysgym.exprsimp.rules.table import Rule
from sysgym.exprsimp.workbench import State, Workbench

METHODS = (*SEARCHES, "agent", *RIVALS)
MOST_NODES = 5_000
POINTS = 1_000
_PROOF_SECONDS = 1.0
_SHOWN = ("points", "z3", "same")
"""Ways in which `equality` shows that two expressions are equal, weakest first."""


@dataclass(frozen=True)
class Simplification:
    """What a method made of an expression.

    Attributes:
        text: Canonical text of the result.
        length: Its characters.
        size: Its nodes.
        steps: What was done, in words; empty for rivals.
        certificate: What `check` replays: rewrites and proofs, or for rivals how equality was shown.
        seconds: Time of the method itself, without parsing and without writing the certificate.
    """

    text: str
    length: int
    size: int
    steps: tuple[str, ...]
    certificate: Certificate
    seconds: float


def simplify(
    text: str | Expression,
    method: str | Policy | StatePolicy = "beam",
    time_limit: float | None = None,
    *,
    seed: int = 0,
    bools: Iterable[str] = (),
    lenient: bool = False,
    rules: Sequence[Rule] | None = None,
) -> Simplification:
    """Find a smaller expression with the same value everywhere.

    Args:
        text: The expression, or its text.
        method: greedy, beam, anneal, random, agent, or a rival: z3, z3_ctx, egglog, sympy; or a policy of the
            environment `sysgym/ExprSimplify-v0`, which plays one episode.
        time_limit: Seconds for the method; searches end by themselves too.
        seed: Of anneal and random.
        bools: Names of Bool variables.
        lenient: Whether to convert between sorts where the text mixes them.
        rules: Rules instead of the published ones; each must be proved by z3.

    Raises:
        ExpressionError: The text cannot be read, or has more than 5,000 nodes.
        UnknownNameError: There is no such method.
        SettingError: The rival isn't installed, the time limit isn't positive, or a rule is not proved.

    >>> simplify("min(v0, v1) <= max(v1, v2)").text
    '1'
    """
    expression = parse(text, bools, lenient=lenient) if isinstance(text, str) else text
    if isinstance(method, str):
        require_known("method", method, METHODS)
    if not isinstance(method, str | Policy | StatePolicy):
        raise SettingError(f"method is {method!r}; give a name ({', '.join(METHODS)}) or a policy")
    if time_limit is not None:
        require_range("time_limit", time_limit, 0.0, open_low=True)
    if expression.size > MOST_NODES:
        raise ExpressionError(
            f"the expression has {expression.size} nodes; simplify takes up to {MOST_NODES}, so split it"
        )
    if isinstance(method, str) and method in RIVALS:
        return _by_rival(expression, method, time_limit)
    if rules is not None:
        require_proved(rules)
    began = time.perf_counter()
    bench = Workbench(expression, rules)
    state = _found(bench, Search(time_limit, seed), method)
    if not _no_worse(bench.cost(state.root), bench.cost(bench.start)):
        state = State(bench.start)
    seconds = time.perf_counter() - began
    certificate = bench.certificate(state)
    size, length = bench.cost(state.root)
    steps = tuple(_told(step) for step in single_steps(certificate))
    return Simplification(certificate["output"], length, size, steps, certificate, seconds)


def _found(bench: Workbench, search: Search, method: str | Policy | StatePolicy) -> State:
    if not isinstance(method, str):
        from sysgym.exprsimp.played import played  # noqa: PLC0415  the environment's kernel

        return played(bench, search, method)
    if method == "agent":
        from sysgym.exprsimp.agent import agent  # noqa: PLC0415  its weights

        return agent(bench, search)
    return SEARCHES[method](bench, search)


def _no_worse(after: tuple[int, int], before: tuple[int, int]) -> bool:
    return after[0] <= before[0] and after[1] <= before[1]


def _told(step: dict[str, Any]) -> str:
    what = f"{step['rule']}" if "rule" in step else f"proved equal to {step['result']}"
    return f"at {step['position']}: {what}"


def _by_rival(expression: Expression, method: str, time_limit: float | None) -> Simplification:
    answer = RIVALS[method](expression, time_limit)
    found = answer.expression
    if not _no_worse((found.size, found.length), (expression.size, expression.length)):
        found = expression
    certificate: Certificate = {
        "input": to_text(expression), "output": to_text(found), "bools": bools_of(expression),
        "equality": equality(expression, found),
    }  # fmt: skip
    return Simplification(certificate["output"], found.length, found.size, (), certificate, answer.seconds)


def check(simplification: Simplification | Certificate, rules: Sequence[Rule] | None = None) -> bool:
    """Replay a certificate, and compare input and output at 1,000 points.

    A certificate of a rival has no steps but says how equality was shown, which is shown again.

    Args:
        simplification: What `simplify` gave, or its certificate.
        rules: Those that `simplify` was given, if any.

    Returns:
        True; anything else raises.

    Raises:
        CertificateError: A step fails, the output is another, the values differ somewhere, or equality cannot be shown
            as the certificate says.
        SettingError: One of the rules is not proved.
    """
    certificate = simplification if isinstance(simplification, dict) else simplification.certificate
    if isinstance(simplification, Simplification) and simplification.text != certificate.get("output"):
        raise CertificateError(f"the text {simplification.text} is not the certificate's output")
    if "equality" not in certificate:
        require_proved(rules or ())
        replay(certificate, rules)
    try:
        before, after = (parse(certificate[side], certificate["bools"]) for side in ("input", "output"))
    except (KeyError, TypeError, ExpressionError) as error:
        raise CertificateError(f"the certificate has no readable input, output and bools: {error}") from error
    shown = equality(before, after) if "equality" in certificate else by_points(before, after)
    if not shown:
        raise CertificateError(f"{certificate['input']} and {certificate['output']} differ")
    if "equality" in certificate:
        _require_shown(str(certificate["equality"]), str(shown))
    return True


def _require_shown(claimed: str, shown: str) -> None:
    if claimed not in _SHOWN:
        raise CertificateError(f"equality is {claimed!r}; it must be {', '.join(_SHOWN)}")
    if _SHOWN.index(shown) < _SHOWN.index(claimed):
        raise CertificateError(f"equality by {claimed!r} cannot be shown here, only by {shown!r}")


def equality(before: Expression, after: Expression) -> str:
    """How two expressions were shown to be equal: "same", "z3", or "points" where z3 can't tell; "" if they differ."""
    if before == after:
        return "same"
    if not by_points(before, after):
        return ""
    try:
        solver = solver_module()
    except SettingError:
        return "points"
    query = solver.Solver()
    query.set("timeout", int(1000 * _PROOF_SECONDS))
    query.add(encode(solver, before) != encode(solver, _with_sort(after, before)))
    return {"unsat": "z3", "sat": ""}.get(str(query.check()), "points")


def by_points(before: Expression, after: Expression) -> bool:
    """Whether two expressions agree at random points and corners."""
    names = sorted({*before.variables, *after.variables})
    places = {name: place for place, name in enumerate(names)}
    drawn = draw_points(stream(0, "simplify/check"), POINTS, max(1, len(names)))
    return bool(np.array_equal(evaluate(_placed(before, places), drawn), evaluate(_placed(after, places), drawn)))


def _placed(expression: Expression, places: dict[int, int]) -> Expression:
    nodes = expression.nodes.copy()
    variable = (nodes[:, 0] == Op.VAR) | (nodes[:, 0] == Op.BOOL_VAR)
    nodes[variable, 4] = [places[value] for value in nodes[variable, 4].tolist()]
    return Expression(nodes)


def _with_sort(expression: Expression, like: Expression) -> Expression:
    """`1` and `0` read on their own are Ints; beside a Bool they are the Bool constants."""
    if expression.sort == like.sort:
        return expression
    builder = Builder()
    return builder.expression(builder.add(Op.TRUTH, value=int(expression.nodes[-1, 4])))
