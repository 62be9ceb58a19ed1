"""What a policy may see: DeepRM's image and its compact form, and the action mask, over one row of the state.

Both engines call these functions. The image has `horizon` rows. Its columns are, for each resource, `capacity` machine
columns (row h: units in use at time t+h) and `largest_demand` columns a slot (a length x demand rectangle); then the
backlog (one cell a job, filled row by row) and one column with the time since the last arrival.

Cells of the machine are only ever added or shifted up, so row h of a resource is in use in exactly the columns
0..used-1. Therefore a binary image is known from a few counts; `shown` remembers the counts that an image shows, and
drawing touches only the cells that differ. Which job a cell belongs to follows as well: in the order of booking, each
job takes the next free columns of every row that it occupies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import SettingError, require_known
from sysgym.core.protocols import ArraySpec
from sysgym.jobsched.slotted.model import PUBLISHED_PALETTE, SlottedConfig, SlottedState
from sysgym.jobsched.slotted.slot_features import (
    Layout,
    choice_features,
    earliest_offset,
    foreseen_features,
    slot_features,
    write_choices,
    write_slots,
)
from sysgym.workloads.draws import integer

UNKNOWN = -1
"""In the first place of `shown`: the image shows something unknown and must be cleared."""


@compiled
def write_mask(
    free: NDArray[Any],
    slot_length: NDArray[Any],
    slot_demand: NDArray[Any],
    usable_rows: int,
    mask: NDArray[np.int8],
) -> None:
    """Write the action mask, shape (M+1,): slots with a job that can be booked, and void."""
    slots = slot_length.shape[0]
    for slot in range(slots):
        length = slot_length[slot]
        bookable = length > 0 and earliest_offset(free, usable_rows, length, slot_demand[slot]) >= 0
        mask[slot] = 1 if bookable else 0
    mask[slots] = 1


@compiled
def _draw_machine(free: NDArray[Any], block: int, capacity: int, shown: NDArray[Any], image: NDArray[Any]) -> None:
    horizon, resources = free.shape
    for row in range(horizon):
        for resource in range(resources):
            at = row * resources + resource
            was, used = shown[at], capacity - free[row, resource]
            if was != used:
                for column in range(was, used):
                    image[row, resource * block + column] = 1
                for column in range(used, was):
                    image[row, resource * block + column] = 0
                shown[at] = used


@compiled
def _draw_slots(
    slot_length: NDArray[Any],
    slot_demand: NDArray[Any],
    block: int,
    layout: Layout,
    shown: NDArray[Any],
    image: NDArray[Any],
) -> None:
    slots, resources = slot_demand.shape
    for slot in range(slots):
        at = slot * (1 + resources)
        was_length, length = shown[at], slot_length[slot]
        for resource in range(resources):
            was_demand, demand = shown[at + 1 + resource], slot_demand[slot, resource]
            if was_length != length or was_demand != demand:
                first = resource * block + layout.capacity + slot * layout.slot_columns
                for row in range(max(was_length, length)):
                    filled = demand if row < length else 0
                    for column in range(max(was_demand, demand)):
                        image[row, first + column] = 1 if column < filled else 0
                shown[at + 1 + resource] = demand
        shown[at] = length


@compiled
def _draw_backlog(count: int, columns: int, shown: NDArray[Any], image: NDArray[Any]) -> None:
    was, first = shown[0], image.shape[1] - 1 - columns
    for cell in range(min(was, count), max(was, count)):
        image[cell // columns, first + cell % columns] = 1 if cell < count else 0
    shown[0] = count


@compiled
def _draw_since(since: int, unit: int, shown: NDArray[Any], image: NDArray[Any]) -> None:
    if shown[0] != since:
        for row in range(image.shape[0]):
            image[row, image.shape[1] - 1] = since / unit
        shown[0] = since


@compiled
def draw_image(state: SlottedState, shown: NDArray[Any], image: NDArray[Any], layout: Layout) -> None:
    """Bring a binary image (H, W) up to date with the state, given the counts that it shows; updates those.

    `shown` holds the units in use by row and resource, length and demands by slot, the backlog, and the time since the
    last arrival.
    """
    if shown[0] == UNKNOWN:
        image[:] = 0
        shown[:] = 0
    block = layout.capacity + state.slot_length.shape[0] * layout.slot_columns
    slots, backlog, since = state.free.size, shown.shape[0] - 2, shown.shape[0] - 1
    _draw_machine(state.free, block, layout.capacity, shown, image)
    _draw_slots(state.slot_length, state.slot_demand, block, layout, shown[slots:], image)
    _draw_backlog(state.backlog_count, layout.backlog_columns, shown[backlog:], image)
    _draw_since(state.since, layout.since_unit, shown[since:], image)


@compiled
def draw_colours(state: SlottedState, shown: NDArray[Any], image: NDArray[Any], layout: Layout) -> None:
    """As `draw_image`, with the colour of its job, k/(P+1), in every machine cell; O(H capacity R) each time."""
    draw_image(state, shown, image, layout)
    block = layout.capacity + state.slot_length.shape[0] * layout.slot_columns
    taken = np.zeros(state.free.shape, dtype=np.int64)
    for place in range(state.running_count):
        job = state.running_job[place]
        first = max(state.job_start[job] - state.time, 0)
        for row in range(first, state.job_start[job] + state.job_length[job] - state.time):
            if state.job_colour[job] < 0:
                raise SettingError("more jobs are booked than the palette has colours; use observation='image'")
            for resource in range(taken.shape[1]):
                for _ in range(state.job_demand[job, resource]):
                    column = resource * block + taken[row, resource]
                    image[row, column] = state.job_colour[job] / (state.palette.shape[0] + 1)
                    taken[row, resource] += 1


@compiled
def shuffle_palette(key: int, episode: int, palette: NDArray[np.int64]) -> None:
    """Write an episode's order of the colours 1..P (Fisher and Yates)."""
    palette[:] = np.arange(1, palette.shape[0] + 1)
    for last in range(palette.shape[0] - 1, 0, -1):
        chosen = integer(key, episode, last, 0, last)
        palette[last], palette[chosen] = palette[chosen], palette[last]


