"""The learned rewriter as a method of `simplify`: packaged weights, evaluated in numpy.

It starts where `greedy` ends. A network that was trained in `sysgym/ExprSimplify-v0` scores every rule at every term of
the expression, and stopping. The most promising rewrites are followed a few deep, a handful at a time; what is smaller
than the start becomes the next start, after the proved exchanges that every search makes. Where the network would stop,
nothing is tried at all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from sysgym.core.errors import CheckpointError
from sysgym.core.term_network import TermFunction, pack
from sysgym.exprsimp.observation import COLUMNS, count_occurrences, write_episode, write_terms
from sysgym.exprsimp.policies import Search, greedy
from sysgym.exprsimp.workbench import ArenaFull, Move, State, Workbench

WEIGHTS = Path(__file__).parent / "weights" / "rewriter.safetensors"
_ROOM = 512
_STEPS = 50


@dataclass(frozen=True)
class Guide:
    """How far a network is followed.

    Attributes:
        function: Gives the logits.
        columns: Column of the logits by the id of the rule.
        width: Rewrites that are tried in a layer.
        depth: Layers.
        certain: Probability of stopping from which nothing is tried.
    """

    function: TermFunction
    columns: dict[str, int]
    width: int = 12
    depth: int = 5
    certain: float = 0.97


def read_guide(path: str | Path = WEIGHTS, **limits: Any) -> Guide:
    """A guide from a file of weights.

    Args:
        path: As `write_weights` writes it.
        limits: Fields of `Guide`.

    Raises:
        CheckpointError: The file is absent or none of ours.
    """
    import safetensors  # noqa: PLC0415  loads when the agent is asked for

    try:
        with safetensors.safe_open(path, framework="np") as handle:
            rules = json.loads((handle.metadata() or {})["rules"])
            weights = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118, not a dict
        function = TermFunction(weights)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: not a file of a rewriter's weights ({error})") from error
    return Guide(function, {rule: column for column, rule in enumerate(rules)}, **limits)


def write_weights(path: str | Path, weights: dict[str, NDArray[Any]], rules: Sequence[str]) -> None:
    """Write the weights of `core.term_network.term_shapes`, and the ids of the rules that the columns stand for.

    Raises:
        OutputError: The place cannot be written.
    """
    from safetensors.numpy import save  # noqa: PLC0415

    from sysgym.core.files import atomic_write  # noqa: PLC0415

    with atomic_write(path, "wb") as handle:
        handle.write(save({name: np.asarray(one, np.float32) for name, one in weights.items()},
                          {"rules": json.dumps(list(rules))}))  # fmt: skip


@cache
def packaged_guide() -> Guide:
    """The guide that comes with this package."""
    return read_guide()


def agent(bench: Workbench, search: Search) -> State:
    """From the greedy result, the rewrites that the network thinks best, as long as they lead to something smaller."""
    guide = packaged_guide()
    best = greedy(bench, search)
    try:
        with _matrix_library().limit(limits=1, user_api="blas"):  # small products gain nothing from threads
            while not search.over():
                found = _followed(bench, search, guide, best)
                if found is None:
                    return best
                best = search.swept(bench, found)
    except ArenaFull:
        pass
    return best


@cache
def _matrix_library() -> ThreadpoolController:
    return ThreadpoolController()


def _followed(bench: Workbench, search: Search, guide: Guide, start: State) -> State | None:
    """The smallest of the first layer that holds something smaller than the start; None where none does."""
    front, seen = [(0.0, start)], {start.root}
    for layer in range(guide.depth):
        chances = _chances(bench, guide, [state for _, state in front], bench.cost(start.root), layer)
        ranked = sorted(
            ((front[place][0] + chance, place, application) for place, chance, application in chances),
            key=lambda one: -one[0],
        )
        made: list[tuple[float, State]] = []
        for chance, place, (term, variant, result) in ranked:
            if len(made) >= guide.width or search.over():
                break
            search.tried += 1
            state = bench.normalised(bench.exchanged(front[place][1], Move(term, result, variant)))
            if state.root not in seen:
                seen.add(state.root)
                made.append((chance, state))
        smallest = min((state for _, state in made), key=lambda state: bench.cost(state.root), default=start)
        if bench.cost(smallest.root) < bench.cost(start.root):
            return smallest
        front = made
        if not front:
            break
    return None


def _chances(
    bench: Workbench, guide: Guide, states: Sequence[State], best: tuple[int, int], layer: int
) -> list[tuple[int, float, list[int]]]:
    """Place of the state, log-probability and rewrite, for all that can be done to any of the states."""
    terms = [bench.terms(state.root) for state in states]
    rows = max(map(len, terms))
    views = np.zeros((len(states), rows + 1, COLUMNS), np.int32)
    for state, below, view in zip(states, terms, views, strict=True):
        _show(bench, state.root, below, best, layer, view)
    batch = pack(views)
    scores, stops = guide.function.parts(batch)
    begin = np.concatenate([[0], batch.root[:-1] + 1])
    found: list[tuple[int, float, list[int]]] = []
    for place, state in enumerate(states):
        rewrites, logits = [], [float(stops[place])]
        for application in bench.applications(state.root, _ROOM, steepest=2):
            column = guide.columns.get(bench.rules[int(bench.program.rule[application[1]])].id)
            if column is not None:
                row = int(np.searchsorted(terms[place], application[0]))
                rewrites.append(application)
                logits.append(float(scores[begin[place] + row, column]))
        chances = np.array(logits) - np.logaddexp.reduce(logits)
        if layer == 0 and np.exp(chances[0]) > guide.certain:
            return []
        found += [(place, chance, one) for chance, one in zip(chances[1:].tolist(), rewrites, strict=True)]
    return found


def _show(
    bench: Workbench, root: int, terms: NDArray[np.int64], best: tuple[int, int], layer: int, view: NDArray[np.int32]
) -> None:
    """The observation that the environment would give, its rows in the order of the arena."""
    count = len(terms)
    table = bench.arena.nodes[terms].copy()
    operands = table[:, 1:4]
    table[:, 1:4] = np.where(operands >= 0, np.searchsorted(terms, operands), -1)
    occurrences = np.zeros(count, np.int64)
    count_occurrences(table, count, occurrences)
    write_terms(table, count, bench.arena.size[terms], bench.arena.length[terms], occurrences, view)
    write_episode(view, _STEPS - layer, 1.0, bench.cost(root), best, bench.cost(bench.start))
