"""A rewriting session on the SimPy clock: what is the best that can be had within a budget of compile time?

A compiler that simplifies pays for looking as well as for rewriting. The session looks at its expression, which costs
time per term, asks its policy which rewrite to make, pays for it per node of the new term, and so on until the policy
stops or the budget is spent. Every rewrite is an event whose amount is the size it leads to, so that the best
expression at any time can be read from the log. The costs are a model; the defaults are our own reference matcher's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from sysgym.core.errors import require_range
from sysgym.core.events import EventKind, EventLog
from sysgym.exprsimp.episode import CompileTime
from sysgym.exprsimp.matcher import applications
from sysgym.exprsimp.model import Builder, Expression
from sysgym.exprsimp.rules.table import Rule, published_rules


@dataclass(frozen=True)
class Choice:
    """One rewrite that can be made: the term, the rule, and what the whole expression becomes."""

    term: int
    rule: Rule
    result: int
    root: int


Chooser = Callable[[Builder, int, Sequence[Choice]], "Choice | None"]
"""A session's policy: the table of terms, the present root, what can be done; None stops."""


@dataclass(frozen=True)
class SessionResult:
    """What a session found.

    Attributes:
        best: The smallest expression met within the budget, by (size, length); the input if none is smaller.
        finish_time: Seconds at which the session ended.
        events: A `REWRITE` for each rewrite; the subject is its number, the amount the size of the expression.
        rules: Names of the rules, in the order of the events.
    """

    best: Expression
    finish_time: float
    events: EventLog
    rules: tuple[str, ...]


def smallest(builder: Builder, root: int, choices: Sequence[Choice]) -> Choice | None:
    """Take the rewrite that leads to the smallest expression; stop when none makes it smaller."""
    best = min(choices, key=lambda choice: builder.sizes[choice.root], default=None)
    return best if best is not None and builder.sizes[best.root] < builder.sizes[root] else None


class RewritingSession:
    """One expression, one policy, one budget.

    Args:
        expression: Where the session starts.
        chooser: Its policy.
        budget: Seconds of modelled time; a rewrite that would end later is not made.
        costs: What looking and rewriting cost.
        rules: The rules; the published ones when left out.

    Raises:
        SettingError: The budget isn't positive.
    """

    def __init__(
        self,
        expression: Expression,
        chooser: Chooser = smallest,
        budget: float = 1e-3,
        costs: CompileTime | None = None,
        rules: Sequence[Rule] | None = None,
    ) -> None:
        require_range("budget", budget, 0.0, open_low=True)
        self._rules = tuple(rules) if rules is not None else published_rules()
        self._chooser, self._budget, self._costs = chooser, budget, costs or CompileTime()
        self._builder = Builder()
        self._root = self._best = self._builder.load(expression)
        self._clock = simpy.Environment()
        self._events: list[tuple[float, int]] = []
        self._applied: list[str] = []

    def run(self) -> SessionResult:
        """Play to the end."""
        process = self._clock.process(self._rewrite())
        self._clock.run(self._clock.any_of([process, self._clock.timeout(self._budget)]))
        times, sizes = (np.array([event[column] for event in self._events], np.float64) for column in (0, 1))
        kinds = np.full(len(times), EventKind.REWRITE, np.int8)
        log = EventLog(times, kinds, np.arange(len(times), dtype=np.int64), sizes)
        return SessionResult(self._builder.expression(self._best), self._clock.now, log, tuple(self._applied))

    def _rewrite(self) -> Generator[simpy.Event, Any, None]:
        builder, costs = self._builder, self._costs
        while True:
            yield self._clock.timeout(costs.look * len(builder.order(self._root)))
            choice = self._chooser(builder, self._root, self._choices())
            if choice is None:
                return
            yield self._clock.timeout(costs.rewrite + costs.node * builder.sizes[choice.result])
            self._root = choice.root
            self._events.append((self._clock.now, builder.sizes[self._root]))
            self._applied.append(choice.rule.id)
            if self._cost(self._root) < self._cost(self._best):
                self._best = self._root

    def _choices(self) -> list[Choice]:
        builder, root = self._builder, self._root
        return [
            Choice(term, self._rules[row], result, builder.replace(root, term, result))
            for term, row, _, result in applications(builder, self._rules, root)
        ]

    def _cost(self, root: int) -> tuple[int, int]:
        return self._builder.sizes[root], self._builder.expression(root).length