@compiled
def write_compact(state: SlottedState, shown: NDArray[Any], vector: NDArray[Any], layout: Layout) -> None:
    """Write the compact observation, shape ((R+1)(H+M)+1,).

    H counts of jobs that are still booked or running h steps from now; for each resource H entries of free units; for
    each slot its length and demands; the number of jobs in the backlog.
    """
    horizon, resources = state.free.shape
    vector[:horizon] = 0
    for place in range(state.running_count):
        job = state.running_job[place]
        for row in range(state.job_start[job] + state.job_length[job] - state.time):
            vector[row] += 1
    at = horizon
    for resource in range(resources):
        for row in range(horizon):
            vector[at] = state.free[row, resource]
            at += 1
    for slot in range(state.slot_length.shape[0]):
        vector[at] = state.slot_length[slot]
        for resource in range(resources):
            vector[at + 1 + resource] = state.slot_demand[slot, resource]
        at += 1 + resources
    vector[at] = state.backlog_count


@runtime_checkable
class Encoder(Protocol):
    """An observation of the user's; injected objects need these two methods and run with the simulator.

    An encoder that also has an attribute `compiled`, a numba function (state, out) -> None, runs with the kernel.
    """

    def spec(self, config: SlottedConfig) -> ArraySpec:
        """Shape, dtype and range of one observation."""

    def encode(self, state: SlottedState, config: SlottedConfig, out: NDArray[Any]) -> None:
        """Write the observation of one row state; `out` holds whatever was there before."""


