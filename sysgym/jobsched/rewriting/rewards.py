"""What a move earns, by name, or a function of the user's.

* `log_best`: log(least mean slowdown before / after), so an episode returns log(initial / best): late improvements
  of a good schedule count as much as early ones of a bad one, and a move that makes things worse on the way costs
  nothing.
* `best`: by how much the least mean slowdown fell, over the initial one.
* `decrease`: by how much the mean slowdown of the schedule at hand fell, over the initial one; it telescopes.
* `published`: `decrease` with 0.01 taken off the difference, a price of every move (Chen and Tian, NeurIPS 2019).
* `final`: all of `log_best` when the episode ends. Episodes on the same jobs then differ by their results alone,
  which is what REINFORCE's baseline wants: with `log_best` whoever was quick has less left to earn.

Picking a job earns 0. An injected reward is a function (state before, action, state after) -> float.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sysgym.core.compiled import compiled
from sysgym.jobsched.rewriting.model import RewriteState

Reward = Callable[[RewriteState, int, RewriteState], float]


@compiled
def reward_of(
    code: int, before: float, after: float, best_before: float, best: float, initial: float, ended: bool
) -> float:
    """A named reward of a move.

    Args:
        code: Its place in `model.REWARDS`.
        before: Mean slowdown before the move.
        after: Behind it.
        best_before: Least mean slowdown before the move.
        best: Behind it.
        initial: Mean slowdown at the beginning of the episode.
        ended: Whether the episode ends with it.
    """
    if code == 4:
        return math.log(initial / best) if ended else 0.0
    if code == 0:
        return math.log(best_before / best)
    if code == 1:
        return (best_before - best) / initial
    return (before - after - (0.01 if code == 3 else 0.0)) / initial
