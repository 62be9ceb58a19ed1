"""Clusters: the devices that operations are placed on, and the links between them.

Sizes in bytes, speeds in bytes or FLOPs per second, times in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, UnknownNameError, require_known, require_range

KINDS = ("accelerator", "gpu", "cpu")
GIB = 2.0**30


@dataclass(frozen=True)
class DeviceModel:
    """What a data sheet says of a device: memory in bytes, dense half-precision FLOP/s, memory bandwidth in bytes/s."""

    kind: str
    memory_bytes: float
    flops: float
    memory_bandwidth: float


DEVICE_MODELS: Mapping[str, DeviceModel] = {
    "K80": DeviceModel("gpu", 12 * GIB, 4.1e12, 2.4e11),
    "P40": DeviceModel("gpu", 24 * GIB, 1.18e13, 3.46e11),
    "T4": DeviceModel("gpu", 16 * GIB, 6.5e13, 3.2e11),
    "V100": DeviceModel("gpu", 16 * GIB, 1.25e14, 9.0e11),
    "A10": DeviceModel("gpu", 24 * GIB, 1.25e14, 6.0e11),
    "A100": DeviceModel("gpu", 80 * GIB, 3.12e14, 2.039e12),
    "H100": DeviceModel("gpu", 80 * GIB, 9.89e14, 3.35e12),
    "H200": DeviceModel("gpu", 141 * GIB, 9.89e14, 4.8e12),
    "cpu": DeviceModel("cpu", float("inf"), 1e12, 1e11),
}
"""Devices that a cluster's text may name; vendors' data sheets, and a round figure for a CPU socket."""


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        name: Unique in its cluster.
        kind: "accelerator", "gpu" or "cpu"; a CPU computes in host memory and pays for no transfer in `max_load`.
        memory_bytes: How much it holds; infinite where it doesn't matter.
        model: A key of a graph's cost table that is preferred to the kind, such as "A100".
    """

    name: str
    kind: str = "accelerator"
    memory_bytes: float = float("inf")
    model: str = ""

    def __post_init__(self) -> None:
        require_known("device kind", self.kind, KINDS)
        require_range(f"memory of device {self.name}", self.memory_bytes, 0.0)


