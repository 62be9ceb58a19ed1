"""The state of the slotted cluster as text, for people."""

from __future__ import annotations

from sysgym.jobsched.slotted.model import SlottedConfig, SlottedState


def picture(state: SlottedState, config: SlottedConfig) -> str:
    """What is booked, who waits and how many more; one line a time step from now on.

    Rows after the last booked one are left out.
    """
    used = config.capacity - state.free
    rows = int(used.any(axis=1).nonzero()[0].max(initial=-1)) + 1
    lines = [f"time {state.time}, last arrival {state.since} steps ago, backlog {state.backlog_count}"]
    for row in range(rows):
        bars = "  ".join("#" * int(units) + "." * int(config.capacity - units) for units in used[row])
        lines.append(f"  +{row:<3} {bars}")
    for slot, job in enumerate(state.slot_job):
        if job >= 0:
            demand = "+".join(str(int(units)) for units in state.slot_demand[slot])
            lines.append(f"  slot {slot}: job {job}, {state.slot_length[slot]} steps, {demand} units")
    return "\n".join(lines)
