"""Training progress for TensorBoard: hand a `TensorBoardLog` to `train` as `on_progress`."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from sysgym.agents.progress import Progress


class TensorBoardLog:
    """Writes every update's metrics over frames.

    Args:
        folder: Where the event files go.
    """

    def __init__(self, folder: str | Path) -> None:
        self.writer = SummaryWriter(str(folder))

    def __call__(self, progress: Progress) -> None:
        """Write one update."""
        for name, value in progress.metrics.items():
            self.writer.add_scalar(f"learner/{name}", value, progress.frames)
        for name in ("frames_per_second", "lag", "waiting", "learning"):
            self.writer.add_scalar(name, getattr(progress, name), progress.frames)
        if progress.mean_return is not None:
            self.writer.add_scalar("mean_return", progress.mean_return, progress.frames)
        if progress.share >= 1.0:
            self.writer.close()