@dataclass(frozen=True)
class Cluster:
    """Devices and their links.

    Attributes:
        devices: At least one.
        bandwidth: Bytes/s from device to device, shape (D, D), or one number for every pair.
        latency: Seconds before a transfer's first byte, shape (D, D), or one number.
        host_bandwidth: Bytes/s between a device and host memory, where transfers go through it.
    """

    devices: tuple[Device, ...]
    bandwidth: NDArray[np.float64] = field(default_factory=lambda: np.array(1.6e10))
    latency: NDArray[np.float64] = field(default_factory=lambda: np.array(0.0))
    host_bandwidth: float = 1.6e10

    def __post_init__(self) -> None:
        if not self.devices:
            raise SettingError("a cluster has 0 devices; it needs at least 1")
        object.__setattr__(self, "devices", tuple(self.devices))
        names = [device.name for device in self.devices]
        if len(set(names)) < len(names):
            raise SettingError(f"two devices of the cluster are called {max(names, key=names.count)!r}; rename one")
        for name, low in (("bandwidth", 0.0), ("latency", 0.0)):
            object.__setattr__(self, name, self._matrix(name, getattr(self, name), low))
        require_range("host_bandwidth", self.host_bandwidth, 0.0, open_low=True)

    def _matrix(self, name: str, value: Any, low: float) -> NDArray[np.float64]:
        size = len(self.devices)
        given = np.asarray(value, dtype=np.float64)
        if given.shape not in ((), (size, size)):
            raise SettingError(f"{name} has shape {given.shape}; it must be one number or {(size, size)}")
        matrix = np.broadcast_to(given, (size, size)).copy()
        np.fill_diagonal(matrix, np.inf if name == "bandwidth" else 0.0)
        if np.isnan(matrix).any() or (matrix < low).any() or (name == "bandwidth" and (matrix == 0).any()):
            raise SettingError(f"{name} holds {matrix.min()}; every entry must be above 0" if name == "bandwidth"
                               else f"{name} holds {matrix.min()}; every entry must be at least 0")  # fmt: skip
        matrix.flags.writeable = False
        return matrix

    def __len__(self) -> int:
        return len(self.devices)

    def of_kind(self, *kinds: str) -> list[int]:
        """Numbers of the devices of the given kinds, in order."""
        return [number for number, device in enumerate(self.devices) if device.kind in kinds]

    @property
    def fast_devices(self) -> list[int]:
        """Numbers of the accelerators and GPUs, or of all devices where there is none."""
        return self.of_kind("accelerator", "gpu") or list(range(len(self)))

    @property
    def pays_transfers(self) -> NDArray[np.bool_]:
        """Which devices pay for moving data to and from host memory, shape (D,): all but CPUs."""
        return np.array([device.kind != "cpu" for device in self.devices])

    @property
    def memory(self) -> NDArray[np.float64]:
        """Memory caps in bytes, shape (D,)."""
        return np.array([device.memory_bytes for device in self.devices])

    @classmethod
    def uniform(
        cls, count: int, kind: str = "gpu", memory_bytes: float = float("inf"), cpus: int = 0, **links: Any
    ) -> Cluster:
        """A cluster of `count` equal devices, then `cpus` CPUs.

        >>> [device.name for device in Cluster.uniform(2, cpus=1).devices]
        ['gpu0', 'gpu1', 'cpu0']
        """
        devices = [Device(f"{kind}{i}", kind, memory_bytes) for i in range(count)]
        return cls(tuple(devices + [Device(f"cpu{i}", "cpu") for i in range(cpus)]), **links)

    @classmethod
    def parse(cls, text: str, **links: Any) -> Cluster:
        """A cluster from words such as "4xA100" or "2xH100+1xcpu"; see `DEVICE_MODELS`.

        Raises:
            SettingError: The text has another form, or names zero devices.
            UnknownNameError: A device model that is not known.

        >>> [device.name for device in Cluster.parse("2xA100+cpu").devices]
        ['A100-0', 'A100-1', 'cpu-0']
        """
        known = {name.lower(): name for name in DEVICE_MODELS}
        devices: list[Device] = []
        for word in re.split(r"[+,]", text):
            match = re.fullmatch(r"\s*(?:(\d+)\s*[xX*]\s*)?([A-Za-z][\w-]*)\s*", word)
            if match is None:
                raise SettingError(f"cluster {text!r}: {word.strip()!r} must read like 4xA100")
            model = known.get(match[2].lower())
            if model is None:
                raise UnknownNameError("device", match[2], DEVICE_MODELS)
            sheet, begin = DEVICE_MODELS[model], sum(device.model == model for device in devices)
            devices += [
                Device(f"{model}-{begin + i}", sheet.kind, sheet.memory_bytes, model) for i in range(int(match[1] or 1))
            ]
        return cls(tuple(devices), **links)

    @classmethod
    def hierarchical(cls, devices: Sequence[Device], levels: Sequence[tuple[int, float]], **links: Any) -> Cluster:
        """Devices in nested groups: `levels` are (group size, bandwidth in bytes/s) from the innermost outwards.

        Two devices talk at the bandwidth of the smallest group that holds both.
        """
        size = len(devices)
        total = int(np.prod([width for width, _ in levels]))
        if total != size:
            raise SettingError(f"levels hold {total} devices, the cluster has {size}; they must agree")
        bandwidth, span = np.full((size, size), np.inf), 1
        for width, speed in levels:
            group, wider = np.arange(size) // span, np.arange(size) // (span * width)
            between = (wider[:, None] == wider) & (group[:, None] != group)
            bandwidth[between] = speed
            span *= width
        return cls(tuple(devices), bandwidth=bandwidth, **links)
