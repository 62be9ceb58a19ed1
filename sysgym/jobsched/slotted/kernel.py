"""The fast copy of the slotted cluster: compiled, batched over episodes, without the interpreter lock.

Equal to `simulator.SlottedSimulator` bit for bit, in observations, masks, rewards, flags and event log. Functions that
end in `_rows` loop over episodes, by the moves in `dynamics`; `SlottedKernel` is the engine around them. Each built-in
encoder has a loop written out, since numba caches none that closes over a compiled function, as those of users do.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.compiled import compiled, compiled_uncached, counted_inline, uncounted
from sysgym.core.events import EventLog
from sysgym.core.protocols import Engine, Slot
from sysgym.core.seeding import stream_key
from sysgym.jobsched.slotted.dynamics import (
    EVENTS_PER_JOB,
    Rules,
    arrive,
    book,
    is_late,
    pass_time,
    record_columns,
    rules_of,
)
from sysgym.jobsched.slotted.metrics import slotted_metrics
from sysgym.jobsched.slotted.model import Sizes, SlottedConfig, SlottedState, allocate_memory, sizes_of, state_columns
from sysgym.jobsched.slotted.observation import (
    UNKNOWN,
    BuiltinEncoder,
    Encoder,
    draw_colours,
    draw_image,
    shuffle_palette,
    write_compact,
    write_mask,
)
from sysgym.jobsched.slotted.rewards import Reward, reward_code, step_cost
from sysgym.jobsched.slotted.slot_features import (
    Layout,
    choice_features,
    earliest_offset,
    write_choices,
    write_foreseen,
    write_slots,
)
from sysgym.workloads.jobsets import Jobset, JobsetSource


class Settings(NamedTuple):
    """All numbers of a configuration."""

    sizes: Sizes
    rules: Rules
    layout: Layout


@compiled
def settings_of(numbers: NDArray[np.int64]) -> Settings:
    """The settings from one array, which a compiled function takes faster than named tuples."""
    n = numbers
    return Settings(
        Sizes(n[0], n[1], n[2], n[3], n[4], n[5], n[6]),
        Rules(n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15], n[16]),
        Layout(n[17], n[18], n[19], n[20], n[21]),
    )


@counted_inline
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


@uncounted
def mask_row(state: SlottedState, b: int, usable_rows: int, mask: NDArray[np.int8]) -> None:
    """Write the mask of one episode."""
    write_mask(state.free[b], state.slot_length[b], state.slot_demand[b], usable_rows, mask)


@uncounted
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


@uncounted
def mask_rows(
    numbers: NDArray[np.int64], memory: NDArray[np.int64], rows: NDArray[np.bool_], masks: NDArray[np.int8]
) -> None:
    """Write the masks of the chosen episodes."""
    sizes, rules, _ = settings_of(numbers)
    state = state_columns(memory, sizes)
    for b in range(rows.shape[0]):
        if rows[b]:
            mask_row(state, b, rules.usable_rows, masks[b])


@uncounted
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


@compiled
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


@uncounted
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


@uncounted
def slot_rows(
    numbers: NDArray[np.int64],
    memory: NDArray[np.int64],
    shown: NDArray[np.int64],
    rows: NDArray[np.bool_],
    features: NDArray[Any],
) -> None:
    """Write the features by slot of the chosen episodes."""
    sizes, _, layout = settings_of(numbers)
    state = state_columns(memory, sizes)
    for b in range(rows.shape[0]):
        if rows[b]:
            write_slots(row_state(state, b), shown[b], features[b], layout)


@compiled
def choice_rows(
    numbers: NDArray[np.int64],
    memory: NDArray[np.int64],
    shown: NDArray[np.int64],
    rows: NDArray[np.bool_],
    features: NDArray[Any],
) -> None:
    """Write the features by action of the chosen episodes."""
    sizes, _, layout = settings_of(numbers)
    state = state_columns(memory, sizes)
    for b in range(rows.shape[0]):
        if rows[b]:
            write_choices(row_state(state, b), shown[b], features[b], layout)


@compiled
def foreseen_rows(
    numbers: NDArray[np.int64],
    memory: NDArray[np.int64],
    past: NDArray[np.int64],
    rows: NDArray[np.bool_],
    features: NDArray[Any],
    first: int,
) -> None:
    """Write what is to come into the last row of the chosen episodes' features, from a column on."""
    sizes, _, layout = settings_of(numbers)
    state, record = state_columns(memory, sizes), record_columns(past, sizes)
    for b in range(rows.shape[0]):
        if rows[b]:
            write_foreseen(row_state(state, b), record.length[b], record.demand[b], features[b, -1, first:], layout)


