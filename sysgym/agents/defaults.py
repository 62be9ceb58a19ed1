"""What a request leaves open, chosen by what the environment, the network and the machine are."""

from __future__ import annotations

import dataclasses
import os
import warnings

from sysgym.agents.acting.architecture import Architecture, choose_architecture
from sysgym.agents.acting.spaces import largest_bound
from sysgym.agents.algorithms import LEARNERS, Algorithm
from sysgym.agents.native.behaviour import learns
from sysgym.agents.native.perceptron import WIDEST
from sysgym.agents.networks import Network
from sysgym.agents.settings import Settings, require_choice
from sysgym.agents.stepping.environments import Environments
from sysgym.core.errors import SettingError


def learner_kind(name: str, algorithm: Algorithm, network: Network) -> str:
    """The learner that a name means: torch, or native."""
    require_choice("learner", name, LEARNERS)
    suits = algorithm.native and learns(network)
    if name == "native" and not suits:
        raise SettingError(
            "learner is 'native', which knows multi-layer perceptrons (network='flat' or 'choices') on the processor, "
            "and not evolution; use 'torch'"
        )
    if name == "auto":
        return "native" if suits and max(network.architecture.hidden) <= WIDEST else "torch"
    return name


def check_cores(needed: int) -> None:
    """Warn where more threads are asked for than there are cores."""
    cores = os.cpu_count() or 1
    if needed > cores:
        warnings.warn(f"{needed} threads are asked for, and there are {cores} cores: expect no gain", stacklevel=4)


def settled(settings: Settings, environments: Environments) -> tuple[Settings, Architecture]:
    """The settings with everything that was left open chosen from the environment."""
    normalize = settings.normalize_observations
    if normalize is None:
        normalize = largest_bound(environments.observation_space) > 1.0
    kind = settings.network or environments.network
    architecture = choose_architecture(
        environments.spaces, kind, settings.hidden, settings.activation, normalize, environments.foreseen
    )
    chosen = dataclasses.replace(
        settings,
        network=architecture.kind,
        hidden=architecture.hidden,
        activation=architecture.activation,
        normalize_observations=normalize,
    )
    return chosen, architecture
