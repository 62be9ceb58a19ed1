"""The moves of the compiled slotted cluster: book a job, let time pass, let a job arrive.

Each function moves one episode, row `b` of the columns in `model.SlottedState`. They are inlined by force, because a
call would hand over every column. After a change here or in `observation`, numba's cache of `kernel` is stale: it
looks at one file alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import counted, uncounted_inline
from sysgym.core.events import EventKind, event_kinds
from sysgym.jobsched.slotted.model import Sizes, SlottedConfig, SlottedState

SUBMIT, BOOK, START = event_kinds(EventKind.SUBMIT, EventKind.BOOK, EventKind.START)
FINISH, DROP = event_kinds(EventKind.FINISH, EventKind.DROP)
EVENTS_PER_JOB = 4
"""Submit, book, start and finish; or submit and drop."""


class Rules(NamedTuple):
    """The switches of `SlottedConfig` as the kernel reads them; truth values are 0 or 1."""

    capacity: int
    usable_rows: int
    since_cap: int
    linger: int
    skip_first: int
    silent_loss: int
    no_new_job: int
    max_steps: int
    max_time: int
    reward: int


class Record(NamedTuple):
    """What an episode draws from and writes down, with a leading axis of B on every column."""

    length: NDArray[np.int64]
    """(B, n): the jobset, arrivals to come included; kept out of the state, which policies see."""
    demand: NDArray[np.int64]
    """(B, n, R)."""
    events: NDArray[np.int64]
    """(B, 4n, 4): time, kind, subject, amount."""
    written: NDArray[np.int64]
    """(B,): events so far."""


def rules_of(config: SlottedConfig, reward: int) -> Rules:
    """The switches of the kernel; `reward` is a code of `rewards.REWARDS`."""
    return Rules(
        config.capacity,
        config.usable_rows,
        config.since_cap,
        int(config.linger),
        int(config.skip_first),
        int(config.silent_loss),
        int(config.episode_end == "no_new_job"),
        config.max_steps,
        config.max_time,
        reward,
    )


@counted
def record_columns(memory: NDArray[np.int64], sizes: Sizes) -> Record:
    """The columns of B records, as contiguous views of one memory."""
    b, n, r = sizes.episodes, sizes.jobs, sizes.resources
    demand, events, count = b * n, b * n * (1 + r), b * n * (1 + r + EVENTS_PER_JOB * 4)
    return Record(
        memory[:demand].reshape((b, n)),
        memory[demand:events].reshape((b, n, r)),
        memory[events:count].reshape((b, EVENTS_PER_JOB * n, 4)),
        memory[count : count + b],
    )


@uncounted_inline
def write_event(record: Record, b: int, time: int, kind: int, subject: int, amount: int) -> None:
    """Append one event to the log of an episode."""
    event = record.events[b, record.written[b]]
    event[0], event[1], event[2], event[3] = time, kind, subject, amount
    record.written[b] += 1


@uncounted_inline
def units(state: SlottedState, b: int, job: int) -> int:
    """Units of all resources that a job takes together."""
    total = 0
    for resource in range(state.job_demand.shape[2]):
        total += state.job_demand[b, job, resource]
    return total


@uncounted_inline
def fill_slot(state: SlottedState, b: int, slot: int, job: int) -> None:
    """Put a job, or none (-1), into a slot."""
    state.slot_job[b, slot] = job
    state.slot_length[b, slot] = state.job_length[b, job] if job >= 0 else 0
    for resource in range(state.slot_demand.shape[2]):
        state.slot_demand[b, slot, resource] = state.job_demand[b, job, resource] if job >= 0 else 0


@uncounted_inline
def arrive(state: SlottedState, record: Record, b: int, rules: Rules) -> None:
    """Let the present element's job, if it is one, enter a slot, else the backlog, else be dropped."""
    job = state.element[b]
    if job >= state.elements[b] or record.length[b, job] == 0:
        return
    length = record.length[b, job]
    state.job_length[b, job] = length
    for resource in range(record.demand.shape[2]):
        state.job_demand[b, job, resource] = record.demand[b, job, resource]
    state.job_enter[b, job] = state.time[b]
    state.since[b] = 0
    slot = 0
    while slot < state.slot_job.shape[1] and state.slot_job[b, slot] >= 0:
        slot += 1
    in_slot = slot < state.slot_job.shape[1]
    dropped = not in_slot and state.backlog_count[b] == state.backlog_job.shape[1]
    if dropped and rules.silent_loss:
        return
    state.present[b, length] += 1
    write_event(record, b, state.time[b], SUBMIT, job, length)
    if in_slot:
        fill_slot(state, b, slot, job)
    elif dropped:
        write_event(record, b, state.time[b], DROP, job, length)
    else:
        state.backlog_job[b, state.backlog_count[b]] = job
        state.backlog_count[b] += 1


