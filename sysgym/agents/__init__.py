"""Learning: policy-gradient algorithms over any Gymnasium environment with discrete actions.

`train` learns a policy, `load` reads one back; both give a `TrainedPolicy`. This room knows no domain and no
environment of ours: it meets them through `gymnasium.make_vec` and `sysgym.core.protocols` alone. Torch is needed to
learn, not to act: a saved policy acts with numpy. Names are imported when they are first used, so that importing
sysgym stays light.

A training run meets the files here in this order: `request` (what is asked, completed by the run that is resumed) with
`algorithms` (their names), `settings` and `defaults` (what is left open); `backends` (where it all stands: here, in
processes, or on Ray, which `distributed` knows); `networks` with `graph_networks`, `term_network` and `linear_start`
(what learns, in torch); `rollout` (the memory of a slot), `actor` (who fills it) and `learner` (who reads it); a file
each for `ppo`, `a2c`, `vtrace` (on `actor_critic`), `reinforce`, `evolution` and `rewriter`; `training` (the loop) with
`interruption`; and what is kept, `checkpoint` and `policy`, with `weights` that ship.

Below them are rooms of one idea each, the lowest last; each says in its first lines what stands where.

* `search`: weights found by the returns of whole episodes.
* `native`: perceptrons played and learned in compiled code.
* `playing`: who plays a slot, and who waits for whom.
* `collector`: states of many clients as batches for several receivers.
* `telemetry`: what a run tells while it runs.
* `updates`: advantages, optimisers, and who adds gradients up.
* `stepping`: environments as an actor steps them, here or in worker processes.
* `acting`: what is seen, and the policy in numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sysgym.agents.algorithms import ALGORITHMS

if TYPE_CHECKING:
    from sysgym.agents.policy import TrainedPolicy, load
    from sysgym.agents.telemetry import ChromeTrace
    from sysgym.agents.telemetry.mlflow import MLflowLog
    from sysgym.agents.telemetry.progress import Progress
    from sysgym.agents.telemetry.tensorboard import TensorBoardLog
    from sysgym.agents.training import Training, train

_HOMES = {
    "ChromeTrace": "sysgym.agents.telemetry",
    "MLflowLog": "sysgym.agents.telemetry.mlflow",
    "TensorBoardLog": "sysgym.agents.telemetry.tensorboard",
    "TrainedPolicy": "sysgym.agents.policy",
    "load": "sysgym.agents.policy",
    "Progress": "sysgym.agents.telemetry.progress",
    "Training": "sysgym.agents.training",
    "train": "sysgym.agents.training",
}

__all__ = [
    "ALGORITHMS",
    "ChromeTrace",
    "MLflowLog",
    "Progress",
    "TensorBoardLog",
    "TrainedPolicy",
    "Training",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
