"""Rates of expression simplification: reading, masks, rewriting, replaying certificates."""

import json
import time

import gymnasium as gym
import numpy as np

from sysgym.exprsimp import kernel, parse, parse_many, simplify, to_text
from sysgym.exprsimp.arena import load_nodes, make_arena
from sysgym.exprsimp.certificate import replay, single_steps
from sysgym.exprsimp.evaluation import draw_points
from sysgym.exprsimp.model import Builder
from sysgym.exprsimp.rules.table import orientations, published_rules
from sysgym.exprsimp.workbench import evaluate_arena, program_of
from tests.exprsimp.random_terms import draw, instance

MILLION = 1_000_000


def texts_of(data):
    """The training expressions where they are at hand, else generated ones."""
    path = data / "expressions/halide_caviar_train.jsonl"
    if path.exists():
        return [json.loads(line)["expr"] for line in path.read_text().splitlines()]
    generator = np.random.default_rng(0)
    return [to_text(draw(generator, 6, bool(place % 2))) for place in range(5000)]


def expression_rows(rows, rate, data):
    """Append the rows of this domain."""
    texts = texts_of(data)
    published = "published parser: 532 (measured elsewhere)"
    rows.append(
        ("expressions, parse_many, expressions/s", rate(lambda: parse_many(texts), len(texts)), 40_000, published)
    )
    rows.append(
        ("expressions, parse, expressions/s", rate(lambda: [parse(text) for text in texts[:500]], 500, 3), None, "")
    )
    program = program_of(published_rules())
    batches = [parse_many(texts[begin : begin + 32]) for begin in range(0, min(3200, len(texts)), 32)]
    masks = [np.zeros((int(forest.arena.filled[0]), len(program.rule)), np.bool_) for forest in batches]

    def fill():
        for forest, mask in zip(batches, masks, strict=True):
            assert kernel.legal_mask(forest.arena, program, forest.roots, mask[: len(mask)])

    count = sum(len(forest) for forest in batches)
    variants = f"{len(program.rule)} variants of {len(published_rules())} rules"
    rows.append(("expressions, full mask, states/s", rate(fill, count, 3), None, variants))
    for name, arguments, goal in (("106 rules", {}, 50_000), ("629 rules", {"normalise": False}, 20_000)):
        envs = gym.make_vec("sysgym/ExprSimplify-v0", num_envs=64, **arguments)
        rows.append((f"ExprSimplify, make_vec 64, full mask, {name}, steps/s", stepping(envs, 100), goal, ""))
    one = gym.make_vec("sysgym/ExprSimplify-v0", num_envs=1)
    rows.append(("ExprSimplify, one at a time, steps/s", stepping(one, 2000), 3_000, ""))
    certificates = [simplify(text, "random", seed=1).certificate for text in texts[::200]]
    steps = sum(len(single_steps(certificate)) for certificate in certificates)
    rows.append(
        (
            "expressions, certificate replay, steps/s",
            rate(lambda: [replay(one) for one in certificates], steps, 3),
            5000,
            "",
        )
    )
    for method, goal in (("greedy", None), ("beam", 100), ("agent", 50)):
        done = rate(lambda name=method: [simplify(text, name) for text in texts[::40]], len(texts[::40]), 1)
        rows.append((f"expressions, {method}, expressions/s", done, goal, ""))


def stepping(envs, steps):
    """Steps a second under random allowed actions; only `step` is timed, in seconds of this process."""
    generator = np.random.default_rng(0)
    _, info = envs.reset(seed=0)
    spent = 0.0
    for step in range(steps + steps // 4):
        actions = np.array([generator.choice(np.flatnonzero(mask)) for mask in info["action_mask"]])
        begin = time.process_time()
        info = envs.step(actions)[4]
        spent += (time.process_time() - begin) if step >= steps // 4 else 0.0
    return steps * envs.num_envs / spent


def check_applications(wanted=MILLION, seed=0, batch=2000, points=24):
    """Apply rules to terms made for them until `wanted` were checked by evaluation; how many changed a value."""
    generator = np.random.default_rng(seed)
    rules = published_rules()
    program = program_of(rules)
    turned = [(rule, pattern) for rule in rules for _, pattern in orientations(rule)]
    space, checked, wrong = kernel.scratch(program), 0, 0
    while checked < wanted:
        builder = Builder()
        drawn = generator.integers(len(turned), size=batch).tolist()
        made = [(instance(generator, *turned[variant], builder), variant) for variant in drawn]
        arena = make_arena(40 * batch)
        load_nodes(arena, np.array(builder.rows, np.int64))  # every row is new, so numbers stay what they are
        pairs = np.array([(term, kernel.rewrite(arena, program, variant, term, space)) for term, variant in made])
        assert pairs.max() < arena.filled[0] and arena.filled[0] < len(arena.nodes)
        values, usable = np.empty((len(arena.nodes), points), np.int64), np.zeros(len(arena.nodes), np.bool_)
        evaluate_arena(arena, draw_points(generator, points, 3), values, usable, np.zeros(1, np.int64))
        pairs = pairs[(pairs[:, 1] >= 0) & (pairs[:, 0] != pairs[:, 1])]
        pairs = pairs[usable[pairs].all(axis=1)]
        wrong += int((values[pairs[:, 0]] != values[pairs[:, 1]]).any(axis=1).sum())
        checked += len(pairs)
    return wrong


if __name__ == "__main__":
    begun = time.perf_counter()
    changed = check_applications()
    print(f"{MILLION:,} rewrite applications, {changed} changed a value, {time.perf_counter() - begun:.0f} s")
