"""The fast copy of the slotted cluster: compiled, batched over episodes, without the interpreter lock.

Equal to `simulator.SlottedSimulator` bit for bit, in observations, masks, rewards, flags and event log. Functions that
end in `_rows` loop over episodes; the others move one, row `b` of the columns in `model.SlottedState`.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sysgym.core.events import EventKind, EventLog
from sysgym.core.protocols import Engine, Slot
from sysgym.core.seeding import stream_key
from sysgym.jobsched.slotted.metrics import slotted_metrics
from sysgym.jobsched.slotted.model import Sizes, SlottedConfig, SlottedState, allocate_memory, sizes_of, state_columns
from sysgym.jobsched.slotted.observation import (
    UNKNOWN,
    BuiltinEncoder,
    Encoder,
    Layout,
    draw_colours,
    draw_image,
    earliest_offset,
    write_compact,
    write_mask,
)
from sysgym.jobsched.slotted.rewards import Reward, reward_code, step_cost
from sysgym.workloads.draws import integer
from sysgym.workloads.jobsets import Jobset, JobsetSource

SUBMIT, BOOK, START = int(EventKind.SUBMIT), int(EventKind.BOOK), int(EventKind.START)
FINISH, DROP = int(EventKind.FINISH), int(EventKind.DROP)
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


class Settings(NamedTuple):
    """All numbers of a configuration."""

    sizes: Sizes
    rules: Rules
    layout: Layout


@njit(cache=True, nogil=True)
def settings_of(numbers: NDArray[np.int64]) -> Settings:
    """The settings from one array, which a compiled function takes faster than named tuples."""
    n = numbers
    return Settings(
        Sizes(n[0], n[1], n[2], n[3], n[4], n[5], n[6]),
        Rules(n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15], n[16]),
        Layout(n[17], n[18], n[19], n[20]),
    )


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True, forceinline=True)
def row_state(state: SlottedState, b: int) -> SlottedState:
    """The state of one episode as views, as `Engine.state` gives it."""
    return SlottedState(
        state.time[b],
        state.element[b],
        state.elements[b],
        state.since[b],
        state.decisions[b],
        state.free[b],
        state.slot_job[b],
        state.slot_length[b],
        state.slot_demand[b],
        state.backlog_job[b],
        state.backlog_count[b],
        state.running_job[b],
        state.running_count[b],
        state.present[b],
        state.job_length[b],
        state.job_demand[b],
        state.job_enter[b],
        state.job_start[b],
        state.job_colour[b],
        state.palette[b],
    )


@njit(cache=True, nogil=True, forceinline=True)
def write_event(record: Record, b: int, time: int, kind: int, subject: int, amount: int) -> None:
    """Append one event to the log of an episode."""
    event = record.events[b, record.written[b]]
    event[0], event[1], event[2], event[3] = time, kind, subject, amount
    record.written[b] += 1


@njit(cache=True, nogil=True, forceinline=True)
def units(state: SlottedState, b: int, job: int) -> int:
    """Units of all resources that a job takes together."""
    total = 0
    for resource in range(state.job_demand.shape[2]):
        total += state.job_demand[b, job, resource]
    return total


@njit(cache=True, nogil=True, forceinline=True)
def fill_slot(state: SlottedState, b: int, slot: int, job: int) -> None:
    """Put a job, or none (-1), into a slot."""
    state.slot_job[b, slot] = job
    state.slot_length[b, slot] = state.job_length[b, job] if job >= 0 else 0
    for resource in range(state.slot_demand.shape[2]):
        state.slot_demand[b, slot, resource] = state.job_demand[b, job, resource] if job >= 0 else 0


@njit(cache=True, nogil=True, forceinline=True)
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


@njit(cache=True, nogil=True, forceinline=True)
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


@njit(cache=True, nogil=True, forceinline=True)
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


@njit(cache=True, nogil=True, forceinline=True)
def shift(state: SlottedState, b: int, capacity: int) -> None:
    """Move the rows of free units up by one time step."""
    last = state.free.shape[1] - 1
    for resource in range(state.free.shape[2]):
        for row in range(last):
            state.free[b, row, resource] = state.free[b, row + 1, resource]
        state.free[b, last, resource] = capacity


@njit(cache=True, nogil=True, forceinline=True)
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


@njit(cache=True, nogil=True, forceinline=True)
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


@njit(cache=True, nogil=True, forceinline=True)
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


@njit(cache=True, nogil=True, forceinline=True)
def is_late(state: SlottedState, b: int, rules: Rules) -> bool:
    """Whether the episode has outlived its time limit."""
    return rules.max_time > 0 and state.time[b] > rules.max_time


@njit(cache=True, nogil=True, forceinline=True)
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


@njit(cache=True, nogil=True)
def mask_row(state: SlottedState, b: int, usable_rows: int, mask: NDArray[np.int8]) -> None:
    """Write the mask of one episode."""
    write_mask(state.free[b], state.slot_length[b], state.slot_demand[b], usable_rows, mask)


@njit(cache=True, nogil=True)
def step_rows(
    numbers: NDArray[np.int64],
    memory: NDArray[np.int64],
    past: NDArray[np.int64],
    actions: NDArray[np.int64],
    active: NDArray[np.bool_],
    masks: NDArray[np.int8],
    rewards: NDArray[np.float64],
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_],
) -> None:
    """Play one action in every active episode and write masks, rewards and flags."""
    sizes, rules, _ = settings_of(numbers)
    state, record = state_columns(memory, sizes), record_columns(past, sizes)
    for b in range(actions.shape[0]):
        if not active[b]:
            continue
        action, offset = actions[b], -1
        state.decisions[b] += 1
        if action < sizes.slots and state.slot_job[b, action] >= 0:
            length, demand = state.slot_length[b, action], state.slot_demand[b, action]
            offset = earliest_offset(state.free[b], rules.usable_rows, length, demand)
        over = False
        rewards[b] = 0.0
        if offset >= 0:
            book(state, record, b, action, offset)
        else:
            over = pass_time(state, record, b, rules)
            rewards[b] = -step_cost(rules.reward, state.present[b])
        terminated[b] = over
        truncated[b] = not over and (state.decisions[b] >= rules.max_steps or is_late(state, b, rules))
        mask_row(state, b, rules.usable_rows, masks[b])


@njit(cache=True, nogil=True)
def mask_rows(
    numbers: NDArray[np.int64], memory: NDArray[np.int64], rows: NDArray[np.bool_], masks: NDArray[np.int8]
) -> None:
    """Write the masks of the chosen episodes."""
    sizes, rules, _ = settings_of(numbers)
    state = state_columns(memory, sizes)
    for b in range(rows.shape[0]):
        if rows[b]:
            mask_row(state, b, rules.usable_rows, masks[b])


@njit(cache=True, nogil=True)
def image_rows(
    numbers: NDArray[np.int64],
    memory: NDArray[np.int64],
    shown: NDArray[np.int64],
    rows: NDArray[np.bool_],
    images: NDArray[Any],
) -> None:
    """Bring the binary images of the chosen episodes up to date."""
    sizes, _, layout = settings_of(numbers)
    state = state_columns(memory, sizes)
    for b in range(rows.shape[0]):
        if rows[b]:
            draw_image(row_state(state, b), shown[b], images[b], layout)


@njit(cache=True, nogil=True)
def colour_rows(
    numbers: NDArray[np.int64],
    memory: NDArray[np.int64],
    shown: NDArray[np.int64],
    rows: NDArray[np.bool_],
    images: NDArray[Any],
) -> None:
    """Bring the coloured images of the chosen episodes up to date."""
    sizes, _, layout = settings_of(numbers)
    state = state_columns(memory, sizes)
    for b in range(rows.shape[0]):
        if rows[b]:
            draw_colours(row_state(state, b), shown[b], images[b], layout)


@njit(cache=True, nogil=True)
def compact_rows(
    numbers: NDArray[np.int64],
    memory: NDArray[np.int64],
    shown: NDArray[np.int64],
    rows: NDArray[np.bool_],
    vectors: NDArray[Any],
) -> None:
    """Write the compact observations of the chosen episodes."""
    sizes, _, layout = settings_of(numbers)
    state = state_columns(memory, sizes)
    for b in range(rows.shape[0]):
        if rows[b]:
            write_compact(row_state(state, b), shown[b], vectors[b], layout)


@njit(cache=True, nogil=True)
def shuffle_palette(key: int, episode: int, palette: NDArray[np.int64]) -> None:
    """Write an episode's order of the colours 1..P (Fisher and Yates)."""
    palette[:] = np.arange(1, palette.shape[0] + 1)
    for last in range(palette.shape[0] - 1, 0, -1):
        chosen = integer(key, episode, last, 0, last)
        palette[last], palette[chosen] = palette[chosen], palette[last]


