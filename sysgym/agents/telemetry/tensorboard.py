"""Training progress for TensorBoard: hand a `TensorBoardLog` to `train` as `on_progress`."""

from __future__ import annotations

import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from sysgym.agents.telemetry.progress import Progress
from sysgym.agents.telemetry.stages import scalars


class TensorBoardLog:
    """Writes metrics over frames: learner's, returns, rates, lag, and the share of time by stage.

    Args:
        folder: Where the event files go; made at the first update.
        every: Least seconds between two points, so that writing does not cost what it measures; the first and the last
            update are always written. 0 writes every update.
    """

    def __init__(self, folder: str | Path, every: float = 0.0) -> None:
        self.folder, self.every = str(folder), every
        self._writer: SummaryWriter | None = None
        self._written = -every - 1.0

    def __call__(self, progress: Progress) -> None:
        """Write one update, or leave it out."""
        now, last = time.monotonic(), progress.share >= 1.0
        if now - self._written < self.every and not last:
            return
        self._written = now
        self._writer = self._writer or SummaryWriter(self.folder)
        for name, value in scalars(progress).items():
            self._writer.add_scalar(name, value, progress.frames)
        if last:
            self.close()

    def close(self) -> None:
        """Write what is still in memory."""
        if self._writer is not None:
            self._writer.close()
