"""A torch module as operations in order of execution, with FLOPs, bytes and the calls they lie in; no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FREE, COUNTED, MEMORY, UNPRICED = "free", "counted", "memory", "unpriced"


@dataclass(frozen=True)
class Operation:
    """One operation of the decomposed graph.

    Attributes:
        name: Unique, as torch names it.
        operator: The operator, such as "aten.addmm".
        modules: Paths of the calls that it lies in, outermost (the model itself, "") first; the second call of a
            module ends in "@1".
        inputs: Numbers of the operations that it reads.
        parameters: Parameters and buffers that it reads, by their first name.
        flops: Of one run on the example inputs; a multiplication and an addition count 2.
        read_bytes: Of operands.
        output_bytes: Of results.
        pricing: "counted" (FLOPs and bytes), "memory" (bytes), "unpriced" (bytes, for want of better), "free" (a view).
    """

    name: str
    operator: str
    modules: tuple[str, ...]
    inputs: tuple[int, ...]
    parameters: tuple[str, ...]
    flops: int
    read_bytes: int
    output_bytes: int
    pricing: str


@dataclass(frozen=True)
class ImportedModel:
    """A module as operations in order of execution.

    Attributes:
        operations: In order of execution.
        parameter_bytes: Bytes of each parameter and buffer, under its first name.
        aliases: Every name of every parameter and buffer, and the first name of the same tensor.
        modules: Paths of all submodules, parents before children.
        outputs: Numbers of the operations that make the model's result.
        input_bytes: Of the example inputs.
        source: Name of the module's class.
        readers: Numbers of the operations that read each parameter, by its first name.
    """

    operations: tuple[Operation, ...]
    parameter_bytes: Mapping[str, int]
    aliases: Mapping[str, str]
    modules: tuple[str, ...]
    outputs: frozenset[int]
    input_bytes: int
    source: str = "module"
    readers: Mapping[str, frozenset[int]] = field(default_factory=dict)

    @property
    def flops(self) -> int:
        """FLOPs of one forward pass."""
        return sum(operation.flops for operation in self.operations)