@compiled
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


def reward_loop(reward: Any) -> Any:
    """Compile a loop over episodes around a compiled reward function (before, action, after)."""

    @compiled_uncached
    def reward_rows(numbers: Any, before: Any, actions: Any, after: Any, rows: Any, rewards: Any) -> None:
        sizes, _, _ = settings_of(numbers)
        states_before, states_after = state_columns(before, sizes), state_columns(after, sizes)
        for b in range(rows.shape[0]):
            if rows[b]:
                rewards[b] = reward(row_state(states_before, b), actions[b], row_state(states_after, b))

    return reward_rows


def encoder_loop(encode: Any) -> Any:
    """Compile a loop over episodes around a compiled encoder (state, out), with the signature of `image_rows`."""

    @compiled_uncached
    def encode_rows(numbers: Any, memory: Any, shown: Any, rows: Any, observations: Any) -> None:
        sizes, _, _ = settings_of(numbers)
        state = state_columns(memory, sizes)
        for b in range(rows.shape[0]):
            if rows[b]:
                encode(row_state(state, b), observations[b])

    return encode_rows


BUILTIN_LOOPS = {
    draw_image: image_rows,
    draw_colours: colour_rows,
    write_compact: compact_rows,
    write_slots: slot_rows,
    write_choices: choice_rows,
}


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
        self._name_columns()
        self._encode_rows, layout, self._shown = _encoder_parts(encoder, config, num_episodes)
        self._foresees = isinstance(encoder, BuiltinEncoder) and encoder.foresees
        rules = rules_of(config, max(0, reward_code(reward)))
        self._numbers = np.array([*sizes, *rules, *layout], dtype=np.int64)
        self._reward_rows = reward_loop(reward) if callable(reward) else None
        self._before = np.zeros_like(self._memory) if callable(reward) else None
        self._drawn: weakref.ref[NDArray[Any]] | None = None

    def _name_columns(self) -> None:
        sizes = sizes_of(self.config, self.num_episodes)
        self._state, self._record = state_columns(self._memory, sizes), record_columns(self._past, sizes)
        self._read_only = SlottedState(*(read_only(column) for column in self._state))

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
                shuffle_palette(stream_key(int(seed), "palette"), int(episode), self._state.palette[row])
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

    @property
    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Settings and memory of all episodes, for compiled rules: see `settings_of` and `model.state_columns`."""
        return self._numbers, self._memory

    def jobset(self, row: int) -> Jobset:
        """The arrivals of the episode in this row, those to come included: for scores and bounds, not for policies."""
        elements = int(self._state.elements[row])
        return Jobset(self._record.length[row, :elements].copy(), self._record.demand[row, :elements].copy())

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """See `Engine.snapshot`."""
        return {"memory": self._memory.copy(), "past": self._past.copy()}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`."""
        self._memory[...], self._past[...] = snapshot["memory"], snapshot["past"]
        self._drawn = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but which array was drawn last; a copy draws its first image from scratch."""
        return self.__dict__ | {"_drawn": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The columns of a copy are views of its own memory."""
        self.__dict__ |= state
        self._name_columns()

    def _draw(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        observations = slot.observations
        if self._drawn is None or self._drawn() is not observations:
            assert isinstance(observations, np.ndarray)
            self._drawn = weakref.ref(observations)
            self._shown[:, 0] = UNKNOWN
        self._encode_rows(self._numbers, self._memory, self._shown, rows, observations)
        if self._foresees:
            first = choice_features(self.config.resources)
            foreseen_rows(self._numbers, self._memory, self._past, rows, observations, first)


def _encoder_parts(
    encoder: BuiltinEncoder | Encoder, config: SlottedConfig, num_episodes: int
) -> tuple[Any, Layout, NDArray[np.int64]]:
    if isinstance(encoder, BuiltinEncoder):
        return BUILTIN_LOOPS[encoder.draw], encoder.layout(config), encoder.blank(config, num_episodes)
    compiled = getattr(encoder, "compiled")  # noqa: B009 the attribute is optional in the protocol
    return encoder_loop(compiled), Layout(0, 0, 0, 1, 0), np.zeros((num_episodes, 1), dtype=np.int64)