@njit(cache=True, nogil=True)
def begin_rows(
    numbers: NDArray[np.int64],
    memory: NDArray[np.int64],
    past: NDArray[np.int64],
    rows: NDArray[np.int64],
    elements: NDArray[np.int64],
) -> None:
    """Begin an episode in the named rows, whose jobsets and palettes have been written."""
    sizes, rules, _ = settings_of(numbers)
    state, record = state_columns(memory, sizes), record_columns(past, sizes)
    for index in range(rows.shape[0]):
        b = rows[index]
        state.time[b], state.element[b], state.elements[b] = 0, 0, elements[index]
        state.since[b], state.decisions[b] = 0, 0
        state.backlog_count[b], state.running_count[b], record.written[b] = 0, 0, 0
        state.free[b] = rules.capacity
        state.slot_job[b], state.slot_length[b], state.slot_demand[b] = -1, 0, 0
        state.backlog_job[b], state.running_job[b], state.present[b] = -1, -1, 0
        state.job_length[b], state.job_demand[b], state.job_colour[b] = 0, 0, 0
        state.job_enter[b], state.job_start[b] = -1, -1
        if not rules.skip_first:
            arrive(state, record, b, rules)


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


def reward_loop(reward: Any) -> Any:
    """Compile a loop over episodes around a compiled reward function (before, action, after)."""

    @njit(nogil=True)
    def reward_rows(numbers: Any, before: Any, actions: Any, after: Any, rows: Any, rewards: Any) -> None:
        sizes, _, _ = settings_of(numbers)
        states_before, states_after = state_columns(before, sizes), state_columns(after, sizes)
        for b in range(rows.shape[0]):
            if rows[b]:
                rewards[b] = reward(row_state(states_before, b), actions[b], row_state(states_after, b))

    return reward_rows


