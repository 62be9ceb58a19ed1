"""Rewriting schedules: rates for `make bench`, how the shipped rewriter was trained, the table of docs/rewriting.md.

    python -m tests.ratios.schedule_rewriting train OUTPUT [--lessons N] [--frames N]
    python -m tests.ratios.schedule_rewriting table [--weights FILE] [--count N] [--resources D ...] [--output FILE]

The table plays the public generator's sequences (seed 1, the last 1,000 of 10,000), on which the reference sheet was
measured. Ratios are of means, to SJF-offline, with paired bootstrap intervals over sequences; times are processor
seconds of one thread. Beside the learned rewriter stands annealing with as many evaluations as it makes rewrites, and
with as many as fit in its seconds.
"""

import argparse
import json
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

import sysgym  # noqa: F401  registers the ids
from sysgym.agents import load
from sysgym.agents.training import Training
from sysgym.bench.statistics import paired_ratio
from sysgym.core.engines import allocate_slot
from sysgym.core.seeding import stream_key
from sysgym.jobsched.rewriting.dynamics import jobs_of, mean_slowdown, order_by, place_order, scratch_room
from sysgym.jobsched.rewriting.model import INITIAL, Instance
from sysgym.jobsched.rewriting.search import Search, improve
from sysgym.jobsched.rewriting.solve import SEARCHES
from sysgym.workloads.job_sequences import SequenceGenerator, legacy_sequences

ENV = "sysgym/ScheduleRewrite-v0"
RESOURCES = (2, 5, 10, 20)
SETTINGS = {
    "teacher": "annealed_in_order", "lessons": 600, "hidden": (64, 64), "rollout_steps": 100, "learning_rate": 1e-4,
    "entropy_weight": 0.0,
}  # fmt: skip
FRAMES = 1_300_000
ANNEALING = SEARCHES["anneal"]
_BATCH = 50


def rewriting_rows(rows, rate, stepping):
    """Evaluations of placement orders a second, and steps of many environments.

    Args:
        rows: Takes the rows.
        rate: Measures a function.
        stepping: Measures a vector environment.
    """
    for resources, goal in ((10, 10_000), (20, None)):
        instance = Instance.of(SequenceGenerator(resources).jobset(0))
        jobs, order = jobs_of(instance), np.arange(len(instance))
        room, search = scratch_room(jobs), Search(20_000, ANNEALING, True)
        done = rate(lambda: improve(jobs, search, 1, room, order), search.evaluations)  # noqa: B023  called at once
        rows.append((f"rewriting, D = {resources}, evaluations/s", done, goal, "annealing, its draws included"))
    envs = gym.make_vec(ENV, num_envs=64)
    looped = gym.make_vec(ENV, num_envs=8, vectorization_mode="sync", engine="simpy")
    stepped = stepping(envs, 200, 64)
    rows.append(
        ("ScheduleRewrite, make_vec 64, steps/s", stepped, None, f"{stepped / stepping(looped, 10, 8):.0f}x reference")
    )


def train(output, lessons, frames, seed=0):
    """Imitation of what annealing finds, then its own episodes; on sequences of 2, 5, 10 and 20 resources."""
    torch.set_num_threads(1)
    spent = time.process_time()
    training = Training(
        ENV, "rewriter", seed=seed, frames=frames, num_envs=64, output=output,
        environment={"resources": list(RESOURCES), "reward": "final"}, **{**SETTINGS, "lessons": lessons},
    )  # fmt: skip
    print(f"imitated, {time.process_time() - spent:.0f} s of processor time", flush=True)
    for progress in training.run():
        if progress.update % 20 == 0:
            print(progress.frames, progress.mean_return, f"{time.process_time() - spent:.0f} s", flush=True)


def listed(jobs, rule):
    """Placement order and mean slowdown of a list schedule."""
    order, start, room = (
        np.empty(len(jobs.arrival), np.int64),
        np.empty(len(jobs.arrival), np.int64),
        scratch_room(jobs),
    )
    order_by(INITIAL.index(rule), jobs, room, order)
    place_order(jobs, order, room, start)
    return order, mean_slowdown(jobs, start)


