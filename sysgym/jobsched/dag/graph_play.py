"""Whole episodes under a graph network, compiled: messages, scores and moves without a word of Python.

A trained policy over the observation `choices` is Decima's agent: stages pass messages along the edges of their job, a
perceptron scores every (stage, limit) that is allowed, the best is taken. Here a search plays millions of decisions so,
some tens of microseconds each; the sums are in another order than in `agents.acting.graph_inference`, so the scores
agree up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.choice_network import ChoiceNetwork
from sysgym.core.compiled import uncounted, uncounted_inline
from sysgym.jobsched.dag.arrivals import DagJobs
from sysgym.jobsched.dag.choices import write_mask
from sysgym.jobsched.dag.dynamics import decide, run_to_decision
from sysgym.jobsched.dag.episodes import AREA, CLOCK, CUT, HORIZON, KEY, NUMBER, Episode, Rules, allocate, begin
from sysgym.jobsched.dag.model import ARRIVED, DONE, DagConfig, edge_room, most_stages
from sysgym.jobsched.dag.observation import list_edges
from sysgym.jobsched.dag.outlook import (
    CHOICE_FEATURES,
    FEATURES,
    Outlook,
    describe_choice,
    describe_stage,
    new_outlook,
    prepare,
)
from sysgym.jobsched.dag.profiles import Integers, ProfileTable

Floats = NDArray[np.float32]
DECISIONS_PER_JOB = 400
"""Who takes more dawdles without end, and is judged by twice the time that was spent until then."""


class Scratch(NamedTuple):
    """Memory of one decision: (nodes, widest) from `states` to `out_of`, vectors from `context` on."""

    mask: NDArray[np.int8]
    outlook: Outlook
    nodes: Floats
    ends: Integers
    states: Floats
    into: Floats
    out_of: Floats
    context: Floats
    choice: Floats
    mean: Floats
    shared: Floats
    by_node: Floats
    hidden: Floats


def new_scratch(config: DagConfig, jobs: int, per_job: int, widths: Sequence[int]) -> Scratch:
    """Memory for the decisions of one cluster under networks of such widths."""
    count, widest = config.stages, max(widths)

    def zeros(*shape: int) -> Floats:
        return np.zeros(shape, dtype=np.float32)

    outlook = new_outlook(jobs, jobs * per_job)
    return Scratch(
        np.zeros(config.num_actions, dtype=np.int8), outlook, zeros(count, FEATURES),
        np.zeros((edge_room(count), 2), dtype=np.int64), zeros(count, widest), zeros(count, widest),
        zeros(count, widest), zeros(len(outlook.around)), zeros(CHOICE_FEATURES), zeros(widest), zeros(widest),
        zeros(widest), zeros(widest),
    )  # fmt: skip


@uncounted_inline
def _add_product(values: Floats, weights: Floats, begins: int, width: int, out: Floats) -> None:
    """Add a vector times the matrix (inputs, width) that begins at a place of the weights."""
    for place in range(values.shape[0]):
        value = values[place]
        if value != 0.0:
            row = begins + place * width
            for unit in range(width):
                out[unit] += value * weights[row + unit]


@uncounted_inline
def _activate(values: Floats, width: int, tanh: bool) -> None:
    for unit in range(width):
        values[unit] = np.tanh(values[unit]) if tanh else max(values[unit], np.float32(0.0))


@uncounted
def _means(states: Floats, count: int, ends: Integers, edges: int, side: int, width: int, out: Floats) -> None:
    """Write each node's mean state of those at the other ends of the edges whose end `side` it is; 0 without edges."""
    for v in range(count):
        for unit in range(width):
            out[v, unit] = 0.0
    for edge in range(edges):
        here, there, degree = ends[edge, side], ends[edge, 1 - side], 0
        for other in range(edges):
            degree += ends[other, side] == here
        for unit in range(width):
            out[here, unit] += states[there, unit] / np.float32(degree)


@uncounted
def _mean(states: Floats, count: int, width: int, out: Floats) -> None:
    for unit in range(width):
        out[unit] = 0.0
        for v in range(count):
            out[unit] += states[v, unit]
        out[unit] /= np.float32(max(count, 1))


