"""sysgym: a research gym for reinforcement learning in computer systems.

Importing the package registers its environments with Gymnasium and loads nothing heavier than Gymnasium and NumPy:

    import gymnasium as gym
    import sysgym

    env = gym.make("sysgym/JobSched-v0")

Logs are read by `sysgym.workloads`, replayed by `sysgym.jobsched`, learnt from by `sysgym.agents`, and compared by
`sysgym.bench`; the command `sysgym` does all of it from a shell.
"""

from sysgym.envs.registration import register_environments

__version__ = "0.1.0"

register_environments()
