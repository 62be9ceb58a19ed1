"""Where the actors of a run play: in threads of this process, with environments in worker processes, or on Ray.

The numbers of a run do not depend on it, only on how many actors share the environments: each has a stream of actions
of its own, and a matrix product of another height may round otherwise. (With `min_batch` they depend on the clock.)
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sysgym.agents.distributed import Publisher, RayPlayer, connect
from sysgym.agents.playing.players import LocalPlayer, Player, Role
from sysgym.agents.playing.ready import GroupedEnvironments
from sysgym.agents.settings import require_choice
from sysgym.agents.stepping.environments import COPIED_ENVS, NATIVE_ENVS, Environments, Recipe
from sysgym.agents.stepping.processes import WATCHDOG_SECONDS, ProcessEnvironments
from sysgym.core.errors import SettingError, require_range

BACKENDS = ("threads", "processes", "ray")


@dataclass(frozen=True)
class Backend:
    """How experience is gathered.

    Attributes:
        name: One of `BACKENDS`.
        actors: Among how many the environments are divided; each plays its rows of every slot at the same time.
        workers: Processes that step the environments, of all actors together (with `min_batch` and "threads": threads);
            None: one a core.
        min_batch: Fewest environments of an actor that are answered at once, see `playing.ready`; None waits for all.
        address: Of a Ray cluster; None: this machine.
        watchdog: Seconds after which a worker process that does not answer is replaced.

    Raises:
        SettingError: A value is out of range, or belongs to another backend.
    """

    name: str = "threads"
    actors: int = 1
    workers: int | None = None
    min_batch: int | None = None
    address: str | None = None
    watchdog: float = WATCHDOG_SECONDS

    def __post_init__(self) -> None:
        require_choice("backend", self.name, BACKENDS)
        require_range("actors", self.actors, 1, whole=True)
        require_range("watchdog", self.watchdog, 0.0, open_low=True)
        if self.min_batch is not None:
            require_range("min_batch", self.min_batch, 1, whole=True)
            if self.name == "ray":
                raise SettingError(
                    f"min_batch is {self.min_batch}; an actor on Ray steps all its environments together"
                )
        if self.address is not None and self.name != "ray":
            raise SettingError(f"address is {self.address!r}; only backend='ray' has one")
        if self.workers is not None:
            require_range("workers", self.workers, 1, whole=True)
            if self.name != "processes" and self.min_batch is None:
                raise SettingError(f"workers is {self.workers}; only backend='processes' has worker processes")

    def require_together(self, algorithm: str) -> None:
        """Refuse what an algorithm cannot have that plays whole episodes together.

        Raises:
            SettingError: There are several actors, or one that does not wait for all its environments.
        """
        if self.actors > 1 or self.min_batch is not None:
            raise SettingError(
                f"actors is {self.actors}, min_batch {self.min_batch}; {algorithm} plays whole episodes together: use "
                "1 actor and no min_batch (its environments may have several worker processes)"
            )

    def open(self, env_id: str, num_envs: int | None, arguments: Mapping[str, Any]) -> Stage:
        """Make room for the environments of an id; see `Recipe` for what is raised."""
        return Stage(self, Recipe.of(env_id, arguments), num_envs)


class Stage:
    """The environments of a run, divided among its actors.

    Args:
        backend: Where they are.
        recipe: How they are made.
        num_envs: N; None chooses `NATIVE_ENVS` or `COPIED_ENVS`.

    Attributes:
        like: Environments of the same kind, of which only the spaces count.
        num_envs: N.
        rows: Which of them each actor plays.
        workers: Processes that step them, 0 where there are none.
    """

    def __init__(self, backend: Backend, recipe: Recipe, num_envs: int | None) -> None:
        self.backend, self.recipe = backend, recipe
        self._alone = backend.name == "threads" and backend.actors == 1 and backend.min_batch is None
        self.like = recipe.make(num_envs if self._alone else 1)
        if not self._alone:
            self.like.close()
        self.spaces = self.like.spaces
        chosen = NATIVE_ENVS if self.like.native else COPIED_ENVS
        self.num_envs = num_envs or chosen
        actors = backend.actors
        if actors > self.num_envs:
            raise SettingError(
                f"actors is {actors}; there are {self.num_envs} environments: use at most as many actors"
            )
        self.rows = _divided(slice(0, self.num_envs), actors)
        self._publisher: Publisher | None = None
        self.workers = self._workers()

    def player(self, role: Role, steps: int, threaded: bool) -> Player:
        """Somebody who plays a role here.

        Args:
            role: One of as many as there are actors.
            steps: T.
            threaded: Whether slots are played ahead of the learner.

        Raises:
            SettingError: Ray is asked for and not there.
        """
        if self.backend.name == "ray":
            self._publisher = self._publisher or Publisher(connect(self.backend.address, self.backend.actors))
            return RayPlayer(self._publisher, self.recipe, role, steps)
        return LocalPlayer(role.cast(self._environments(role.rows)), threaded or self.backend.actors > 1)

    def _environments(self, rows: slice) -> Environments:
        if self._alone:
            return self.like
        if not self.workers:
            return self.recipe.make(rows.stop - rows.start, rows.start)
        actor = next(number for number, own in enumerate(self.rows) if own == rows)
        workers = self.workers * (actor + 1) // len(self.rows) - self.workers * actor // len(self.rows)
        if self.backend.min_batch is None:
            return self._in_processes(rows, workers)
        groups = _divided(rows, workers)
        if self.backend.name == "processes":
            return GroupedEnvironments([self._in_processes(group, 1) for group in groups])
        return GroupedEnvironments([self.recipe.make(group.stop - group.start, group.start) for group in groups])

    def _in_processes(self, rows: slice, workers: int) -> Environments:
        count, watchdog = rows.stop - rows.start, self.backend.watchdog
        return ProcessEnvironments(self.recipe, self.like, count, workers, rows.start, watchdog)

    def _workers(self) -> int:
        if self.backend.name != "processes" and self.backend.min_batch is None:
            return 0
        cores, actors = os.cpu_count() or 1, self.backend.actors
        workers = self.backend.workers
        if workers is None:
            return max(actors, min(cores, self.num_envs))
        if not actors <= workers <= self.num_envs:
            raise SettingError(
                f"workers is {workers}; it must be at least {actors} (one for each actor) and at most {self.num_envs} "
                "(one for each environment)"
            )
        if workers > cores:
            warnings.warn(f"{workers} workers are asked for, and there are {cores} cores: expect no gain", stacklevel=5)
        return workers


def _divided(rows: slice, parts: int) -> list[slice]:
    """So many parts of rows, as even as can be."""
    edges = [rows.start + (rows.stop - rows.start) * part // parts for part in range(parts + 1)]
    return [slice(first, end) for first, end in itertools.pairwise(edges)]
