"""What `sysgym train` shows and writes while it trains: the live line, TensorBoard, MLflow, a timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sysgym.cli.show import figure, print_json, print_table

if TYPE_CHECKING:
    from sysgym.agents import Progress, TrainedPolicy

TENSORBOARD_SECONDS = 1.0
"""Least time between two points; a point costs half a millisecond."""


@contextmanager
def watchers(
    output: Path, tensorboard: bool, mlflow: str | None, trace: Path | None, facts: Mapping[str, Any]
) -> Iterator[list[Callable[[Progress], object]]]:
    """Whoever wants to hear of every update; closed when the run ends, however it ends.

    Args:
        output: File of the checkpoint; TensorBoard's folder stands beside it.
        tensorboard: Whether event files are written.
        mlflow: Where MLflow keeps runs, or None.
        trace: File of the timeline, or None.
        facts: Of the run, for MLflow.
    """
    with ExitStack() as open_until_the_end:
        watching: list[Callable[[Progress], object]] = []

        def add(watcher: Any) -> None:
            watching.append(watcher)
            open_until_the_end.callback(watcher.close)

        if trace is not None:
            from sysgym.agents import ChromeTrace

            add(ChromeTrace(trace))
        if mlflow is not None:
            from sysgym.agents import MLflowLog

            add(MLflowLog(mlflow, facts=facts))
        if tensorboard:
            from sysgym.agents import TensorBoardLog

            add(TensorBoardLog(output.with_suffix(".tensorboard"), TENSORBOARD_SECONDS))
        yield watching


def live_line(progress: Progress) -> str:
    """What the progress bar says beside itself."""
    lag = f", lag {progress.lag}" if progress.lag else ""
    rate = f"{progress.frames:,} frames, {progress.frames_per_second:,.0f}/s"
    return f"{rate}, return {figure(progress.mean_return)}{lag}"


def show_trained(policy: TrainedPolicy, output: Path, last: Progress | None, *, as_json: bool) -> None:
    """Say what was trained, and where the time went unless nothing was left to do."""
    row = {
        "output": str(output),
        "algorithm": policy.algorithm,
        "seed": policy.seed,
        "frames": policy.frames,
        "parameters": policy.parameter_count,
        "mean_return": policy.curve[-1]["mean_return"] if policy.curve else None,
    }
    where = _time_by_stage(last) if last is not None else {}
    if as_json:
        print_json({**row, **where})
        return
    print_table("Trained", [row])
    if where:
        stages = [{"stage": name, "share": f"{share:.1%}"} for name, share in where["stages"].items()]
        print_table("Where the time went", stages)


def _time_by_stage(progress: Progress) -> dict[str, Any]:
    """Shares of the run's time by stage, and of its slots by lag, as `--json` shows them."""
    from sysgym.agents.telemetry import lag_shares, shares

    return {
        "frames_per_second": progress.frames_per_second,
        "stages": shares(progress.total_stages),
        "lags": lag_shares(progress.lags),
    }
