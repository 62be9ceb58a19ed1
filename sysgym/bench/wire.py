"""How an evaluation talks to a candidate's process: frames of data that can hold nothing but data.

A frame is four bytes of length, one of kind, and the payload. Values are trees of dicts, tuples, named tuples, arrays
and plain numbers. Their layout travels as JSON, and only when it changes; the arrays follow as raw bytes, so that an
observation costs no more than its copy, and arrives read-only. Nothing is ever unpickled.

Imported on both sides of the boundary, by path in the candidate's process: numpy, Gymnasium and the standard library.
"""

import base64
import json
import math
import struct
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium import spaces

HEAD = struct.Struct("=IB")
ACTION = struct.Struct("=q")
SEED = struct.Struct("=q")
LARGEST_REPLY = 4096
"""Bytes that are accepted from a candidate at once."""

PLAY, END = b"P", b"X"
"""Orders to the program that makes the candidate's processes."""
HELLO, LAYOUT, STEP = b"H", b"L", b"S"
READY, CHOSEN, NOT_AN_ACTION, FAULT = b"R", b"A", b"N", b"E"


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return HEAD.pack(len(payload), kind[0]) + payload


def layout_of(value: Any) -> Any:
    """What a value is made of, for JSON, without the content of its arrays.

    Raises:
        TypeError: It holds something else than dicts, tuples, arrays, numbers, texts and None.
    """
    if isinstance(value, np.ndarray):
        return {"array": [value.dtype.str, list(value.shape)]}
    if isinstance(value, np.generic):
        return {"array": [value.dtype.str, []]}
    if isinstance(value, Mapping):
        return {"dict": [[name, layout_of(part)] for name, part in value.items()]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"named": [[name, layout_of(getattr(value, name))] for name in value._fields]}
    if isinstance(value, tuple):
        return {"tuple": [layout_of(part) for part in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value}
    raise TypeError(f"{type(value).__name__} cannot be given to an isolated policy")


def arrays_of(value: Any) -> Iterator[np.ndarray]:
    """The arrays of a value, in the order of its layout."""
    if isinstance(value, np.ndarray | np.generic):
        yield np.ascontiguousarray(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from arrays_of(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from arrays_of(part)


def payload_of(value: Any) -> bytes:
    """The content of a value's arrays."""
    return b"".join([array.tobytes() for array in arrays_of(value)])


def value_of(layout: Any, payload: bytes) -> Any:
    """The value of a layout and a payload; its arrays are read-only, named tuples become namespaces."""
    value, used = _value_at(layout, payload, 0)
    if used != len(payload):
        raise ValueError(f"{len(payload)} bytes for a layout of {used}")
    return value


def _value_at(layout: Any, payload: bytes, at: int) -> tuple[Any, int]:
    ((kind, content),) = layout.items()
    if kind == "plain":
        return content, at
    if kind == "array":
        dtype, shape = np.dtype(content[0]), tuple(content[1])
        count = math.prod(shape)
        array = np.frombuffer(payload, dtype, count, at).reshape(shape)
        return (array if shape else array[()]), at + count * dtype.itemsize
    parts, values = [part if kind == "tuple" else part[1] for part in content], []
    for part in parts:
        value, at = _value_at(part, payload, at)
        values.append(value)
    if kind == "tuple":
        return tuple(values), at
    named = dict(zip([name for name, _ in content], values, strict=True))
    return (named if kind == "dict" else SimpleNamespace(**named)), at


def describe_space(space: spaces.Space[Any]) -> Any:
    """A Gymnasium space, for JSON.

    Raises:
        TypeError: It is no Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple.
    """
    if isinstance(space, spaces.Box):
        bounds = [base64.b64encode(np.ascontiguousarray(bound).tobytes()).decode() for bound in (space.low, space.high)]
        return {"Box": [bounds, list(space.shape), space.dtype.str if space.dtype is not None else "<f4"]}
    if isinstance(space, spaces.Discrete):
        return {"Discrete": [int(space.n), int(space.start)]}
    if isinstance(space, spaces.MultiDiscrete):
        return {"MultiDiscrete": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"MultiBinary": list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"Dict": [[name, describe_space(part)] for name, part in space.spaces.items()]}
    if isinstance(space, spaces.Tuple):
        return {"Tuple": [describe_space(part) for part in space.spaces]}
    raise TypeError(f"a policy cannot be isolated where spaces hold {space}")


def space_of(description: Any) -> spaces.Space[Any]:
    """The inverse of `describe_space`."""
    ((kind, content),) = description.items()
    if kind == "Box":
        (low, high), shape, dtype = content
        least, most = (np.frombuffer(base64.b64decode(bound), dtype).reshape(shape) for bound in (low, high))
        box: spaces.Space[Any] = spaces.Box(least, most, dtype=np.dtype(dtype).type)
        return box
    if kind == "Discrete":
        return spaces.Discrete(content[0], start=content[1])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(content)
    if kind == "MultiBinary":
        return spaces.MultiBinary(content)
    if kind == "Dict":
        return spaces.Dict({name: space_of(part) for name, part in content})
    return spaces.Tuple([space_of(part) for part in content])


def encoded(facts: Mapping[str, Any]) -> bytes:
    """JSON as bytes."""
    return json.dumps(facts, separators=(",", ":")).encode()
