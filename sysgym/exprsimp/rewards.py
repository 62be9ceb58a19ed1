"""Rewards of rewriting: one formula each, compiled, for both engines.

`length` and `size` pay for every improvement of the least length (size) met so far, as a share of the input's: their
sum over an episode is what the best expression saves over the first. `delta_length` and `delta_size` pay for the
expression at hand, downhill and up, and telescope. `time` is for a budget of modelled seconds: each second costs the
share of the nodes that the best expression still has, and what is left of the budget when an episode ends is charged
too, so that the sum is minus the area below the curve of the best size over time.
"""

from __future__ import annotations

from sysgym.core.compiled import uncounted

REWARDS = ("length", "size", "delta_length", "delta_size", "time")
LENGTH, SIZE, DELTA_LENGTH, DELTA_SIZE, TIME = range(5)


@uncounted
def reward_of(
    kind: int, of_input: tuple[int, int], before: tuple[int, int], after: tuple[int, int], least: tuple[int, int],
    now: tuple[float, float], limit: float, over: bool,
) -> float:  # fmt: skip
    """Reward of a step.

    Args:
        kind: Place in `REWARDS`.
        of_input: Size and length of the input.
        before: Size and length before the step.
        after: Behind it.
        least: Least size and length met before the step.
        now: Modelled seconds before and behind the step.
        limit: Of the modelled seconds.
        over: Whether the episode ends with this step.
    """
    if kind == LENGTH:
        return max(0, least[1] - after[1]) / of_input[1]
    if kind == SIZE:
        return max(0, least[0] - after[0]) / of_input[0]
    if kind == DELTA_LENGTH:
        return (before[1] - after[1]) / of_input[1]
    if kind == DELTA_SIZE:
        return (before[0] - after[0]) / of_input[0]
    spent = -(least[0] / of_input[0]) * ((now[1] - now[0]) / limit)
    if over:
        spent -= min(least[0], after[0]) / of_input[0] * ((limit - now[1]) / limit)
    return spent
