"""`sysgym/ExprSimplify-v0`: an expression is rewritten by proved rules, one term and one rule at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from sysgym.envs.bounds import Bound
from sysgym.envs.built import Built, BuiltEnv, BuiltVectorEnv
from sysgym.exprsimp.engine import build_engine
from sysgym.exprsimp.episode import EpisodeConfig, rules_of
from sysgym.exprsimp.heuristics import HEURISTICS
from sysgym.exprsimp.pool import Expressions, make_pool
from sysgym.exprsimp.rules.table import Rule
from sysgym.exprsimp.simulator import Reward


def build_expression_engine(
    num_episodes: int,
    expressions: Expressions = None,
    *,
    distribution: str = "neurewriter",
    split: str | None = None,
    sampling: str = "uniform",
    count: int = 1000,
    field: str = "expr",
    rules: str | Path | Sequence[Rule] = "published",
    normalise: bool = True,
    max_nodes: int = 128,
    max_steps: int = 50,
    time_limit: float | None = None,
    reward: str | Reward = "length",
    illegal_penalty: float = 0.01,
    engine: str = "auto",
) -> Built:
    """The engine behind `ExprSimplifyEnv`, with the same arguments."""
    config = EpisodeConfig(rules_of(rules), normalise, max_nodes, max_steps, time_limit, illegal_penalty)
    pool = make_pool(
        expressions, distribution=distribution, split=split, sampling=sampling, count=count, field=field,
        max_nodes=max_nodes,
    )  # fmt: skip
    return Built(build_engine(config, pool, num_episodes, engine, reward), pool)


class ExprSimplifyEnv(BuiltEnv):
    """Make an integer expression shorter by proved rules.

    ## Description
    An expression of Halide's language is rewritten: each action names a term and a rule, the term is exchanged
    wherever it occurs, and the value never changes, because z3 has proved every rule. Rules that make an expression
    smaller in a well-founded order need no decision; they run by themselves after every rewrite. What is left to a
    policy are the 106 proved rules that keep the size or let it grow, which is how most improvements begin. The best
    expression met is what counts.

    ## Action Space
    `Discrete(128 x 106 + 1)`: action `term * rules + rule` for the term in this row of the observation and this rule
    of `EpisodeConfig.actions`; the last one stops. A rewrite is masked where the rule does not apply in any order of
    its commutative operators (the first that changes the term is taken), where a computed constant leaves 32 bits,
    where the result exceeds `max_nodes`, and where it was met before in this episode. An action that is masked changes
    nothing and costs `illegal_penalty`.

    ## Observation Space
    `Box(-2^31, 2^31 - 1, (129, 8), int32)`: a row a unique term, operands before their operator, the root last; zeros
    behind it, and the last row for the episode.

    | column | of a term | of the episode |
    |---|---|---|
    | 0 | operator + 1, see `sysgym.exprsimp.model.Op` | steps left |
    | 1, 2, 3 | row + 1 of each operand, 0 for none | thousandths of the time left; size; length |
    | 4 | constant, held within 32 bits, or variable's number | size of the best |
    | 5 | nodes | length of the best |
    | 6 | characters | size of the input |
    | 7 | occurrences | length of the input |

    ## Rewards
    `length`: every improvement of the least length met, over the input's length; `size` likewise in nodes.
    `delta_length`, `delta_size`: the change of the expression at hand, which telescopes. `time`: minus the area below
    the best size over modelled time, for `time_limit`. Or a function of (state before, action, state after).

    ## Starting State
    The normal form of an expression drawn from the split: generated as in Chen & Tian's table 2, or one's own
    expressions. `reset(options={"expression": "min(v0, v1) <= v2"})` begins with a given one.

    ## Episode End
    Terminates when the policy stops, when nothing is left to rewrite, or when a rewrite would end after `time_limit`
    (it is then not made). Truncates after `max_steps` actions.

    ## Information
    `action_mask` (int8); at the end `metrics`: shares of characters and nodes that the best expression saves, what
    the normal form alone saved, sizes, rewrites, modelled seconds until the best was found. `state.best` is the best
    expression's table, `state.trace` the rows and rules that were chosen.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `expressions` | None | a list, the path of a .txt or .jsonl file, an `ExpressionPool`; None generates |
    | `distribution` | "neurewriter" | of what is generated: also `halide`, `fuzz`, `inverse` |
    | `split` | None | `train`, `valid`, `test`, which share no shape, or `all`; None: train, of one's own all |
    | `sampling` | "uniform" | drawn from (seed, episode); `disjoint`: number seed + episode |
    | `count`, `field` | 1000, "expr" | how many are generated; the field of a .jsonl file |
    | `rules` | "published" | or a file of rules, or a list of `Rule`, which z3 must prove |
    | `normalise` | True | False: nothing runs by itself, and all 629 rules are actions |
    | `max_nodes`, `max_steps` | 128, 50 | limits of the expression and the episode |
    | `time_limit` | None | modelled seconds, for example 0.002 |
    | `reward` | "length" | see Rewards |
    | `illegal_penalty` | 0.01 | what a masked action costs |
    | `observation` | None | an object with `spec` and `encode(state, observation)` in place of the above |
    | `engine` | "auto" | `compiled`, `simpy`; auto takes SimPy for a reward of one's own |

    ## Vectorized Environment
    `gym.make_vec("sysgym/ExprSimplify-v0", num_envs=64)` steps compiled episodes together; see `EngineVectorEnv`.

    ## Baselines and Bound
    `stop` (the normal form), `random`, `first`, `smallest`, `shortest`, `climbing`; the searches of `sysgym simplify`
    and the learned rewriter in docs/expressions.md. A share of 1 is not reached: no expression has 0 characters.

    ## Validation
    SimPy and the kernel agree bit for bit over rules, limits and rewards; every state of an episode has the input's
    values at random points (`tests/exprsimp/test_episodes.py`); all rules are proved in `tests/exprsimp/test_rules.py`.

    ## References
    Chen and Tian: Learning to perform local rewriting for combinatorial optimization, NeurIPS 2019. Departures: rules
    are proved; an action is a rule instead of one of 19 categories; a term is exchanged everywhere it occurs.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": [], "discount": 1.0}  # noqa: RUF012  Gymnasium's own declaration
    build = staticmethod(build_expression_engine)
    heuristics = HEURISTICS
    do_nothing = "stop"
    objective = "length_share"
    direction = "max"
    bound = Bound("bound", 1.0)
    domain = "Expression simplification"
    known_at_once = True
    scenario_arguments: ClassVar[dict[str, Any]] = {"sampling": "disjoint"}

    def __init__(
        self, expressions: Expressions = None, render_mode: str | None = None,
        **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(render_mode, expressions=expressions, **arguments)


class ExprSimplifyVectorEnv(BuiltVectorEnv, single=ExprSimplifyEnv):
    """Many episodes of `ExprSimplifyEnv` at once; see there for the arguments."""
