"""Observations of several parts, as one row of float32: Dicts, Tuples, and the graph convention among them.

The row is laid out as `gymnasium.spaces.utils.flatten` does: parts in the space's order, categories one-hot. A network
that knows the graph convention reads its parts off the row by the places noted here; any other takes the row as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sysgym.core.errors import SettingError
from sysgym.core.packing import CHOICES_PART, GRAPH_PARTS


@dataclass(frozen=True)
class Part:
    """One array of an observation.

    Attributes:
        path: Keys (of Dicts) and places (in Tuples) that lead to it.
        shape: Of the array; of categories, before they become one-hot.
        categories: How many each of its numbers can be, where they are categories.
    """

    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    categories: tuple[int, ...] = ()

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Part:
        """The inverse of `dataclasses.asdict`; lists serve as tuples, as JSON has them."""
        return cls(*(tuple(fields[name]) for name in ("path", "shape", "categories")))

    @property
    def size(self) -> int:
        """Numbers in the row."""
        return sum(self.categories) if self.categories else int(np.prod(self.shape, dtype=np.int64))

    def write(self, observation: Any, leading: int, row: NDArray[np.float32]) -> None:
        """Write this part of an observation, or of a batch with so many leading dimensions, into its place in rows."""
        for key in self.path:
            observation = observation[key]
        found = np.asarray(observation)
        if not self.categories:
            row[...] = found.reshape(*found.shape[:leading], -1)
            return
        numbers = found.reshape(*found.shape[:leading], len(self.categories))
        begin = 0
        for place, count in enumerate(self.categories):
            row[..., begin : begin + count] = np.eye(count, dtype=np.float32)[numbers[..., place]]
            begin += count


class GraphShape(NamedTuple):
    """A padded graph in a row: sizes, and where each part begins.

    Attributes:
        nodes: N.
        features: Of a node.
        edges: E.
        context: Numbers of `globals`.
        choice: Numbers that describe each action, in a part `choices`; 0 where there is none.
        begins: Where each part of the convention begins in the row, by name.
    """

    nodes: int
    features: int
    edges: int
    context: int
    choice: int
    begins: dict[str, int]


def parts_of(space: spaces.Space[Any]) -> tuple[Part, ...]:
    """The parts of a Dict or Tuple, in the order of the row.

    Raises:
        SettingError: A part is no Box, Discrete, MultiDiscrete or MultiBinary.
    """
    return tuple(_parts(space, ()))


def _parts(space: spaces.Space[Any], path: tuple[str | int, ...]) -> Iterator[Part]:
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from _parts(part, (*path, name))
    elif isinstance(space, spaces.Tuple):
        for place, part in enumerate(space.spaces):
            yield from _parts(part, (*path, place))
    elif isinstance(space, spaces.Box | spaces.MultiBinary):
        yield Part(path, tuple(space.shape))
    elif isinstance(space, spaces.Discrete) and space.start == 0:
        yield Part(path, (), (int(space.n),))
    elif isinstance(space, spaces.MultiDiscrete) and not np.any(space.start):
        yield Part(path, tuple(space.shape), tuple(int(count) for count in space.nvec.ravel()))
    else:
        raise SettingError(
            f"part {'/'.join(map(str, path))} of the observation space is {space}; agents take a Box, or Discrete, "
            "MultiDiscrete and MultiBinary from 0"
        )


def pack(parts: Sequence[Part], observation: Any, leading: int = 0) -> NDArray[np.float32]:
    """Rows from an observation, or from a batch of them whose arrays have so many leading dimensions.

    Raises:
        SettingError: A part is missing or has another shape.
    """
    try:
        first = observation
        for key in parts[0].path:
            first = first[key]
        row = np.empty((*np.shape(first)[:leading], sum(part.size for part in parts)), dtype=np.float32)
        begin = 0
        for part in parts:
            part.write(observation, leading, row[..., begin : begin + part.size])
            begin += part.size
    except (KeyError, IndexError, TypeError, ValueError) as error:
        names = ", ".join("/".join(map(str, part.path)) for part in parts)
        raise SettingError(f"an observation has not the parts {names} in their shapes ({error})") from error
    return row


def graph_shape(parts: Sequence[Part]) -> GraphShape | None:
    """The graph in a row, or None where the parts are not those of the graph convention or don't fit each other."""
    shapes = {part.path[0]: part.shape for part in parts if len(part.path) == 1 and not part.categories}
    choices = shapes.get(CHOICES_PART, (0, 0))
    names = set(GRAPH_PARTS) | ({CHOICES_PART} if CHOICES_PART in shapes else set())
    if set(shapes) != names or len(parts) != len(names) or len(choices) != 2:
        return None
    nodes, edges, context = shapes["node_mask"], shapes["edge_mask"], shapes["globals"]
    fits = len(nodes) == len(edges) == len(context) == 1 and shapes["edges"] == (*edges, 2)
    if not fits or len(shapes["nodes"]) != 2 or shapes["nodes"][:1] != nodes:
        return None
    begins = np.cumsum([0, *(part.size for part in parts)]).tolist()
    places = {str(part.path[0]): begin for part, begin in zip(parts, begins, strict=False)}
    return GraphShape(nodes[0], shapes["nodes"][1], edges[0], context[0], choices[1], places)
