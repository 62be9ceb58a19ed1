"""Whole episodes of an engine under a policy, as replays and tunings play them; `bench.play` has evaluations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.engines import allocate_slot
from sysgym.core.errors import require_range
from sysgym.core.protocols import Engine, StatePolicy


def play_rows_on_state(
    engine: Engine, policy: StatePolicy, seeds: NDArray[np.uint64], episodes: NDArray[np.int64]
) -> None:
    """Play an episode in every row of an engine, to its end, under a policy that remembers nothing.

    Args:
        engine: B episodes.
        policy: Asked for every decision of every row.
        seeds: As `Engine.reset` takes them, shape (B,).
        episodes: Likewise.
    """
    count = engine.num_episodes
    slot, active = allocate_slot(engine.observation_spec, count, engine.num_actions), np.ones(count, dtype=np.bool_)
    actions = np.zeros(count, dtype=np.int64)
    engine.reset(np.arange(count), seeds, episodes)
    while active.any():
        for row in np.flatnonzero(active).tolist():
            actions[row] = policy.act_on_state(engine.state(row))
        engine.step(actions, active, slot)
        active &= ~(slot.terminated | slot.truncated)


def play_alone(engine: Engine, policy: Any, is_over: Callable[[], bool] = lambda: False) -> None:
    """Play the first episode of seed 0 on an engine of one, to its end.

    Args:
        engine: One episode.
        policy: Asked by `act_on_state` where it has that, else by `act`; `reset` first, where it has that.
        is_over: Asked before each decision; True leaves the episode as it stands.

    Raises:
        SettingError: The policy chose what is no action.
    """
    slot = allocate_slot(engine.observation_spec, 1, engine.num_actions)
    row, on, action = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_), np.zeros(1, dtype=np.int64)
    engine.reset(row, row.astype(np.uint64), row)
    engine.observe(on, slot)
    if hasattr(policy, "reset"):
        policy.reset()
    by_state = hasattr(policy, "act_on_state")
    while not (slot.terminated[0] or slot.truncated[0] or is_over()):
        if by_state:
            chosen = policy.act_on_state(engine.state(0))
        else:
            chosen = policy.act(slot.observations[0], slot.action_masks[0])
        require_range("the policy's action", chosen, 0, engine.num_actions - 1, whole=True)
        action[0] = chosen
        engine.step(action, on, slot)
