"""Any policy of the environment as a method of `simplify`: it plays one episode, whose best expression is taken over.

The policy sees what `sysgym/ExprSimplify-v0` shows with its default arguments. Its rewrites are made once more on the
workbench, which writes the certificate.
"""

from __future__ import annotations

import numpy as np

from sysgym.core.playing import play_alone
from sysgym.core.protocols import Policy, StatePolicy
from sysgym.exprsimp.arena import unload
from sysgym.exprsimp.compiled_engine import ExpressionKernel
from sysgym.exprsimp.episode import EpisodeConfig
from sysgym.exprsimp.matcher import INT32
from sysgym.exprsimp.policies import Search
from sysgym.exprsimp.pool import ExpressionPool
from sysgym.exprsimp.workbench import Move, State, Workbench

_NODES = 128


def played(bench: Workbench, search: Search, policy: Policy | StatePolicy) -> State:
    """The best expression of an episode; the input where it is too large for the environment."""
    start = unload(bench.arena, bench.start)
    if start.size > _NODES or np.abs(start.nodes[:, 4]).max() >= INT32:
        return State(bench.start)
    config = EpisodeConfig(bench.rules, max_nodes=_NODES)
    engine = ExpressionKernel(config, ExpressionPool([start], "all", "disjoint", _NODES), 0, 1)
    play_alone(engine, policy, search.over)
    costs = [tuple(pair) for pair in engine.costs(0).tolist()]
    best = costs.index(min(costs))
    return _repeated(bench, config, engine.state(0).trace[:best].tolist())


def _repeated(bench: Workbench, config: EpisodeConfig, trace: list[list[int]]) -> State:
    """The rewrites of an episode on the workbench."""
    names = [rule.id for rule in config.actions]
    state = bench.normalised(State(bench.start))
    for row, rule in trace:
        term = _term_of(bench, state.root, row)
        term, variant, result = next(
            application
            for application in bench.applications(state.root, 1 << 14, steepest=2)
            if application[0] == term and bench.rules[int(bench.program.rule[application[1]])].id == names[rule]
        )
        state = bench.normalised(bench.exchanged(state, Move(term, result, variant)))
    return state


def _term_of(bench: Workbench, root: int, row: int) -> int:
    """The arena's number of a row of an expression's table."""
    terms: list[int] = []
    for op, a, b, c, value in unload(bench.arena, root).nodes.tolist():
        first, second, third = (terms[child] if child >= 0 else -1 for child in (a, b, c))
        terms.append(bench.make(op, first, second, third, value))
    return terms[row]
