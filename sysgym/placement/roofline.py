"""What an operation of a torch module costs on a device: by its data sheet, or as measured here.

The roofline takes the larger of FLOPs over peak FLOP/s and bytes over memory bandwidth, plus the time of a launch. The
peaks are the vendors' published figures (`model.DEVICE_MODELS`), which no real kernel reaches: `efficiency` is the
share that is assumed. Measured costs replace the roofline where they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_range
from sysgym.placement.cluster import DEVICE_MODELS, Cluster, Device, DeviceModel
from sysgym.placement.module_graph import FREE, ImportedModel, Operation


@dataclass(frozen=True)
class Costs:
    """How seconds follow from FLOPs and bytes.

    Attributes:
        efficiency: Share of the published peaks that is reached, above 0 and at most 1.
        launch: Seconds that each operation takes at least, on a GPU; a tenth of it on a CPU.
        measured: Seconds by name of the operation, by model or kind of device; see `measure`. What is missing there
            is costed by the roofline.
    """

    efficiency: float = 0.5
    launch: float = 5e-6
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_range("efficiency", self.efficiency, 0.0, 1.0, open_low=True)
        require_range("launch", self.launch, 0.0)

    def forward(self, model: ImportedModel, device: Device) -> NDArray[np.float64]:
        """Seconds of every operation on a device, shape (operations,).

        Raises:
            SettingError: The device has no data sheet.
        """
        sheet = _sheet(device)
        known = self.measured.get(device.model) or self.measured.get(device.kind) or {}
        return np.array([known.get(each.name, self._roofline(each, sheet)) for each in model.operations])

    def _roofline(self, operation: Operation, sheet: DeviceModel) -> float:
        if operation.pricing == FREE:
            return 0.0
        moved = (operation.read_bytes + operation.output_bytes) / sheet.memory_bandwidth
        launch = self.launch if sheet.kind == "gpu" else self.launch / 10
        return float(max(operation.flops / sheet.flops, moved) / self.efficiency + launch)

    def require_sheets(self, cluster: Cluster) -> None:
        """Raise `SettingError` unless every device has a data sheet."""
        for device in cluster.devices:
            _sheet(device)

    def by_device(self, model: ImportedModel, cluster: Cluster) -> dict[str, NDArray[np.float64]]:
        """Seconds of every operation by model (or kind) of the cluster's devices."""
        return {device.model or device.kind: self.forward(model, device) for device in cluster.devices}


def _sheet(device: Device) -> DeviceModel:
    name = device.model or device.kind
    if name not in DEVICE_MODELS:
        raise SettingError(f"device {device.name} has no data sheet; name a model, such as Cluster.parse('2xA100'); "
                           f"known: {', '.join(DEVICE_MODELS)}")  # fmt: skip
    return DEVICE_MODELS[name]