@uncounted
def pass_messages(network: ChoiceNetwork, count: int, edges: int, s: Scratch) -> int:
    """Write the nodes' states, their mean, and what all choices share; returns where the perceptron's weights begin.

    Args:
        network: One.
        count: Nodes, whose features are in the scratch.
        edges: Edges, likewise.
        s: The scratch.
    """
    w, widths, inputs = network.weights, network.widths, network.inputs
    width = widths[0]
    bias = inputs[0] * width
    for unit in range(width):
        s.shared[unit] = w[bias + unit]
    _add_product(s.context, w, bias + width, width, s.shared)
    for v in range(count):
        for unit in range(width):
            s.states[v, unit] = s.shared[unit]
        _add_product(s.nodes[v], w, 0, width, s.states[v])
        _activate(s.states[v], width, network.tanh)
    read = bias + width + inputs[2] * width
    for place in range(1, widths.shape[0]):
        below, width = width, widths[place]
        square = below * width
        _means(s.states, count, s.ends, edges, 1, below, s.into)
        _means(s.states, count, s.ends, edges, 0, below, s.out_of)
        _mean(s.states, count, below, s.mean)
        for unit in range(width):
            s.shared[unit] = w[read + 4 * square + unit]
        _add_product(s.mean[:below], w, read + 3 * square, width, s.shared)
        for v in range(count):
            for unit in range(width):
                s.hidden[unit] = s.shared[unit]
            _add_product(s.states[v, :below], w, read, width, s.hidden)
            _add_product(s.into[v, :below], w, read + square, width, s.hidden)
            _add_product(s.out_of[v, :below], w, read + 2 * square, width, s.hidden)
            _activate(s.hidden, width, network.tanh)
            for unit in range(width):
                s.states[v, unit] = s.hidden[unit]
        read += 4 * square + width
    _mean(s.states, count, width, s.mean)
    given = inputs[0] + inputs[1] + inputs[2]
    bias = read + (given + 2 * width) * width
    for unit in range(width):
        s.shared[unit] = w[bias + unit]
    _add_product(s.context, w, read + (inputs[0] + inputs[1]) * width, width, s.shared)
    _add_product(s.mean[:width], w, read + (given + width) * width, width, s.shared)
    return int(read)


@uncounted
def _turn_to(network: ChoiceNetwork, read: int, v: int, s: Scratch) -> None:
    """Prepare the scores of the choices of node v."""
    width, inputs = network.widths[-1], network.inputs
    for unit in range(width):
        s.by_node[unit] = s.shared[unit]
    _add_product(s.nodes[v], network.weights, read, width, s.by_node)
    skipped = inputs[0] + inputs[1] + inputs[2]
    _add_product(s.states[v, :width], network.weights, read + skipped * width, width, s.by_node)


@uncounted
def _score(network: ChoiceNetwork, read: int, begun: Floats, s: Scratch) -> float:
    """Score of the choice in the scratch, from what was prepared."""
    w, width, inputs = network.weights, network.widths[-1], network.inputs
    for unit in range(width):
        s.hidden[unit] = begun[unit]
    _add_product(s.choice, w, read + inputs[0] * width, width, s.hidden)
    _activate(s.hidden, width, network.tanh)
    last = read + (inputs[0] + inputs[1] + inputs[2] + 2 * width + 1) * width
    total = w[last + width]
    for unit in range(width):
        total += s.hidden[unit] * w[last + unit]
    return float(total)