class BuiltinEncoder:
    """One of the observations that come with the problem.

    Args:
        draw: Compiled function (state, shown, out, layout) of one row.
        spec: The space of one observation.
        normalised: Whether the time since the last arrival is divided by its cap.
        coloured: Whether jobs need colours.
        foresees: Whether the last row ends with `write_foreseen`, which the engine writes: states know no future.
    """

    def __init__(
        self,
        draw: Any,
        spec: Callable[[SlottedConfig], ArraySpec],
        *,
        normalised: bool = True,
        coloured: bool = False,
        foresees: bool = False,
    ) -> None:
        self.draw, self._spec, self._normalised, self.coloured = draw, spec, normalised, coloured
        self.foresees = foresees

    def spec(self, config: SlottedConfig) -> ArraySpec:
        """See `Encoder.spec`."""
        return self._spec(config)

    def layout(self, config: SlottedConfig) -> Layout:
        """What `draw` needs to know of the parameters."""
        unit = config.since_cap if self._normalised else 1
        backlog_columns = config.backlog // config.horizon
        return Layout(config.capacity, config.largest_demand, backlog_columns, unit, config.usable_rows)

    def blank(self, config: SlottedConfig, num_episodes: int) -> NDArray[np.int64]:
        """The `shown` of images with unknown content, shape (B, K)."""
        size = config.horizon * config.resources + config.slots * (1 + config.resources) + 2
        return np.full((num_episodes, size), UNKNOWN, dtype=np.int64)

    def encode(self, state: SlottedState, config: SlottedConfig, out: NDArray[Any]) -> None:
        """See `Encoder.encode`."""
        self.draw(state, self.blank(config, 1)[0], out, self.layout(config))


def image_shape(config: SlottedConfig) -> tuple[int, int]:
    """Rows and columns of the image."""
    block = config.capacity + config.slots * config.largest_demand
    return config.horizon, config.resources * block + config.backlog // config.horizon + 1


def _image(config: SlottedConfig) -> ArraySpec:
    return ArraySpec(image_shape(config), np.float32, 0.0, 1.0)


def _image_uint8(config: SlottedConfig) -> ArraySpec:
    return ArraySpec(image_shape(config), np.uint8, 0, max(1, config.since_cap))


def _compact(config: SlottedConfig) -> ArraySpec:
    size = (config.resources + 1) * (config.horizon + config.slots) + 1
    high = max(config.sequence_length, config.capacity, config.horizon, config.backlog, config.largest_demand)
    return ArraySpec((size,), np.float32, 0.0, float(high))


def _slots(config: SlottedConfig) -> ArraySpec:
    return ArraySpec((config.slots, slot_features(config.resources)), np.float32, 0.0, 1.0)


def _choices(config: SlottedConfig) -> ArraySpec:
    return ArraySpec((config.num_actions, choice_features(config.resources)), np.float32, 0.0, 1.0)


def _choices_foreseen(config: SlottedConfig) -> ArraySpec:
    columns = choice_features(config.resources) + foreseen_features(config.resources)
    return ArraySpec((config.num_actions, columns), np.float32, 0.0, 1.0)


ENCODERS: Mapping[str, BuiltinEncoder] = {
    "image": BuiltinEncoder(draw_image, _image),
    "compact": BuiltinEncoder(write_compact, _compact),
    "image_uint8": BuiltinEncoder(draw_image, _image_uint8, normalised=False),
    "image_colour": BuiltinEncoder(draw_colours, _image, coloured=True),
    "slots": BuiltinEncoder(write_slots, _slots),
    "choices": BuiltinEncoder(write_choices, _choices),
    "choices_foreseen": BuiltinEncoder(write_choices, _choices_foreseen, foresees=True),
}
"""`image`: float32, 1 where a unit is in use; `image_uint8`: the same as bytes, with the time since the last arrival as
a raw count; `image_colour`: float32, machine cells in the colour of their job, as published; `compact`: see
`write_compact`; `slots`, `choices`, `choices_foreseen`: see `slot_features`."""


def encoder_of(observation: str | Encoder) -> BuiltinEncoder | Encoder:
    """The encoder that a name or an object stands for.

    Raises:
        UnknownNameError: No observation has this name.
        SettingError: The object lacks `spec` or `encode`.
    """
    if isinstance(observation, str):
        require_known("observation", observation, ENCODERS)
        return ENCODERS[observation]
    if not isinstance(observation, Encoder) or not callable(observation.spec):
        raise SettingError(f"observation is {observation!r}; give a name or an object with spec and encode")
    return observation


def palette_size(encoder: BuiltinEncoder | Encoder, config: SlottedConfig, *, published: bool) -> int:
    """Colours that an encoder needs: none, the published 39, or more than jobs can ever be booked at once."""
    if not isinstance(encoder, BuiltinEncoder) or not encoder.coloured:
        return 0
    return PUBLISHED_PALETTE if published else config.horizon * config.capacity * config.resources
