"""What a policy may see as rows of features, one for each slot or for each action, over one row of the state.

The image shows rectangles, from which a network has to find out what a scheduler asks at once: which jobs could start,
beside which others, in whose way they would be. These encoders answer that, scaled to about 0..1. `slots` has a row a
slot. `choices` has a row for each action, void included, so that one network, shared over the rows, scores them all,
and its last row, void's, describes the state as a whole. `choices_foreseen` adds to that row what no policy may see:
what is still to come, for the value that an actor-critic learns beside its policy (`write_foreseen`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.jobsched.slotted.model import SlottedState

JOB_FEATURES, COMMON_FEATURES = 5, 4
"""Columns of `write_slots` that describe a job, besides its demands, and that all rows share, besides the profile."""
PROFILE = (0, 1, 2, 3, 5, 8, 12, 16)
"""Rows of the horizon whose use is shown."""
LENGTHS = (1, 2, 3, 9, 1 << 30)
"""Longest job of each class of lengths that `write_choices` counts."""
CHOICE_FEATURES, STATE_FEATURES = 8, 6 + len(LENGTHS)
"""Columns of `write_choices` on a job and on the state, besides those that there are for each resource."""

AHEAD = (1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 50)
"""Spans of elements to come that `write_foreseen` sums up."""
SHORT = 3
"""Longest job that it counts as short."""


class Layout(NamedTuple):
    """The numbers that encoders need and the state does not have."""

    capacity: int
    slot_columns: int
    backlog_columns: int
    since_unit: int
    """What the time since the last arrival is divided by."""
    usable_rows: int


@compiled
def earliest_offset(free: NDArray[Any], usable_rows: int, length: int, demand: NDArray[Any]) -> int:
    """The first row from which a job fits for its whole length in every resource, or -1; O(H R)."""
    fitting = 0
    for row in range(usable_rows):
        fitting += 1
        for resource in range(demand.shape[0]):
            if free[row, resource] < demand[resource]:
                fitting = 0
        if fitting == length:
            return row - length + 1
    return -1


@compiled
def _write_profile(free: NDArray[Any], capacity: int, out: NDArray[Any]) -> None:
    """Units in use in each row of `PROFILE` and each resource, as shares of the capacity."""
    at = 0
    for ahead in PROFILE:
        for resource in range(free.shape[1]):
            out[at] = 1 - free[min(ahead, free.shape[0] - 1), resource] / capacity
            at += 1


@compiled
def write_slots(state: SlottedState, shown: NDArray[Any], rows: NDArray[Any], layout: Layout) -> None:
    """Write one row of features a slot, shape (M, `slot_features`), everything scaled to about 0..1.

    Columns: a job is here; its length over H, its inverse length; how soon it can start (1 now, 0 not within the
    horizon); the share of waiting jobs that are shorter; for each resource its demand over the capacity. What follows
    is the same in every row: the share of slots with a job; of those that could start now; the backlog (filled slots
    count as well, saturating at four times the slots); the time since the last arrival; and for each row of
    `PROFILE` and each resource the units in use over the capacity. Rows of empty slots hold that common part only.
    """
    horizon, resources = state.free.shape
    slots = state.slot_length.shape[0]
    rows[:] = 0
    waiting, startable = 0, 0
    for slot in range(slots):
        length = state.slot_length[slot]
        if length == 0:
            continue
        waiting += 1
        offset = earliest_offset(state.free, layout.usable_rows, length, state.slot_demand[slot])
        if offset == 0:
            startable += 1
        shorter = 0
        for other in range(slots):
            if 0 < state.slot_length[other] < length:
                shorter += 1
        rows[slot, 0] = 1
        rows[slot, 1] = length / horizon
        rows[slot, 2] = 1 / length
        rows[slot, 3] = 0 if offset < 0 else 1 - offset / horizon
        rows[slot, 4] = shorter / slots
        for resource in range(resources):
            rows[slot, JOB_FEATURES + resource] = state.slot_demand[slot, resource] / layout.capacity
    first = JOB_FEATURES + resources
    for slot in range(slots):
        rows[slot, first] = waiting / slots
        rows[slot, first + 1] = startable / slots
        rows[slot, first + 2] = min(1.0, (waiting + state.backlog_count) / (4 * slots))
        rows[slot, first + 3] = state.since / layout.since_unit
        _write_profile(state.free, layout.capacity, rows[slot, first + COMMON_FEATURES :])


@compiled
def _fits_beside(free: NDArray[Any], first: int, first_demand: NDArray[Any], other: int, demand: NDArray[Any]) -> bool:
    """Whether a job that could start now still could if another (`first` steps long) did."""
    for row in range(min(first, other)):
        for resource in range(demand.shape[0]):
            if free[row, resource] - first_demand[resource] < demand[resource]:
                return False
    return True


@compiled
def _write_state(state: SlottedState, offsets: NDArray[Any], layout: Layout, out: NDArray[Any]) -> None:
    """What is common to all choices; see `write_choices`."""
    horizon, resources = state.free.shape
    slots = state.slot_length.shape[0]
    arrived, latest = 0, 0
    for job in range(state.job_enter.shape[0]):
        if state.job_enter[job] >= 0:
            arrived += 1
            latest = max(latest, state.job_enter[job])
    first = STATE_FEATURES - len(LENGTHS)
    for slot in range(slots):
        length = state.slot_length[slot]
        if length == 0:
            continue
        out[0] += 1 / slots
        if offsets[slot] == 0:
            out[1] += 1 / slots
        out[2] += 1 / (length * slots)
        bin = 0
        while length > LENGTHS[bin]:
            bin += 1
        out[first + bin] += 1 / slots
        for resource in range(resources):
            out[STATE_FEATURES + resource] += length * state.slot_demand[slot, resource]
    out[3] = state.backlog_count / (state.backlog_count + slots)
    out[4] = state.since / layout.since_unit
    out[5] = arrived / (latest + 1)  # by the clock it would never stand still, and hide that a policy does
    for resource in range(resources):
        work = out[STATE_FEATURES + resource] / (layout.capacity * horizon)
        out[STATE_FEATURES + resource] = work / (work + 1)
    _write_profile(state.free, layout.capacity, out[STATE_FEATURES + resources :])


@compiled
def _write_choice(state: SlottedState, slot: int, offsets: NDArray[Any], layout: Layout, out: NDArray[Any]) -> None:
    """What is known of starting the job of a slot; see `write_choices`."""
    horizon, resources = state.free.shape
    slots = state.slot_length.shape[0]
    length, offset, demand = state.slot_length[slot], offsets[slot], state.slot_demand[slot]
    out[0] = 1
    out[1] = length / horizon
    out[2] = 1 / length
    for other in range(slots):
        other_length = state.slot_length[other]
        if other == slot or other_length == 0:
            continue
        shorter = other_length < length
        if shorter:
            out[5] += 1 / slots
        if offset == 0 and offsets[other] == 0:
            if _fits_beside(state.free, length, demand, other_length, state.slot_demand[other]):
                out[6] += 1 / slots
            elif shorter:
                out[7] += 1 / slots
    for resource in range(resources):
        out[CHOICE_FEATURES + resource] = demand[resource] / layout.capacity
    if offset < 0:
        return
    out[3] = 1 if offset == 0 else 0
    out[4] = 1 - offset / horizon
    for resource in range(resources):
        room = layout.capacity
        for row in range(offset, offset + length):
            room = min(room, state.free[row, resource] - demand[resource])
        out[CHOICE_FEATURES + resources + resource] = room / layout.capacity


@compiled
def write_choices(state: SlottedState, shown: NDArray[Any], rows: NDArray[Any], layout: Layout) -> None:
    """Write one row of features an action, shape (M + 1, `choice_features`), everything scaled to 0..1.

    First what belongs to the job of a slot: that there is one; its length over H, its inverse length; whether it can
    start now; how soon (1 now, 0 not within the horizon); of all slots the share with shorter jobs, with jobs that
    could start now beside it, with shorter ones that could only start now without it; for each resource its demand,
    and what would be left over during its run at the least. Then, the same in every row, the state: of all slots the
    share with a job, and with one that could start now; the sum of their inverse lengths; the backlog b as
    b / (b + M); the time since the last arrival; arrivals a time step up to the last one; slots by length (`LENGTHS`);
    for each resource the work in the slots, w capacities times horizons, as w / (w + 1); and the units in use in the
    rows of `PROFILE`. In the rows of void and of empty slots the first part is 0.
    """
    slots, resources = state.slot_demand.shape
    rows[:] = 0
    offsets = shown[:slots]  # an image's memory of what it shows is free for use here
    for slot in range(slots):
        length = state.slot_length[slot]
        offsets[slot] = -1
        if length > 0:
            offsets[slot] = earliest_offset(state.free, layout.usable_rows, length, state.slot_demand[slot])
    first = CHOICE_FEATURES + 2 * resources
    _write_state(state, offsets, layout, rows[slots, first:])
    for slot in range(slots):
        rows[slot, first:] = rows[slots, first:]
        if state.slot_length[slot] > 0:
            _write_choice(state, slot, offsets, layout, rows[slot])


def slot_features(resources: int) -> int:
    """Columns of `write_slots`."""
    return JOB_FEATURES + COMMON_FEATURES + resources * (1 + len(PROFILE))


def choice_features(resources: int) -> int:
    """Columns of `write_choices`."""
    return CHOICE_FEATURES + STATE_FEATURES + resources * (3 + len(PROFILE))


@compiled
def write_foreseen(
    state: SlottedState, lengths: NDArray[Any], demands: NDArray[Any], out: NDArray[Any], layout: Layout
) -> None:
    """Write what a policy does not know, shape (`foreseen_features`,), everything scaled to 0..1.

    For each span of `AHEAD`: short jobs to come an element, long ones, and for each resource the load w to come as
    w / (w + 1). Then the share of elements to come, and what waits in the backlog, of which a policy sees the number
    alone: short jobs and long ones by the slots, and for each resource the work, in capacities times horizons, as
    w / (w + 1).

    Args:
        state: Of one episode.
        lengths: Of its jobset, (n,), elements to come included.
        demands: Likewise, (n, R).
        out: Where it is written.
        layout: Of the encoder.
    """
    horizon, resources = state.free.shape
    width, slots = 2 + resources, state.slot_length.shape[0]
    out[:] = 0
    step, at = 0, 0
    for span in AHEAD:
        if at > 0:
            out[at : at + width] = out[at - width : at]
        while step < span:
            step += 1
            element = state.element + step
            if element < state.elements:
                _count(lengths[element], demands[element], out[at : at + width])
        at += width
    for number in range(len(AHEAD)):
        _scale(out[number * width : (number + 1) * width], AHEAD[number], layout.capacity * AHEAD[number])
    out[at] = max(0, state.elements - state.element) / state.elements
    waiting = out[at + 1 :]
    for place in range(state.backlog_count):
        job = state.backlog_job[place]
        _count(state.job_length[job], state.job_demand[job], waiting)
    _scale(waiting, state.backlog_count + slots, layout.capacity * horizon)


@compiled
def _count(length: int, demand: NDArray[Any], out: NDArray[Any]) -> None:
    """Add an element to the number of short jobs, of long ones, and to the work by resource."""
    if length > 0:
        out[0 if length <= SHORT else 1] += 1
        for resource in range(demand.shape[0]):
            out[2 + resource] += length * demand[resource]


@compiled
def _scale(out: NDArray[Any], most: int, unit: int) -> None:
    """Bring what `_count` has added up to 0..1."""
    out[0] /= most
    out[1] /= most
    for column in range(2, out.shape[0]):
        work = out[column] / unit
        out[column] = work / (work + 1)


def foreseen_features(resources: int) -> int:
    """Columns of `write_foreseen`."""
    return (len(AHEAD) + 1) * (2 + resources) + 1