def encoder_loop(encode: Any) -> Any:
    """Compile a loop over episodes around a compiled encoder (state, out), with the signature of `image_rows`."""

    @njit(nogil=True)
    def encode_rows(numbers: Any, memory: Any, shown: Any, rows: Any, observations: Any) -> None:
        sizes, _, _ = settings_of(numbers)
        state = state_columns(memory, sizes)
        for b in range(rows.shape[0]):
            if rows[b]:
                encode(row_state(state, b), observations[b])

    return encode_rows


BUILTIN_LOOPS = {draw_image: image_rows, draw_colours: colour_rows, write_compact: compact_rows}
_key = lru_cache(maxsize=4096)(stream_key)


class SlottedKernel(Engine):
    """The compiled engine.

    Images are brought up to date in place where the same array is given as in the call before, which the caller must
    not have written to; any other array is drawn from scratch.

    Args:
        config: Parameters of the cluster.
        source: Where the arrivals come from.
        num_episodes: B.
        encoder: A built-in encoder, or one with an attribute `compiled`.
        reward: A name, or a compiled function (before, action, after).
    """

    def __init__(
        self,
        config: SlottedConfig,
        source: JobsetSource,
        num_episodes: int,
        encoder: BuiltinEncoder | Encoder,
        reward: Reward = "slowdown",
    ) -> None:
        config.check_source(source)
        self.config, self.source, self.num_episodes = config, source, num_episodes
        self.num_actions = config.num_actions
        self.observation_spec = encoder.spec(config)
        sizes = sizes_of(config, num_episodes)
        self._memory = allocate_memory(sizes)
        self._past = np.zeros(num_episodes * (sizes.jobs * (1 + sizes.resources + 4 * EVENTS_PER_JOB) + 1), np.int64)
        self._state, self._record = state_columns(self._memory, sizes), record_columns(self._past, sizes)
        self._encode_rows, layout, self._shown = _encoder_parts(encoder, config, num_episodes)
        rules = rules_of(config, max(0, reward_code(reward)))
        self._numbers = np.array([*sizes, *rules, *layout], dtype=np.int64)
        self._reward_rows = reward_loop(reward) if callable(reward) else None
        self._before = np.zeros_like(self._memory) if callable(reward) else None
        self._drawn: weakref.ref[NDArray[Any]] | None = None
        self._read_only = SlottedState(*(_read_only(column) for column in self._state))

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`; `options["jobset"]` chooses the number of the jobset."""
        elements = np.zeros(len(rows), dtype=np.int64)
        for index, (row, seed, episode) in enumerate(zip(rows, seeds, episodes, strict=True)):
            length, demand = self._record.length[row], self._record.demand[row]
            elements[index] = self.source.fill(int(seed), int(episode), options, length, demand)
            if self.config.palette:
                shuffle_palette(_key(int(seed), "palette"), int(episode), self._state.palette[row])
        begin_rows(self._numbers, self._memory, self._past, rows, elements)

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        if self._before is not None:
            self._before[:] = self._memory
        step_rows(
            self._numbers,
            self._memory,
            self._past,
            actions,
            active,
            slot.action_masks,
            slot.rewards,
            slot.terminated,
            slot.truncated,
        )
        if self._reward_rows is not None:
            self._reward_rows(self._numbers, self._before, actions, self._memory, active, slot.rewards)
        self._draw(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        mask_rows(self._numbers, self._memory, rows, slot.action_masks)
        self._draw(rows, slot)

    def state(self, row: int) -> SlottedState:
        """See `Engine.state`: the views follow the episode, copy what you keep."""
        return SlottedState(*[column[row] for column in self._read_only])

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        columns = self._record.events[row, : self._record.written[row]].T
        return EventLog(
            columns[0].astype(np.float64), columns[1].astype(np.int8), columns[2].copy(), columns[3].astype(np.float64)
        )

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        return slotted_metrics(self.events(row), self.jobset(row), int(self._state.time[row]), self.config)

    def jobset(self, row: int) -> Jobset:
        """The arrivals of the episode in this row, those to come included: for scores and bounds, not for policies."""
        elements = int(self._state.elements[row])
        return Jobset(self._record.length[row, :elements].copy(), self._record.demand[row, :elements].copy())

    def _draw(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        observations = slot.observations
        if self._drawn is None or self._drawn() is not observations:
            assert isinstance(observations, np.ndarray)
            self._drawn = weakref.ref(observations)
            self._shown[:, 0] = UNKNOWN
        self._encode_rows(self._numbers, self._memory, self._shown, rows, observations)


def _encoder_parts(
    encoder: BuiltinEncoder | Encoder, config: SlottedConfig, num_episodes: int
) -> tuple[Any, Layout, NDArray[np.int64]]:
    if isinstance(encoder, BuiltinEncoder):
        return BUILTIN_LOOPS[encoder.draw], encoder.layout(config), encoder.blank(config, num_episodes)
    compiled = getattr(encoder, "compiled")  # noqa: B009 the attribute is optional in the protocol
    return encoder_loop(compiled), Layout(0, 0, 0, 1), np.zeros((num_episodes, 1), dtype=np.int64)


def _read_only(column: NDArray[np.int64]) -> NDArray[np.int64]:
    view = column.view()
    view.flags.writeable = False
    return view