@uncounted
def best_choice(r: Episode, table: ProfileTable, limits: Integers, network: ChoiceNetwork, s: Scratch) -> int:
    """The allowed action of the largest score; of equal ones the first."""
    executors, choices, best, most = r.executor.shape[0], limits.shape[0], -1, 0.0
    write_mask(r.numbers, r.job, r.stage, limits, r.node, table, s.mask)
    prepare(r.numbers, r.job, r.stage, r.executor, r.node, table, s.outlook)
    per_job, count = r.stage.shape[0] // r.job.shape[0], 0
    while count < r.node.shape[0] and r.node[count] >= 0:
        v = r.node[count]
        describe_stage(r.numbers, r.job, r.stage, executors, table, s.outlook, v, v // per_job, s.nodes[count])
        count += 1
    for place in range(s.context.shape[0]):
        s.context[place] = s.outlook.around[place]
    edges = list_edges(r.job, r.stage, r.node, count, table, s.outlook, s.ends)
    read = pass_messages(network, count, edges, s)
    for v in range(count):
        prepared = False
        for place in range(choices):
            action = v * choices + place
            if s.mask[action]:
                if not prepared:
                    _turn_to(network, read, v, s)
                    prepared = True
                describe_choice(r.numbers, r.job, r.stage, executors, s.outlook, r.node[v], limits[place], s.choice)
                value = _score(network, read, s.by_node, s)
                if best < 0 or value > most:
                    best, most = action, value
    if s.mask[-1]:
        for place in range(s.choice.shape[0]):
            s.choice[place] = 0.0
        if best < 0 or _score(network, read, s.shared, s) > most:
            best = s.mask.shape[0] - 1
    return best


@uncounted
def play_members(
    r: Episode, table: ProfileTable, rules: Rules, kind: Integers, submit: Integers, networks: ChoiceNetwork,
    s: Scratch, clock: Integers, returns: NDArray[np.float64],
) -> int:  # fmt: skip
    """Play one episode with each of M networks.

    Args:
        r: Memory of an episode.
        table: The profiles.
        rules: Of the cluster.
        kind: Of the jobs.
        submit: When they come, ms.
        networks: M of them.
        s: Memory of a decision.
        clock: As it stands at the episode's beginning.
        returns: Written, (M,): minus the mean time in the system over the jobs that arrived, s.

    Returns:
        The number of decisions.
    """
    total, jobs = 0, r.job.shape[0]
    for member in range(networks.weights.shape[0]):
        network = ChoiceNetwork(networks.weights[member], networks.inputs, networks.widths, networks.tanh)
        for place in range(clock.shape[0]):
            r.clock[place] = clock[place]
        begin(r, table, kind, submit)
        run_to_decision(r, table, rules)
        decisions = 0
        while r.numbers[DONE] < jobs and not r.clock[CUT] and decisions < jobs * DECISIONS_PER_JOB:
            decide(r, table, rules, best_choice(r, table, rules.limits, network, s), s.mask)
            decisions += 1
        spent = float(r.clock[AREA]) / max(r.numbers[ARRIVED], 1) / 1000.0
        ended = r.numbers[DONE] == jobs or r.clock[CUT] > 0
        returns[member] = -spent if ended else -2.0 * spent
        total += decisions
    return total


class Arena:
    """Plays episodes one after another in memory of its own.

    Args:
        config: The cluster.
        jobs: Where its jobs come from.
        table: Their profiles.
        widths: Of the networks' states.
    """

    def __init__(self, config: DagConfig, jobs: DagJobs, table: ProfileTable, widths: tuple[int, ...]) -> None:
        self.jobs, self.table, self.widths = jobs, table, widths
        count, per_job = jobs.rules.jobs, most_stages(table)
        self._rules = Rules(config.moving_delay, config.inverted_levels, False, config.limit_values)
        room = count * (3 + per_job + DECISIONS_PER_JOB)
        memory = allocate(1, count, per_job, config.executors, config.stages, room)
        self._episode = Episode(*(column[0] for column in memory))
        self._scratch = new_scratch(config, count, per_job, widths)

    def play(
        self, networks: ChoiceNetwork, seeds: NDArray[np.uint64], episodes: Integers
    ) -> tuple[NDArray[np.float64], int]:
        """See `ChoicePlayer.play_choices`."""
        returns, decisions = np.empty((len(networks.weights), len(seeds))), 0
        clock = np.zeros(CLOCK, dtype=np.int64)
        for place, (seed, number) in enumerate(zip(seeds.tolist(), episodes.tolist(), strict=True)):
            drawn, column = self.jobs.draw(seed, number), np.empty(len(networks.weights))
            clock[KEY], clock[NUMBER], clock[HORIZON] = drawn.duration_key, drawn.episode, drawn.horizon
            decisions += play_members(
                self._episode, self.table, self._rules, drawn.kind, drawn.submit, networks, self._scratch, clock, column
            )
            returns[:, place] = column
        return returns, decisions
