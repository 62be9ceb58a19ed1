"""The learned rewriter, policies as methods, rivals, certificates in passes, expressions of a known short form."""

import copy
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from sysgym.core.errors import CheckpointError, SettingError, UnknownNameError
from sysgym.core.term_network import term_shapes
from sysgym.exprsimp import CertificateError, check, parse, simplify, to_text
from sysgym.exprsimp.agent import WEIGHTS, agent, packaged_guide, read_guide, write_weights
from sysgym.exprsimp.certificate import replay, single_steps
from sysgym.exprsimp.episode import EpisodeConfig
from sysgym.exprsimp.generator import generate, generate_inverse
from sysgym.exprsimp.heuristics import HEURISTICS
from sysgym.exprsimp.model import Builder
from sysgym.exprsimp.policies import Search, greedy
from sysgym.exprsimp.simplification import by_points
from sysgym.exprsimp.workbench import Workbench
from tests.exprsimp.random_terms import draw


def test_the_packaged_weights_fit_the_rules():
    guide = packaged_guide()
    assert set(guide.columns) <= {rule.id for rule in EpisodeConfig().actions}
    assert len(guide.columns) == guide.function.rules > 90


def test_the_agent_is_never_worse_than_greedy_and_often_better():
    better = 0
    for expression in generate(40, "neurewriter", 11, "valid", reducible=True):
        first, second = Workbench(expression), Workbench(expression)
        search = Search()
        mine, theirs = agent(first, search), greedy(second, Search())
        assert first.cost(mine.root) <= second.cost(theirs.root)
        better += first.cost(mine.root) < second.cost(theirs.root)
        assert search.tried <= 600
    assert better >= 3


