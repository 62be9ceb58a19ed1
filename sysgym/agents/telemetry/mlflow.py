"""Training progress for MLflow: hand an `MLflowLog` to `train` as `on_progress`. Needs the extra `mlflow`."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from typing import Any

from sysgym.agents.telemetry.progress import Progress
from sysgym.agents.telemetry.stages import scalars
from sysgym.core.errors import SettingError

EVERY_SECONDS = 5.0


class MLflowLog:
    """A run of MLflow, with the facts of the training as parameters and its numbers over frames as metrics.

    Args:
        uri: Where MLflow keeps runs: a server, or `sqlite:///runs.db`.
        experiment: Its name there.
        facts: Parameters of the run, such as environment, algorithm, seed, settings.
        every: Least seconds between two points; the last update is always written.

    Raises:
        SettingError: MLflow is not installed.
    """

    def __init__(
        self, uri: str, experiment: str = "sysgym", facts: Mapping[str, Any] | None = None, every: float = EVERY_SECONDS
    ) -> None:
        try:
            self._mlflow = importlib.import_module("mlflow")
        except ImportError as error:
            raise SettingError("MLflow is not installed; install it with: pip install 'sysgym[mlflow]'") from error
        self.every, self._written = every, -every - 1.0
        self._mlflow.set_tracking_uri(uri)
        self._mlflow.set_experiment(experiment)
        self._run = self._mlflow.start_run()
        self._mlflow.log_params({name: str(value) for name, value in (facts or {}).items()})

    def __call__(self, progress: Progress) -> None:
        """Write one update, or leave it out."""
        now, last = time.monotonic(), progress.share >= 1.0
        if now - self._written < self.every and not last:
            return
        self._written = now
        self._mlflow.log_metrics(scalars(progress), step=progress.frames)
        if last:
            self.close()

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()
