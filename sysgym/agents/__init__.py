"""Learning: policy-gradient algorithms over any Gymnasium environment with discrete actions.

`train` learns a policy, `load` reads one back; both give a `TrainedPolicy`. This room knows no domain and no
environment of ours: it meets them through `gymnasium.make_vec` and `sysgym.core.protocols` alone. Torch is needed to
learn, not to act: a saved policy acts with numpy. Names are imported when they are first used, so that importing
sysgym stays light.

The files, in the order in which a training run meets them: `algorithms` (their names), `settings`, `spaces` and
`architecture` (what is seen and which network suits it), `environments` (vector environments under one small interface)
and `processes` with `worker` (the same in worker processes), `backends` (where it all stands), `networks` and
`inference` (the network in torch, and its policy half in numpy), `rollout` (the memory of a slot), `actor` (who fills
it) and `ready` (who does not wait for the slowest, through `collector`, `inbox` and `windows`), `players` and
`pipeline` (who waits for whom), `learner` (who reads it) with `team`, `optimizers`, `advantages`, `scaling` and
`actor_critic`, a file each for `ppo`, `a2c`, `vtrace`, `reinforce` and `evolution`, the same algorithms with compiled
gradients in `native_learners` on `native`, `gradients` and `kernels` (`compiled` plays with them), `request` (what is
asked, completed by the run that is resumed) and `training` (the loop) with `telemetry`, `tensorboard` and `mlflow`,
`search` (weights found by returns alone) on `covariance`, `checkpoint` and `policy` (what is kept).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sysgym.agents.algorithms import ALGORITHMS

if TYPE_CHECKING:
    from sysgym.agents.policy import TrainedPolicy, load
    from sysgym.agents.progress import Progress
    from sysgym.agents.training import Training, train

_HOMES = {
    "TrainedPolicy": "sysgym.agents.policy",
    "load": "sysgym.agents.policy",
    "Progress": "sysgym.agents.progress",
    "Training": "sysgym.agents.training",
    "train": "sysgym.agents.training",
}

__all__ = ["ALGORITHMS", "Progress", "TrainedPolicy", "Training", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
