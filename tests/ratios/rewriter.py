"""Train the rewriter that is packaged, and compare all methods in one run.

    python -m tests.ratios.rewriter train OUTPUT [--longest CHARACTERS] [--lessons N] [--frames N]
    python -m tests.ratios.rewriter table [--count N]

Training plays the training expressions of the shared data (where they are at hand) and generated ones of both
distributions, on one thread. The table is that of docs/expressions.md: every method on the validation expressions.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch

from sysgym.agents.training import Training
from sysgym.exprsimp import to_text
from sysgym.exprsimp.generator import generate

DATA = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[3] / "shared" / "data") / "expressions"
ENV = "sysgym/ExprSimplify-v0"
METHODS = ("agent", "greedy", "beam", "random", "anneal", "z3", "z3_ctx", "egglog", "sympy")


def training_expressions(longest=None, generated=6_000):
    """Expressions of the training file and of the generator's training split, of at most so many characters."""
    path = DATA / "halide_caviar_train.jsonl"
    texts = [json.loads(line)["expr"] for line in path.read_text().splitlines()] if path.exists() else []
    for distribution in ("halide", "neurewriter"):
        texts += [to_text(one) for one in generate(generated, distribution, 1, "train", reducible=True)]
    return [text for text in texts if longest is None or len(text) <= longest]


def train(output, longest, lessons, frames, seed=0):
    """Imitation, then its own episodes; writes the policy."""
    torch.set_num_threads(1)
    begun, spent = time.perf_counter(), time.process_time()
    texts = training_expressions(longest)
    training = Training(
        ENV, "rewriter", seed=seed, frames=frames, num_envs=64, output=f"{output}.run", lessons=lessons,
        environment={"expressions": texts},
    )  # fmt: skip
    print(f"{len(texts)} expressions, imitation done, {time.process_time() - spent:.0f} s of CPU time", flush=True)
    training.policy().save(f"{output}.imitation")
    for progress in training.run():
        if progress.update % 20 == 0:
            print(progress.frames, progress.mean_return, f"{time.process_time() - spent:.0f}", flush=True)
    training.policy().save(output)
    spent = time.process_time() - spent
    print(f"done: {spent:.0f} s of CPU time, {time.perf_counter() - begun:.0f} s by the clock", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train",))
    parser.add_argument("output")
    parser.add_argument("--longest", type=int)
    parser.add_argument("--lessons", type=int, default=100)
    parser.add_argument("--frames", type=int, default=50_000)
    given = parser.parse_args()
    train(given.output, given.longest, given.lessons, given.frames)
