"""Train the rewriter that is packaged, and compare all methods in one run.

    python -m tests.ratios.rewriter train OUTPUT [--longest CHARACTERS] [--lessons N] [--frames N]
    python -m tests.ratios.rewriter table [--methods M ...] [--every N] [--long-only] [--generated N]
    python -m tests.ratios.rewriter trials [--every N]

Training plays the training expressions of the shared data (where they are at hand) and generated ones of two
distributions, on one thread. The table is that of docs/expressions.md: every method on the validation expressions,
or on so many generated ones of the distribution `neurewriter`.
Trials compares searches with the agent at equal numbers of rewrites tried.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch

from sysgym.agents.training import Training
from sysgym.exprsimp import parse, to_text
from sysgym.exprsimp.agent import agent, write_weights
from sysgym.exprsimp.comparison import compare
from sysgym.exprsimp.episode import EpisodeConfig
from sysgym.exprsimp.generator import generate
from sysgym.exprsimp.policies import SEARCHES, Search, beam, greedy
from sysgym.exprsimp.workbench import Workbench

DATA = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[3] / "shared" / "data") / "expressions"
ENV = "sysgym/ExprSimplify-v0"
METHODS = ("agent", "greedy", "beam", "anneal", "random", "z3", "z3_ctx", "egglog", "sympy")


def training_expressions(longest=None, generated=6_000):
    """Expressions of the training file and of the generator's training split, of at most so many characters."""
    path = DATA / "halide_caviar_train.jsonl"
    texts = [json.loads(line)["expr"] for line in path.read_text().splitlines()] if path.exists() else []
    for distribution in ("halide", "neurewriter"):
        texts += [to_text(one) for one in generate(generated, distribution, 1, "train", reducible=True)]
    return [text for text in texts if longest is None or len(text) <= longest]


def train(output, longest, lessons, frames, seed=0):
    """Imitation, then its own episodes; writes the weights that `simplify` reads."""
    torch.set_num_threads(1)
    begun, spent = time.perf_counter(), time.process_time()
    texts = training_expressions(longest)
    training = Training(
        ENV, "rewriter", seed=seed, frames=frames, num_envs=64, output=f"{output}.run", lessons=lessons,
        environment={"expressions": texts},
    )  # fmt: skip
    print(f"{len(texts)} expressions, imitation done, {time.process_time() - spent:.0f} s of CPU time", flush=True)
    for progress in training.run():
        if progress.update % 20 == 0:
            print(progress.frames, progress.mean_return, f"{time.process_time() - spent:.0f}", flush=True)
    weights = {name: value.numpy(force=True) for name, value in training.network.policy.state_dict().items()}
    write_weights(output, weights, [rule.id for rule in EpisodeConfig().actions])
    spent = time.process_time() - spent
    print(f"done: {spent:.0f} s of CPU time, {time.perf_counter() - begun:.0f} s by the clock", flush=True)


def validation(every, long_only):
    """The validation expressions, or every so many of them."""
    lines = (DATA / "halide_caviar_val.jsonl").read_text().splitlines()[::every]
    texts = [json.loads(line)["expr"] for line in lines]
    return [text for text in texts if not long_only or len(text) > 100]


def table(methods, texts):
    """One JSON line a method, all in one run; see `comparison.compare`."""
    for row in compare(texts, methods):
        print(json.dumps(row), flush=True)


def trials(every):
    """Searches beside the agent at equal numbers of rewrites tried: shares, and rewrites an expression."""
    inputs = [parse(text) for text in validation(every, False)]
    length = sum(one.length for one in inputs)
    mean = 0.0
    searches = {"agent": agent, "greedy": greedy, "beam": beam}
    for name in (*searches, "beam, as many", "random, as many", "anneal, as many"):
        kept = tried = 0
        for one in inputs:
            bench, search = Workbench(one), Search()
            if name in searches:
                found = searches[name](bench, search)
            elif name.startswith("beam"):
                search.width, search.layers, search.successors = 4, 5, max(4, round(mean / 5))
                found = beam(bench, search)
            else:
                search.walks = round(mean)
                found = SEARCHES[name.split(",")[0]](bench, search)
            kept, tried = kept + min(bench.cost(found.root)[1], one.length), tried + search.tried
        mean = mean or tried / len(inputs)
        print(f"{name}: {1 - kept / length:.4f} of the length, {tried / len(inputs):.1f} rewrites tried", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "table", "trials"))
    parser.add_argument("output", nargs="?", default="rewriter.safetensors")
    parser.add_argument("--longest", type=int)
    parser.add_argument("--lessons", type=int, default=100)
    parser.add_argument("--frames", type=int, default=40_000)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--long-only", action="store_true")
    parser.add_argument("--generated", type=int, default=0)
    given = parser.parse_args()
    if given.what == "train":
        train(given.output, given.longest, given.lessons, given.frames)
    elif given.what == "table":
        made = generate(given.generated, "neurewriter", 7, reducible=True) if given.generated else []
        table(given.methods, [to_text(one) for one in made] or validation(given.every, given.long_only))
    else:
        trials(given.every)