def test_the_agent_answers_with_a_certificate_and_without_torch():
    code = (
        "import sys\nfrom sysgym.exprsimp import check, simplify\n"
        "result = simplify('select(v0 < v1, v0 + 1, v1 + 1) * 2 - v0 < v2', 'agent')\n"
        "assert check(result) and 'torch' not in sys.modules\nprint(result.text)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == simplify("select(v0 < v1, v0 + 1, v1 + 1) * 2 - v0 < v2", "agent").text


def test_weights_are_written_and_refused(tmp_path):
    path = tmp_path / "mine.safetensors"
    weights = {name: np.ones(shape, np.float32) for name, shape in term_shapes(8, 2, 2).items()}
    write_weights(path, weights, ["not.8", "alg_const.63"])
    guide = read_guide(path, width=3)
    assert guide.columns == {"not.8": 0, "alg_const.63": 1} and (guide.width, guide.function.rounds) == (3, 2)
    with pytest.raises(CheckpointError, match="not a file of a rewriter's weights"):
        read_guide(tmp_path / "none.safetensors")
    path.write_bytes(WEIGHTS.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="not a file of a rewriter's weights"):
        read_guide(path)


@pytest.mark.parametrize("name", ["lookahead", "smallest", "stop"])
def test_policies_of_the_environment_are_methods(name):
    for expression in generate(8, "neurewriter", 5, "valid", reducible=True):
        result = simplify(expression, HEURISTICS[name]())
        assert check(result) and result.size <= expression.size
    wandering = simplify("(v0 + v1) * 3 - min(v1, v2)", HEURISTICS["random"](3))
    assert check(wandering) and wandering.size <= 9


def test_a_plan_by_other_rules_than_the_episodes_is_refused():
    other = EpisodeConfig(normalise=False)
    with pytest.raises(SettingError, match="plans with 106 rules, the episode has others"):
        HEURISTICS["lookahead"]().act_on_state(SimpleNamespace(stop=other.num_actions - 1))


def test_a_policy_that_sees_observations_is_a_method():
    class Highest:
        def reset(self):
            self.asked = 0

        def act(self, observation, action_mask):
            self.asked += 1
            assert observation.shape == (129, 8)
            return int(np.flatnonzero(action_mask)[-1 if self.asked > 3 else 0])

    assert check(simplify("(v0 + v1) * 3 - min(v1, v2) < v0 + 2", Highest()))
    large = simplify("v0" + " + v1" * 90, Highest())
    assert large.size == 181 and check(large)
    with pytest.raises(SettingError, match="give a name"):
        simplify("v0", 3)


@pytest.mark.parametrize(("method", "module"), [("egglog", "egglog"), ("sympy", "sympy")])
def test_rivals_keep_values_and_name_their_extra(method, module, monkeypatch):
    with monkeypatch.context() as absent:
        absent.setitem(sys.modules, module, None)
        with pytest.raises(SettingError, match=r"sysgym\[rivals\]"):
            simplify("v0 + 0 * 1", method)
    pytest.importorskip(module)
    for text, expected in (("v0 + 3 + 4 - v0", "7"), ("v0 / v1 + 1 - 1", "(v0 / v1)"), ("!(v0 < 3) || v0 < 5", "1")):
        result = simplify(text, method)
        assert result.text == expected and check(result) and not result.steps
    generator = np.random.default_rng(2)
    for place in range(6):
        expression = draw(generator, 4, bool(place % 2))
        result = simplify(expression, method)
        assert result.certificate["equality"] and by_points(expression, parse(result.text))


def many_terms(count):
    return " + ".join(f"(v{place % 7} * {place % 5 + 2} + {place} - {place} * 1)" for place in range(count))


def test_steps_that_do_not_touch_are_passes_and_their_number_does_not_grow():
    sizes = {}
    for count in (20, 80):
        certificate = simplify(many_terms(count), "greedy", time_limit=0.2).certificate
        assert check(json.loads(json.dumps(certificate)))
        sizes[count] = len(certificate["steps"]), len(single_steps(certificate))
    assert sizes[80][1] > 3 * sizes[20][1] and sizes[80][0] <= sizes[20][0] + 12


def test_an_altered_pass_is_refused():
    certificate = simplify(many_terms(6), "greedy", time_limit=0.2).certificate
    place = next(number for number, step in enumerate(certificate["steps"]) if "pass" in step)

    def altered(change):
        copied = copy.deepcopy(certificate)
        change(copied["steps"][place]["pass"])
        return copied

    for change in (
        lambda steps: steps.clear(), lambda steps: steps[0].update(position=9999),
        lambda steps: steps[0].update(position=None), lambda steps: steps[1].update(rule="not.3"),
        lambda steps: steps.append({"position": 0, "rule": "left_association.11", "orientation": 0}),
    ):  # fmt: skip
        with pytest.raises(CertificateError, match=f"step {place + 1} of"):
            replay(altered(change))


def test_places_and_terms_of_a_tree_fit():
    generator = np.random.default_rng(0)
    for _ in range(20):
        builder = Builder()
        root = builder.load(draw(generator, 5, False))
        tree, stack = [], [root]
        while stack:
            term = stack.pop()
            tree.append(term)
            stack.extend(child for child in reversed(builder.rows[term][1:4]) if child >= 0)
        assert builder.terms_at(root, [*range(len(tree)), -1, len(tree)]) == [*tree, -1, -1]
        assert builder.terms_at(root, [-1]) == [-1] == builder.terms_at(root, [len(tree)])
        first = {term: tree.index(term) for term in set(tree)}
        assert builder.positions(builder.order(root)) == first


def test_inverse_expressions_have_a_known_short_form():
    pairs = generate_inverse(30, seed=4)
    assert all(by_points(made, target) and made.size > target.size for made, target in pairs)
    assert [to_text(made) for made, _ in pairs[:5]] == [to_text(made) for made, _ in generate_inverse(5, seed=4)]
    assert sum(simplify(made, "greedy").size <= target.size for made, target in pairs) > 15
    assert all(made.size <= 100 for made in generate(10, "inverse", 1, "test"))
    with pytest.raises(UnknownNameError, match="inverse"):
        generate(1, "invers")
