"""Environments whose engine one function builds from keyword arguments: all of ours.

A file an id names that function, and documents its arguments on the single environment. The vector environment is the
same problem with more episodes, so it has nothing to say of its own but which environment it multiplies.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from gymnasium.vector import AutoresetMode

from sysgym.core.errors import require_known, require_range
from sysgym.core.injection import encoded, is_encoder, require_reward
from sysgym.core.protocols import Engine
from sysgym.envs.base import EngineEnv, EngineVectorEnv


class Built(NamedTuple):
    """What an environment's arguments make: its engine, and what it holds beside it for whoever asks.

    Attributes:
        engine: Of as many episodes as were asked for.
        workload: What is played, such as a log; it may describe itself for the records (see `core.instances`).
        config: The parameters of the problem.
    """

    engine: Engine
    workload: Any = None
    config: Any = None


class BuiltEnv(EngineEnv):
    """One episode; the arguments are those of `build`, apart from the number of episodes.

    Every environment takes `observation`, an encoder of one's own (see `core.injection`).

    Raises:
        UnknownNameError: An argument that `build` does not take.
        SettingError: An observation or a reward that is none.
    """

    build: ClassVar[Callable[..., Built]]
    """Makes the engine: `build(num_episodes, **arguments)`."""

    def __init__(self, render_mode: str | None = None, **arguments: Any) -> None:
        built = _built(self.build, 1, arguments)
        self.workload, self.config = built.workload, built.config
        super().__init__(built.engine, render_mode)


class BuiltVectorEnv(EngineVectorEnv):
    """Many episodes at once of the environment that `single` names: its `build`, heuristics and metadata."""

    single: ClassVar[type[BuiltEnv]]
    heuristics: ClassVar[Mapping[str, Callable[[], Any]]] = {}

    def __init_subclass__(cls, single: type[BuiltEnv], **others: Any) -> None:
        """Take over what the single environment declares; pictures are drawn by it alone."""
        super().__init_subclass__(**others)
        cls.single, cls.heuristics = single, single.heuristics
        cls.metadata = {**single.metadata, "render_modes": []}

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        episode_metrics: bool = False,
        **arguments: Any,
    ) -> None:
        require_range("num_envs", num_envs, 1, whole=True)
        built = _built(self.single.build, num_envs, arguments)
        self.workload, self.config = built.workload, built.config
        super().__init__(built.engine, autoreset_mode, episode_metrics)


def _built(build: Callable[..., Built], num_episodes: int, arguments: Mapping[str, Any]) -> Built:
    known = list(inspect.signature(build).parameters.values())[1:]  # the first is the number of episodes
    names = [parameter.name for parameter in known]
    observation, given = arguments.get("observation"), dict(arguments)
    if is_encoder(observation) or "observation" not in names:
        given.pop("observation", None)
    if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in known):  # else `build` tells what it knows
        for name in given:
            require_known("argument", name, names)
    require_reward(arguments.get("reward", ""))
    built = build(num_episodes, **given)
    if observation is None or "observation" in given:
        return built
    return built._replace(engine=encoded(built.engine, observation))
