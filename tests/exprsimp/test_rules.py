"""The rules: read, ordered, proved, and applied by two engines that must agree."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import InputFileError
from sysgym.exprsimp import ExpressionError, kernel, matcher, parse
from sysgym.exprsimp.arena import load, make_arena, unload
from sysgym.exprsimp.evaluation import draw_points, evaluate
from sysgym.exprsimp.model import Builder
from sysgym.exprsimp.proofs import CERTIFICATES, prove, read_certificates
from sysgym.exprsimp.rules.program import compile_rules
from sysgym.exprsimp.rules.table import (
    CATEGORIES,
    decreases,
    make_rule,
    orientations,
    oriented,
    published_rules,
    read_rules,
    rule_text,
)
from tests.exprsimp.random_terms import draw, instance

RULES = published_rules()
PROGRAM = compile_rules(RULES)

OR_SIGN = "\N{LOGICAL OR}"  # a table's cell cannot hold ||
UNSOUND = [  # published forms that are wrong, by category, with what the right side gives instead
    ("not", "!(x < y) -> y < x"),
    ("eq_bool", "x < y || y < x -> 1"),
    ("eq_bool", "x <= y && y <= x -> 0"),
    ("var_bound", "!(x < c0) && x <= c0 -> 0"),
    ("var_bound", "!(x <= c0) && x <= c0 -> x == c0"),
    ("var_bound", "!(x <= c0) || x < c0 -> 1"),
    ("var_bound", "!(x < c0) && !(x <= c0) -> !(x < c0)"),
    ("alg_const", "x / x -> 1"),
    ("alg_const", "(x * y) / y -> x"),
    ("alg_const", "(x / c0) / c1 -> x / (c0 * c1)"),
    ("cmp_const", "x * c0 < y * c1 -> x < y * (c1 / c0) if 0 < c0"),
    ("cmp_const", "x / c0 < c1 -> c1 * c0 < x if c0 < 0"),
    ("cmp_const", "c1 <= x / c0 -> x <= c1 * c0 if c0 < 0"),
    ("cmp_const", "y * x == x -> y == 1"),
    ("cmp_const", "x - y < z - x -> y < z - x * 2"),
    ("muldiv_elimination", "x / c0 < y / c0 -> x < y if 0 < c0"),
    ("muldiv_elimination", "c0 / x < c0 / y -> y < x"),
    ("muldiv_association", "c1 - x / c0 -> (c1 * c0 - x) / c0 if 0 < c0"),
    ("muldiv_association", "x / c0 + c1 -> (x + c0 * c1) / c0"),
    ("muldiv_distribution", "(x * c0 - y) / c0 -> x - y / c0 if 0 < c0"),
    ("select_simplification", "select(0, x, y) -> x"),
    ("select_association", "select(x < y, u, v) + select(y < x, z, w) -> select(x < y, u + w, v + z)"),
    ("tempting", "(x * c0) % c1 -> (0 - x % c1) if c0 == -1"),
    ("tempting", "(x * c0) / c1 -> x / (c1 / c0) if c1 % c0 == 0 && 0 < c1"),
]


def test_all_published_categories_are_covered():
    counts = Counter(rule.category for rule in RULES)
    assert len(RULES) >= 300 and set(counts) == set(CATEGORIES) and min(counts.values()) >= 7
    assert len({rule_text(rule.lhs) + rule_text(rule.rhs) + rule_text(rule.condition) for rule in RULES}) == len(RULES)


def test_every_rule_is_proved_and_its_certificate_stored():
    stored = read_certificates()
    for rule in RULES:
        proof = prove(rule)
        assert proof.status == "proved", f"{rule.text}: {proof}"
        assert proof.trials >= 100, rule.text
        assert stored[rule.id].status == "proved"
        if stored[rule.id].solver == proof.solver:
            remedy = f"sysgym simplify --prove-rules --certificate {CERTIFICATES}"
            assert stored[rule.id].query == proof.query, f"{rule.text}: run {remedy}"
    assert stored.keys() == {rule.id for rule in RULES}


@pytest.mark.parametrize(("category", "text"), UNSOUND)
def test_unsound_published_rules_are_refuted(category, text):
    rule = make_rule(text, category)
    proof = prove(rule)
    assert proof.status == "refuted" and proof.counterexample["lhs"] != proof.counterexample["rhs"]


def test_the_documentation_lists_the_unsound_rules():
    page = (Path(__file__).parents[2] / "docs/expressions.md").read_text(encoding="utf-8")
    assert all(f"| {category} | `{text.replace('||', OR_SIGN)}` |" in page for category, text in UNSOUND)


def test_what_cannot_be_proved_does_not_pass():
    assert prove(make_rule("x + 0 -> x + 1 if 1 < 0")).status == "vacuous"
    assert prove(make_rule("x * x * x + y * y * y == z * z * z -> 0"), 0.01).status != "proved"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x + 0", "is not a rule"), ("x + x -> y", "names y"), ("x + c0 -> x if x < c0", "speaks about terms"),
        ("-x -> x < 1", "expected an Int"), ("x -> x + 0", "single name"), ("x + -> x", "caret"),
        ("-a -> a", "unknown name"),
        ("!!x -> x", "expected a Bool"), ("x + c0 -> x if c0 == 0 by c0 + c0", "no product"),
    ],
)  # fmt: skip
def test_malformed_rules_are_refused(tmp_path, text, word):
    with pytest.raises(ExpressionError, match=word):
        make_rule(text)
    path = tmp_path / "own.rules"
    path.write_text(f"# mine\n[mine]\nx + 0 -> x\n{text}\n")
    with pytest.raises(InputFileError, match="line 4"):
        read_rules(path)


def test_rule_files_need_sections_and_rules(tmp_path):
    path = tmp_path / "own.rules"
    path.write_text("x + 0 -> x")
    with pytest.raises(InputFileError, match=r"before the first \[category\]"):
        read_rules(path)
    path.write_text("[mine]\n")
    with pytest.raises(InputFileError, match="holds no rule"):
        read_rules(path)
    with pytest.raises(InputFileError, match="cannot be read"):
        read_rules(tmp_path / "none.rules")


def test_down_rules_decrease_a_well_founded_order_in_every_orientation():
    for rule in RULES:
        if rule.direction == "down":
            builder = Builder()
            rhs = builder.load(rule.rhs)
            lhs = builder.load(rule.lhs)
            for mask, _ in orientations(rule):
                assert decreases(builder, oriented(builder, lhs, mask), rhs), rule.text


def test_the_order_is_strict():
    directions = {text: make_rule(text).direction for text in (
        "x + y -> y + x", "(x / c0 + y) / c1 -> (x + y * c0) / (c0 * c1)", "x - c0 -> x + (0 - c0)",
        "x * y + x * z -> x * (y + z)", "x * (y + z) -> x * y + x * z", "x + 0 -> 0 + x",
    )}  # fmt: skip
    assert list(directions.values()) == ["flat", "flat", "down", "down", "up", "flat"]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_kernel_and_reference_find_the_same_applications(seed, is_bool):
    expression = draw(np.random.default_rng(seed), 5, is_bool)
    arena = make_arena(4096)
    found = np.empty((4096, 3), np.int64)
    count = kernel.applications(arena, PROGRAM, load(arena, expression), found, 2)
    builder = Builder()
    reference = {
        (row, mask, builder.expression(term), builder.expression(result))
        for term, row, mask, result in matcher.applications(builder, RULES, builder.load(expression))
        if result != term
    }
    compiled = {
        (int(PROGRAM.rule[variant]), int(PROGRAM.orientation[variant]), unload(arena, term), unload(arena, result))
        for term, variant, result in found[:count].tolist()
    }
    assert compiled == reference


def test_the_mask_of_a_batch_is_what_applies():
    generator = np.random.default_rng(3)
    arena = make_arena(20_000)
    roots = np.array([load(arena, draw(generator, 5, bool(place % 2))) for place in range(20)])
    terms = int(arena.filled[0])
    mask = np.zeros((terms, len(PROGRAM.rule)), np.bool_)
    assert kernel.legal_mask(arena, PROGRAM, roots, mask)
    space = kernel.scratch(PROGRAM)
    rule_op = PROGRAM.pattern[PROGRAM.pattern_begin[:-1], 0]
    for term in range(terms):
        op = arena.nodes[term, 0]
        for variant in range(len(PROGRAM.rule)):
            fits = rule_op[variant] == op
            applies = fits and kernel.rewrite(arena, PROGRAM, variant, term, space) != kernel.NO
            assert mask[term, variant] == applies


def test_what_is_weighed_is_what_is_made():
    """Size and mark of a result, before it is made; and the mark of the tree around it, by the turns above."""
    generator = np.random.default_rng(9)
    space, met = kernel.scratch(PROGRAM), 0
    for place in range(12):
        arena = make_arena(20_000)
        root = load(arena, draw(generator, 6, bool(place % 2)))
        for term in range(root + 1):
            for variant in range(len(PROGRAM.rule)):
                changes = kernel.weighed(arena, PROGRAM, variant, term, space)
                weight = space[kernel.WEIGHT : kernel.WEIGHT + 3].tolist()
                result = kernel.rewrite(arena, PROGRAM, variant, term, space)
                assert changes == (result not in (kernel.NO, term))
                if changes:
                    met += 1
                    assert weight == [arena.size[result], *arena.mark[result]]
    assert met > 30
    assert len({tuple(pair) for pair in arena.mark[: arena.filled[0]].tolist()}) == arena.filled[0]


def test_marks_tell_trees_apart_whose_leaves_changed_places():
    texts = ["(v0 - v1) - (v2 - v3)", "(v0 - v2) - (v1 - v3)", "(v0 - v3) - (v2 - v1)", "v0 - (v1 - (v2 - v3))"]
    arena = make_arena(1000)
    assert len({int(arena.mark[load(arena, parse(text)), 0]) for text in texts}) == len(texts)


def test_a_choice_between_constants_is_not_computed():
    """In both matchers, also below an operator that computes."""
    rule = make_rule("x * c0 -> x * (select(c0 < 2, 5, 6) + c0)")
    builder = Builder()
    term = builder.load(parse("v0 * 3"))
    result = matcher.rewrite(builder, rule, rule.lhs, term)
    program = compile_rules([rule])
    arena = make_arena(100)
    made = kernel.rewrite(arena, program, 0, load(arena, parse("v0 * 3")), kernel.scratch(program))
    assert unload(arena, made) == builder.expression(result) == parse("v0 * (select(0, 5, 6) + 3)")


def test_rules_keep_the_value_of_what_they_rewrite():
    """Every rule in every orientation on terms made for it; `make bench` does a million."""
    generator = np.random.default_rng(11)
    applied = Counter()
    for rule in RULES:
        for _, pattern in orientations(rule):
            for _ in range(4):
                builder = Builder()
                term = instance(generator, rule, pattern, builder)
                result = matcher.rewrite(builder, rule, pattern, term)
                if result is not None:
                    applied[rule.id] += 1
                    points = draw_points(generator, 30, 3)
                    before, after = (evaluate(builder.expression(root), points) for root in (term, result))
                    assert np.array_equal(before, after), (rule.text, builder.rows)
    assert len(applied) > 0.9 * len(RULES) and sum(applied.values()) > 3000


def test_normal_forms_end_and_keep_the_value():
    generator = np.random.default_rng(5)
    for place in range(60):
        expression = draw(generator, 6, bool(place % 2))
        arena = make_arena(60_000)
        root = load(arena, expression)
        normal, trace, steps = np.full((2, 60_000), -1), np.empty((5000, 3), np.int64), np.zeros(1, np.int64)
        stack, space = np.empty(arena.nodes.shape[0], np.int64), kernel.scratch(PROGRAM)
        result = kernel.normalise(arena, PROGRAM, root, normal, trace, steps, stack, space)
        assert result >= 0 and arena.size[result] <= arena.size[root]
        points = draw_points(generator, 50, 3)
        assert np.array_equal(evaluate(expression, points), evaluate(unload(arena, int(result)), points))
        found = np.empty((10, 3), np.int64)
        assert kernel.applications(arena, PROGRAM, int(result), found, 0) == 0
