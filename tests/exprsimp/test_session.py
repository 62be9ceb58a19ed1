"""Rewriting sessions: costs add up, the budget binds, and the log tells what was found when."""

import numpy as np
import pytest

from sysgym.core.errors import SettingError
from sysgym.exprsimp import evaluate, parse, to_text
from sysgym.exprsimp.episode import CompileTime
from sysgym.exprsimp.session import RewritingSession, smallest

TEXT = "(v0 + 3 + 4) * 1 - v0 + min(v1, v1)"


def test_a_session_pays_for_looking_and_rewriting():
    costs = CompileTime(look=1.0, rewrite=10.0, node=0.5)
    result = RewritingSession(parse("v0 + 0"), costs=costs, budget=100.0).run()
    # looks at 3 terms, rewrites to a term of 1 node, looks at 1 term and stops
    assert result.events.time.tolist() == [3.0 + 10.0 + 0.5] and result.finish_time == 14.5
    assert to_text(result.best) == "v0" and result.rules == ("alg_const.6",) and result.events.amount.tolist() == [1]


def test_more_time_never_finds_less():
    expression = parse(TEXT)
    sizes = []
    for budget in (1e-6, 3e-4, 6e-4, 1e-2):
        result = RewritingSession(expression, smallest, budget).run()
        assert (result.events.time <= budget).all() and result.finish_time <= budget
        assert (np.diff(result.events.amount) < 0).all()
        points = np.random.default_rng(1).integers(-50, 50, size=(200, 2))
        assert np.array_equal(evaluate(expression, points), evaluate(result.best, points))
        sizes.append(result.best.size)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == expression.size and sizes[-1] == 3


def test_a_policy_of_ones_own_may_go_uphill():
    def first_larger(builder, root, choices):
        larger = [choice for choice in choices if builder.sizes[choice.root] > builder.sizes[root]]
        return larger[0] if larger and builder.sizes[root] < 30 else None

    expression = parse("min(v0, v1) < v2")
    result = RewritingSession(expression, first_larger, 1.0).run()
    assert len(result.events) and result.best == expression and result.events.amount[-1] > expression.size


def test_a_budget_must_be_positive():
    with pytest.raises(SettingError, match="budget is 0"):
        RewritingSession(parse("v0"), budget=0)