def searched(columns, rule, search):
    """Mean slowdowns of a search from a list schedule, and processor seconds a sequence."""
    spent, found = time.process_time(), []
    for number, jobs in enumerate(columns):
        order, _ = listed(jobs, rule)
        room, start = scratch_room(jobs), np.empty(len(order), np.int64)
        improve(jobs, search, stream_key(number, "search"), room, order)
        place_order(jobs, order, room, start)
        found.append(mean_slowdown(jobs, start))
    return np.array(found), (time.process_time() - spent) / len(columns)


def rewritten(sequences, policy, **arguments):
    """Mean slowdowns of a policy's best schedules, and processor seconds a sequence."""
    spent, found = 0.0, []
    for begin in range(0, len(sequences), _BATCH):
        part = sequences[begin : begin + _BATCH]
        engine = gym.make_vec(ENV, num_envs=len(part), workload=part, **arguments).unwrapped.engine
        slot = allocate_slot(engine.observation_spec, len(part), engine.num_actions)
        active = np.ones(len(part), dtype=np.bool_)
        begun = time.process_time()
        rows = np.arange(len(part))
        engine.reset(rows, rows.astype(np.uint64), rows)
        engine.observe(active, slot)
        while active.any():
            engine.step(policy.act_batch(slot.observations, slot.action_masks), active, slot)
            active &= ~slot.terminated
        spent += time.process_time() - begun
        found += [engine.state(row).best for row in rows.tolist()]
    return np.array(found), spent / len(sequences)


def table(weights, count, choices, output):
    """A line for each number of resources and method."""
    torch.set_num_threads(1)
    policy, lines = load(weights), []
    for resources in choices:
        sequences = list(legacy_sequences(1, 1000, SequenceGenerator(resources), skipped=9000)[:count])
        columns = [jobs_of(Instance.of(each)) for each in sequences]
        rewritten(sequences[:_BATCH], policy), searched(columns[:2], "ejf", Search(9, 0.05, True))  # compile
        found = {rule: (np.array([listed(jobs, rule)[1] for jobs in columns]), 0.0) for rule in INITIAL}
        agent, seconds = found["rewriter, 50 rewrites"] = rewritten(sequences, policy)
        found["rewriter from earliest_finish"] = rewritten(sequences, policy, initial="earliest_finish")
        for evaluations in (50, 200, 2000):
            found[f"plain annealing, {evaluations}"] = searched(
                columns, "sjf_offline", Search(evaluations, 0.05, False)
            )
            found[f"annealing, {evaluations}"] = searched(
                columns, "earliest_finish", Search(evaluations, ANNEALING, True)
            )
        found["climbing, 2000"] = searched(columns, "earliest_finish", Search(2000, 0.0, True))
        fitting = int(2000 * seconds / found["annealing, 2000"][1])
        found["annealing, the rewriter's seconds"] = searched(
            columns, "earliest_finish", Search(fitting, ANNEALING, True)
        )
        for method, (scores, each) in found.items():
            line = {"resources": resources, "method": method, "mean_slowdown": float(scores.mean()), "seconds": each}
            for name, rival in (("over_sjf_offline", found["sjf_offline"][0]), ("rewriter_over_it", None)):
                above, below = (scores, rival) if rival is not None else (agent, scores)
                ratio = paired_ratio(above[:, None], below[:, None])
                line[name] = [ratio.estimate, ratio.low, ratio.high]
            line |= {"first_60": float(scores[:60].mean() / found["sjf_offline"][0][:60].mean())}
            line |= {"evaluations": fitting} if "seconds" in method else {}
            lines.append(line)
            print(json.dumps(line), flush=True)
    if output:
        Path(output).write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "table"))
    parser.add_argument("path", nargs="?", default="schedulerewrite.safetensors")
    parser.add_argument("--weights", default="schedulerewrite")
    parser.add_argument("--lessons", type=int, default=SETTINGS["lessons"])
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--resources", type=int, nargs="*", default=RESOURCES)
    parser.add_argument("--output")
    given = parser.parse_args()
    if given.what == "train":
        train(given.path, given.lessons, given.frames)
    else:
        table(given.weights, given.count, given.resources, given.output)
