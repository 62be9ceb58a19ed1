"""The readable truth of an episode of rewriting: terms in a `Builder`, the readable matcher, the clock of SimPy.

A policy looks at its expression and chooses a term and a rule; the rewrite, and looking at what came of it, take
modelled time. An expression that was met in the episode, also on the way to a normal form, is not rewritten to again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.errors import SettingError, require_options
from sysgym.core.events import EventKind, EventLog, EventRecorder
from sysgym.core.protocols import Observation, Simulator
from sysgym.exprsimp.episode import EpisodeConfig, ExpressionState
from sysgym.exprsimp.matcher import normal_form, rewrite
from sysgym.exprsimp.metrics import episode_metrics
from sysgym.exprsimp.model import Builder, Expression
from sysgym.exprsimp.observation import count_occurrences, spec_of, write_episode, write_terms
from sysgym.exprsimp.parser import parse
from sysgym.exprsimp.pool import ExpressionPool, require_small
from sysgym.exprsimp.rewards import reward_of
from sysgym.exprsimp.rules.table import orientations

Reward = Callable[[ExpressionState, int, ExpressionState], float]


class ExpressionSimulator(Simulator):
    """One episode.

    Args:
        config: Parameters.
        pool: Where expressions come from.
        reward: Number of a named reward, or a function of (state before, action, state after).
    """

    def __init__(self, config: EpisodeConfig, pool: ExpressionPool, reward: int | Reward) -> None:
        self.config, self.pool, self.reward = config, pool, reward
        self.num_actions, self.observation_spec = config.num_actions, spec_of(config.max_nodes)
        self._normal = config.normal
        self._turned = [(rule, [pattern for _, pattern in orientations(rule)]) for rule in config.actions]
        self._by_operator: dict[int, list[int]] = {}
        for number, (rule, _) in enumerate(self._turned):
            self._by_operator.setdefault(int(rule.lhs.nodes[-1, 0]), []).append(number)

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """See `Simulator.reset`; `options["expression"]` is an expression, or its text, to begin with."""
        expression = starting_expression(self.config, self.pool, seed, episode, options)
        self._builder = Builder()
        self._known: dict[int, int] = {}
        loaded = self._builder.load(expression)
        self._root = self._best = normal_form(self._builder, self._normal, loaded, self._known)
        self._input = self._cost(loaded)
        self._met, self._least = {loaded, self._root}, self._cost(self._root)
        self._steps, self._over, self._trace = 0, False, list[tuple[int, int]]()
        self._log = EventRecorder()
        self._log.append(0.0, EventKind.SUBMIT, 0, self._input[0])
        self._log.append(0.0, EventKind.LENGTH, 0, self._input[1])
        self._write_down()
        self._clock = simpy.Environment()
        self._clock.process(self._play())
        self._legal = self._find_legal()
        self._run_to_decision()

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Rewrite or stop; what isn't allowed changes nothing and costs a penalty."""
        before, seconds = self.state() if callable(self.reward) else None, float(self._clock.now)
        cost, least, allowed = self._cost(self._root), self._least, action in self._legal or action == self._stop
        self._steps += 1
        self._decision.succeed(action)
        self._run_to_decision()
        over = self._over or self._steps >= self.config.max_steps
        if callable(self.reward):
            assert before is not None
            reward = float(self.reward(before, action, self.state()))
        else:
            now, after = (seconds, float(self._clock.now)), self._cost(self._root)
            reward = reward_of(self.reward, self._input, cost, after, least, now, self.config.limit, over)
        return reward - (0.0 if allowed else self.config.illegal_penalty), self._over, over and not self._over

    def observe(self, observation: Observation, action_mask: NDArray[np.int8]) -> None:
        """See `Simulator.observe`."""
        assert isinstance(observation, np.ndarray)
        table = self._table(self._root)
        count = len(table)
        occurrences = np.zeros(count, np.int64)
        count_occurrences(table, count, occurrences)
        costs = np.array([self._cost(term) for term in self._builder.order(self._root)], np.int64)
        write_terms(table, count, costs[:, 0], costs[:, 1], occurrences, observation)
        left = self.config.max_steps - self._steps
        best = self._cost(self._best)
        write_episode(observation, left, self._time_left(), self._cost(self._root), best, self._input)
        action_mask[:] = 0
        action_mask[[*self._legal, self._stop]] = 1

    def state(self) -> ExpressionState:
        """See `Simulator.state`."""
        size, length = self._cost(self._root)
        best_size, best_length = self._cost(self._best)
        actions = sorted(self._legal)
        after = [self._cost(self._followed(action)[1]) for action in actions]
        sizes, lengths = (np.array([pair[part] for pair in after], np.int64) for part in (0, 1))
        return ExpressionState(
            read_only(self._table(self._root)), size, length, read_only(self._table(self._best)), best_size,
            best_length, *self._input, self._steps, float(self._clock.now), read_only(np.array(actions, np.int64)),
            read_only(sizes), read_only(lengths), self._stop,
            read_only(np.array(self._trace, np.int64).reshape(-1, 2)),
        )  # fmt: skip

    def events(self) -> EventLog:
        """See `Simulator.events`."""
        return self._log.log()

    def metrics(self) -> dict[str, float]:
        """See `Simulator.metrics`."""
        return episode_metrics(self.events())

    @property
    def _stop(self) -> int:
        return self.config.num_actions - 1

    def _run_to_decision(self) -> None:
        self._asking = False
        while not self._asking and not self._over:
            self._clock.step()

    def _play(self) -> Generator[simpy.Event, int, None]:
        """The life of an episode: a decision, the rewrite and the time that it takes."""
        while not self._over:
            self._decision, self._asking = self._clock.event(), True
            action = yield self._decision
            if action == self._stop:
                self._over = True
            elif action in self._legal:
                yield from self._rewrite(action)

    def _rewrite(self, action: int) -> Generator[simpy.Event, int, None]:
        direct, root = self._followed(action)
        costs, left = self.config.costs, self.config.limit - self._clock.now
        size = self._builder.sizes[self._legal[action][1]]
        seconds = costs.rewrite + costs.node * size + costs.look * len(self._builder.order(root))
        if seconds > left:
            yield self._clock.timeout(left)
            self._over = True
            return
        yield self._clock.timeout(seconds)
        self._root = root
        self._met |= {direct, root}
        self._trace.append(divmod(action, len(self._turned)))
        self._write_down()
        size, length = self._cost(root)
        self._least = min(self._least[0], size), min(self._least[1], length)
        if (size, length) < self._cost(self._best):
            self._best = root
        self._legal = self._find_legal()
        self._over = not self._legal

    def _followed(self, action: int) -> tuple[int, int]:
        """What an allowed action leads to: the expression itself, and its normal form."""
        term, result = self._legal[action]
        direct = self._builder.replace(self._root, term, result)
        return direct, normal_form(self._builder, self._normal, direct, self._known)

    def _find_legal(self) -> dict[int, tuple[int, int]]:
        """Term and result of every action that is allowed."""
        builder, found = self._builder, dict[int, tuple[int, int]]()
        for row, term in enumerate(builder.order(self._root)):
            for number in self._by_operator.get(builder.rows[term][0], ()):
                result = self._result(number, term)
                if result is not None:
                    direct = builder.replace(self._root, term, result)
                    if builder.sizes[direct] <= self.config.max_nodes and direct not in self._met:
                        found[row * len(self._turned) + number] = term, result
        return found

    def _result(self, number: int, term: int) -> int | None:
        """What a rule makes of a term in the first orientation that changes it."""
        rule, patterns = self._turned[number]
        for pattern in patterns:
            result = rewrite(self._builder, rule, pattern, term)
            if result is not None and result != term:
                return result
        return None

    def _cost(self, root: int) -> tuple[int, int]:
        return self._builder.sizes[root], self._builder.lengths[root]

    def _table(self, root: int) -> NDArray[np.int64]:
        return self._builder.expression(root).nodes

    def _time_left(self) -> float:
        limit = self.config.limit
        return 1.0 if limit == np.inf else (limit - float(self._clock.now)) / limit

    def _write_down(self) -> None:
        time = 0.0 if not self._trace else float(self._clock.now)
        size, length = self._cost(self._root)
        self._log.append(time, EventKind.REWRITE, len(self._trace), size)
        self._log.append(time, EventKind.LENGTH, len(self._trace), length)


def starting_expression(
    config: EpisodeConfig, pool: ExpressionPool, seed: int, episode: int, options: Mapping[str, Any] | None
) -> Expression:
    """What an episode begins with: an expression of the pool, or that of `options`.

    Raises:
        SettingError: An option is unknown, or the expression too large.
        ExpressionError: The text cannot be read.
    """
    require_options(options, "expression")
    expression = (options or {}).get("expression")
    if expression is None:
        return pool.expressions[pool.row(seed, episode)]
    if isinstance(expression, str):
        expression = parse(expression)
    if not isinstance(expression, Expression):
        raise SettingError(f"options['expression'] is {expression!r}; give a text or an Expression")
    require_small(expression, config.max_nodes, "the expression")
    return expression
