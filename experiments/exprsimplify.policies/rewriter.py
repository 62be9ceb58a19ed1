"""The packaged rewriter (docs/expressions.md) as a policy of ExprSimplify-v0, rewrite by rewrite, greedy or drawn."""

import numpy as np

from sysgym.core.seeding import stream
from sysgym.exprsimp.agent import packaged_guide


class Greedy:
    """Takes the allowed action with the largest logit."""

    def __init__(self, observation_space, action_space):
        self.function = packaged_guide().function

    def reset(self):
        """Nothing is kept between episodes."""

    def logits(self, observation, action_mask):
        """Of all actions, minus infinity where the mask forbids."""
        return np.where(action_mask == 1, self.function(observation[None])[0], -np.inf)

    def act(self, observation, action_mask):
        """The best allowed action."""
        return int(self.logits(observation, action_mask).argmax())


class Sampled(Greedy):
    """Draws from the masked softmax."""

    def __init__(self, observation_space, action_space, seed=0):
        super().__init__(observation_space, action_space)
        self.generator = stream(seed, "policy")

    def act(self, observation, action_mask):
        """An allowed action by its probability."""
        logits = self.logits(observation, action_mask)
        return int((logits + self.generator.gumbel(size=len(logits))).argmax())
