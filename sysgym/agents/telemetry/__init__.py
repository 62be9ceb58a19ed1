"""What a run tells while it runs: how far it has come, where its time goes, and who writes that down.

The training loop makes a `Progress` of every update (`progress`), with nanoseconds by stage (`stages`). Whoever wants
to hear of it is a function that takes one: `ChromeTrace` here, `tensorboard` and `mlflow`; the loop knows none of them.
"""

from sysgym.agents.telemetry.stages import STAGES, ChromeTrace, Span, lag_shares, scalars, shares

__all__ = ["STAGES", "ChromeTrace", "Span", "lag_shares", "scalars", "shares"]