@uncounted_inline
def unused_colour(state: SlottedState, b: int) -> int:
    """The first entry of the palette that no visible job has; -1 if there is none, 0 without a palette."""
    colours = state.palette.shape[1]
    for place in range(colours):
        unused = True
        for other in range(state.running_count[b]):
            job = state.running_job[b, other]
            visible = state.job_start[b, job] + state.job_length[b, job] > state.time[b]
            if visible and state.job_colour[b, job] == state.palette[b, place]:
                unused = False
        if unused:
            colour: int = state.palette[b, place]
            return colour
    return -1 if colours else 0


@uncounted_inline
def book(state: SlottedState, record: Record, b: int, slot: int, offset: int) -> None:
    """Book the job of a slot `offset` rows from now and let the head of the backlog take its place."""
    job, time = state.slot_job[b, slot], state.time[b]
    for row in range(offset, offset + state.job_length[b, job]):
        for resource in range(state.free.shape[2]):
            state.free[b, row, resource] -= state.job_demand[b, job, resource]
    state.job_colour[b, job] = unused_colour(state, b)
    state.job_start[b, job] = time + offset
    state.running_job[b, state.running_count[b]] = job
    state.running_count[b] += 1
    write_event(record, b, time, BOOK, job, time + offset)
    if offset == 0:
        write_event(record, b, time, START, job, units(state, b, job))
    head = -1
    if state.backlog_count[b] > 0:
        head = state.backlog_job[b, 0]
        state.backlog_count[b] -= 1
        for place in range(state.backlog_count[b]):
            state.backlog_job[b, place] = state.backlog_job[b, place + 1]
        state.backlog_job[b, state.backlog_count[b]] = -1
    fill_slot(state, b, slot, head)


@uncounted_inline
def shift(state: SlottedState, b: int, capacity: int) -> None:
    """Move the rows of free units up by one time step."""
    last = state.free.shape[1] - 1
    for resource in range(state.free.shape[2]):
        for row in range(last):
            state.free[b, row, resource] = state.free[b, row + 1, resource]
        state.free[b, last, resource] = capacity


@uncounted_inline
def start_and_finish(state: SlottedState, record: Record, b: int) -> None:
    """Write down which booked jobs finish and which start at this instant, each in order of booking."""
    time = state.time[b]
    for place in range(state.running_count[b]):
        job = state.running_job[b, place]
        if state.job_start[b, job] + state.job_length[b, job] == time:
            write_event(record, b, time, FINISH, job, units(state, b, job))
    for place in range(state.running_count[b]):
        job = state.running_job[b, place]
        if state.job_start[b, job] == time:
            write_event(record, b, time, START, job, units(state, b, job))


@uncounted_inline
def leave(state: SlottedState, b: int, linger: int) -> None:
    """Remove finished jobs from the running list; with `linger`, the job after a removed one is not looked at."""
    kept, place, count = 0, 0, state.running_count[b]
    while place < count:
        job = state.running_job[b, place]
        length = state.job_length[b, job]
        place += 1
        if state.job_start[b, job] + length <= state.time[b]:
            state.present[b, length] -= 1
            if not linger or place == count:
                continue
            job = state.running_job[b, place]
            place += 1
        state.running_job[b, kept] = job
        kept += 1
    for place in range(kept, count):
        state.running_job[b, place] = -1
    state.running_count[b] = kept


@uncounted_inline
def is_over(state: SlottedState, b: int, rules: Rules) -> bool:
    """Whether the episode has come to its end."""
    if state.element[b] < state.elements[b]:
        return False
    if rules.no_new_job:
        return True
    waiting = state.backlog_count[b] > 0
    for slot in range(state.slot_job.shape[1]):
        waiting = waiting or state.slot_job[b, slot] >= 0
    return not waiting and state.running_count[b] == 0


@uncounted_inline
def is_late(state: SlottedState, b: int, rules: Rules) -> bool:
    """Whether the episode has outlived its time limit."""
    return rules.max_time > 0 and state.time[b] > rules.max_time


@uncounted_inline
def pass_time(state: SlottedState, record: Record, b: int, rules: Rules) -> bool:
    """Let one time step pass; returns whether the episode is over. The order is that of the paper's code."""
    state.time[b] += 1
    shift(state, b, rules.capacity)
    start_and_finish(state, record, b)
    leave(state, b, rules.linger)
    state.since[b] = min(state.since[b] + 1, rules.since_cap)
    state.element[b] += 1
    over = is_over(state, b, rules)
    if not over and not is_late(state, b, rules):
        arrive(state, record, b, rules)
    return over
