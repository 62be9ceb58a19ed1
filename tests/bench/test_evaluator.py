"""The evaluator and the ways to name a policy."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from sysgym.bench import environments
from sysgym.bench.action_log import STORED
from sysgym.bench.evaluator import evaluate
from sysgym.bench.evidence import queue_series
from sysgym.bench.isolation import Limits
from sysgym.bench.policies import resolve_policy
from sysgym.core.errors import CheckpointError, InputFileError, PolicyError, SettingError, UnknownNameError
from sysgym.core.events import EventKind, EventLog
from sysgym.envs.bounds import Bound
from tests.bench.toy import ToyEnv

LIMITS = Limits()
TOY = "tests.bench.toy:Toy-v0"
SHORTEST = """
import numpy as np
class Policy:
    def __init__(self, observation_space, action_space):
        self.actions = action_space.n
    def reset(self):
        pass
    def act(self, observation, action_mask):
        return int(np.argmin(np.where(action_mask[: self.actions] == 1, observation, np.inf)))
"""


@pytest.fixture
def code(tmp_path):
    def write(text, name="mine.py"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_a_policy_file_needs_no_constructor(code):
    text = "class Policy:\n    def reset(self): pass\n    def act(self, observation, action_mask): return 0\n"
    assert evaluate(code(text), TOY, scenarios=2).values == evaluate("first", TOY, scenarios=2).values


@pytest.mark.parametrize("limits", [None, LIMITS], ids=["trusted", "isolated"])
def test_a_function_is_a_policy(code, limits):
    found = evaluate(code("def act(observation, action_mask): return 0\n"), TOY, scenarios=2, limits=limits)
    assert found.values == evaluate("first", TOY, scenarios=2).values


class Batch:
    """The shortest job, for many observations at once; keeps how many it was asked for."""

    def __init__(self):
        self.rows = []

    def act_batch(self, observations, action_masks):
        self.rows.append(len(observations))
        return np.argmin(np.where(action_masks == 1, observations, np.inf), axis=1)


def test_heuristic_code_and_batch_policy_that_decide_alike_get_the_same_records(code):
    by_name = evaluate("shortest", TOY, scenarios=20)
    by_file = evaluate(code(SHORTEST), TOY, scenarios=20)
    batch = Batch()
    by_batch = evaluate(batch, TOY, scenarios=20)
    assert by_name.values == by_file.values == by_batch.values
    assert [s.event_log_sha256 for s in by_name.scenarios] == [s.event_log_sha256 for s in by_batch.scenarios]
    assert [s.steps for s in by_batch.scenarios] == [40] * 20
    assert batch.rows and set(batch.rows) == {16}
    assert (by_name.objective, by_name.direction) == ("mean_wait", "min")
    assert [p.policy.kind for p in (by_name, by_file, by_batch)] == ["heuristic", "code", "code"]


def test_scenarios_are_paired_and_splits_disjoint():
    first, longest = (evaluate(name, TOY, scenarios=5) for name in ("first", "longest"))
    train = evaluate("first", TOY, split="train", scenarios=5)
    later = evaluate("first", TOY, scenarios=3, seed0=2)
    submitted = [[s.submissions_sha256 for s in e.scenarios] for e in (first, longest, train, later)]
    assert len({*submitted[0], *submitted[2]}) == 10
    assert submitted[3] == submitted[0][2:]
    assert np.mean(first.values) < np.mean(longest.values)


def test_a_window_is_never_played_twice():
    with pytest.raises(SettingError, match="no more disjoint windows than 4"):
        evaluate("first", TOY, {"windows": 4}, scenarios=6)


def test_seeded_heuristics_follow_the_policy_seed():
    values = [evaluate("dice", TOY, scenarios=2, policy_seed=seed).values for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_what_is_no_action_is_played_as_doing_nothing_and_counted(code):
    for reply in ("float('nan')", "-1", "3", "None", "'0'", "[0]"):
        policy = code(SHORTEST.replace("int(np.argmin", f"{reply} if True else int(np.argmin"))
        played = evaluate(policy, TOY, scenarios=2)
        assert played.values == evaluate("first", TOY, scenarios=2).values
        assert [s.invalid_actions for s in played.scenarios] == [40, 40]


def test_a_policy_cannot_write_to_what_it_sees(code):
    policy = code(SHORTEST.replace("return int", "observation[:] = 0\n        return int"))
    with pytest.raises(PolicyError, match=r"ValueError: .*read-only \(mine.py, line 9\)"):
        evaluate(policy, TOY, scenarios=1)


def test_budgets_end_an_evaluation():
    with pytest.raises(PolicyError, match="not ended after 39 steps"):
        evaluate("first", TOY, scenarios=1, scenario_steps=39)
    with pytest.raises(PolicyError, match="longer than 1e-09 s"):
        evaluate(Batch(), TOY, scenarios=1, seconds=1e-9)


def test_any_gymnasium_environment_is_evaluated_by_its_return():
    class Push:
        def act(self, observation, action_mask):
            return int(observation[2] > 0)

    found = evaluate(Push(), "CartPole-v1", split="valid", scenarios=3)
    assert (found.objective, found.direction) == ("return", "max")
    assert found.values == [m["length"] for m in found.metrics] and min(found.values) >= 8
    assert [s.seed for s in found.scenarios] == environments.scenario_seeds("CartPole-v1", "valid", 3)
    with pytest.raises(SettingError, match="only Discrete"):
        evaluate(Push(), "Pendulum-v1", scenarios=1)


class Leaky(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, 1 / 0, False, False, {}


def test_what_an_environment_of_ones_own_raises_is_one_line_with_its_place():
    gym.register("Leaky-v0", entry_point=Leaky)
    try:
        with pytest.raises(
            SettingError, match=r"environment Leaky-v0: ZeroDivisionError: .* \(test_evaluator.py, line"
        ):
            evaluate(SimpleNamespace(reset=lambda: None, act=lambda observation, mask: 0), "Leaky-v0", scenarios=2)
    finally:
        gym.registry.pop("Leaky-v0")
    with pytest.raises(UnknownNameError, match="needs its module in front: mymodule:Leaky-v0"):
        evaluate("random", "Leaky-v0", scenarios=2)


def test_wrong_names_and_arguments_say_so():
    with pytest.raises(UnknownNameError, match="did you mean shortest"):
        evaluate("shortes", TOY, scenarios=1)
    with pytest.raises(UnknownNameError, match="sysgym/BatchSched-v0"):
        evaluate("first", "sysgym/BatchShed-v0", scenarios=1)
    with pytest.raises(SettingError, match="unexpected keyword argument 'slots'"):
        evaluate("first", TOY, {"slots": 3}, scenarios=1)
    with pytest.raises(SettingError, match="'split', which the evaluation decides"):
        evaluate("first", TOY, {"split": "train"}, scenarios=1)
    with pytest.raises(SettingError, match="observation is 'choices_foreseen', which shows what is still to come"):
        evaluate("sjf", "sysgym/JobSched-v0", {"observation": "choices_foreseen"}, scenarios=1)


def test_policy_files_that_cannot_be_used_say_why(code, tmp_path):
    env = ToyEnv()
    faults = {
        "class Policy(:\n": "line 1: SyntaxError: invalid syntax$",
        "import no_such_module_here\n": "no_such_module_here",
        "x = 1\n": "no class Policy with a method act",
    }
    for number, (text, message) in enumerate(faults.items()):
        with pytest.raises(InputFileError, match=message):
            resolve_policy(code(text, f"p{number}.py"), env)
    with pytest.raises(InputFileError, match="found: Policy"):
        resolve_policy(code(SHORTEST) + ":Other", env)
    with pytest.raises(InputFileError, match="no such policy file"):
        resolve_policy(str(tmp_path / "absent.py"), env)
    with pytest.raises(CheckpointError):
        resolve_policy(code("not a checkpoint", "agent.safetensors"), env)
    with pytest.raises(CheckpointError, match="stable-baselines3"):
        resolve_policy(code("not a zip", "agent.zip"), env)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = {}\ny = x['a']\n", r"mine.py, line 2: KeyError: 'a'"),
        ("import sys\nsys.exit('bye')\n", r"mine.py, line 2: SystemExit: bye"),
        ("import json\njson.loads('{')\n", r"mine.py, line 2: JSONDecodeError: "),
        (SHORTEST.replace("pass", "pass\n    reset = 1 / 0"), r"mine.py, line 8: ZeroDivisionError: division by zero"),
        (SHORTEST.replace("action_space.n", "action_space.size"), r"mine.py, line 5: AttributeError: .*size"),
        ("class Policy:\n    def act(self, observation, mask): return 0\n", r"mine.py: TypeError: .*arguments"),
    ],
)
def test_whatever_a_file_raises_is_one_line_with_its_place(code, text, message):
    with pytest.raises(InputFileError, match=message) as caught:
        resolve_policy(code(text), ToyEnv())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (None, "act_batch gave None; it must give one action for each of the 3 observations"),
        (1, "act_batch gave 1; it must"),
        ([0, 1], r"array of shape \(2,\)"),
        (np.zeros((3, 1), dtype=int), r"array of shape \(3, 1\)"),
        ([[0], [0, 1], 2], "ValueError: .*inhomogeneous"),
    ],
)
def test_a_batch_policy_gives_one_action_a_row(reply, message):
    with pytest.raises(PolicyError, match=message):
        evaluate(SimpleNamespace(act_batch=lambda observations, masks: reply), TOY, scenarios=3)


def test_no_action_in_a_batch_is_replaced_and_counted():
    odd = SimpleNamespace(act_batch=lambda observations, masks: [0, None, float("nan")])
    played = evaluate(odd, TOY, scenarios=3)
    assert [s.invalid_actions for s in played.scenarios] == [0, 40, 40]
    assert played.values == evaluate("first", TOY, scenarios=3).values


def test_a_batch_policy_alone_plays_any_environment():
    class Push:
        def act_batch(self, observations, action_masks):
            assert observations.shape == (1, 4) and action_masks.shape == (1, 2)
            assert not observations.flags.writeable
            return (observations[:, 2] > 0).astype(int)

    single = SimpleNamespace(act=lambda observation, mask: int(observation[2] > 0))
    assert evaluate(Push(), "CartPole-v1", scenarios=2).values == evaluate(single, "CartPole-v1", scenarios=2).values


def test_exits_and_prints_of_a_policy_stay_its_own(code, capfd):
    loud = SHORTEST.replace("return int", "print('deciding')\n        return int")
    evaluate(code("print('loading')\n" + loud), TOY, scenarios=1)
    assert capfd.readouterr() == ("", "")
    evaluate(code("print('loading')\n" + loud), TOY, scenarios=1, limits=None)
    printed = capfd.readouterr()
    assert printed.out == "" and "loading" in printed.err and "deciding" in printed.err
    with pytest.raises(PolicyError, match=r"SystemExit: 0 \(mine.py, line 9\)"):
        evaluate(code(SHORTEST.replace("return int", "raise SystemExit(0)\n        return int")), TOY, scenarios=1)


def test_first_scenarios_and_splits_out_of_range_are_refused():
    for env_id, first in ((TOY, -1), (TOY, 2**31), ("CartPole-v1", -1), ("CartPole-v1", 10**9), (TOY, 10**30)):
        with pytest.raises(SettingError, match="it must be at least 0 and at most"):
            environments.scenario_seeds(env_id, "test", 1, first)
    for split in ("all", "tst"):
        for env_id in (TOY, "CartPole-v1"):
            with pytest.raises(UnknownNameError, match=f"unknown split '{split}'"):
                evaluate("first", env_id, split=split, scenarios=1)


def test_a_generator_may_repeat_a_tiny_set_of_jobs():
    tiny = evaluate("sjf", "sysgym/JobSched-v0", {"sequence_length": 1, "arrival_rate": 1.0}, scenarios=60)
    assert len({scenario.submissions_sha256 for scenario in tiny.scenarios}) < 60


def test_models_of_stable_baselines_fit_their_environment(tmp_path):
    rivals = pytest.importorskip("stable_baselines3")
    env = gym.make("CartPole-v1")
    path = tmp_path / "cart.zip"
    rivals.PPO("MlpPolicy", env, device="cpu").save(path)
    trusted, isolated = (evaluate(str(path), "CartPole-v1", scenarios=2, limits=it) for it in (None, LIMITS))
    assert isolated.values == trusted.values and isolated.policy.policy.fences[0] == "limits"
    with pytest.raises(
        CheckpointError, match=r"cart.zip: trained on observations Box.* the environment has Box.*\(3,\)"
    ):
        evaluate(str(path), TOY, scenarios=1)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole.replace(b"policy.pth", b"polity.pth")):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"cart.zip: not a stable-baselines3 model"):
            evaluate(str(path), "CartPole-v1", scenarios=1)


def test_a_class_is_found_by_its_name_or_as_the_only_one(code):
    env = ToyEnv()
    other = SHORTEST.replace("class Policy", "class Mine")
    assert type(resolve_policy(code(other, "a.py"), env).policy).__name__ == "Mine"
    both = code(SHORTEST + other, "b.py")
    assert type(resolve_policy(both, env).policy).__name__ == "Policy"
    assert type(resolve_policy(both + ":Mine", env).policy).__name__ == "Mine"


def test_a_stable_baselines_model_is_a_policy(tmp_path):
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    for name in ("PPO", "A2C", "DQN"):
        model = getattr(stable_baselines3, name)("MlpPolicy", gym.make("CartPole-v1"), seed=0, device="cpu")
        model.save(tmp_path / name)
        found = evaluate(str(tmp_path / f"{name}.zip"), "CartPole-v1", scenarios=2, limits=None)
        assert found.policy.kind == "learned" and type(found.policy.policy.model).__name__ == name
        observation = np.array([0.0, 0.1, 0.02, -0.1], dtype=np.float32)
        action, _ = model.predict(observation, deterministic=True)
        assert found.policy.policy.act(observation, np.ones(2, dtype=np.int8)) == action


def test_a_masked_model_of_sb3_contrib_sees_the_mask(tmp_path):
    contrib = pytest.importorskip("sb3_contrib")
    model = contrib.MaskablePPO("MlpPolicy", gym.make(TOY), seed=0, device="cpu")
    model.save(tmp_path / "masked")
    path = str(tmp_path / "masked.zip")
    trusted, isolated = (evaluate(path, TOY, scenarios=2, limits=it) for it in (None, LIMITS))
    assert trusted.values == isolated.values and trusted.policy.kind == "learned"
    env = gym.make(TOY)
    observation, info = env.reset(seed=0)
    for allowed in range(len(info["action_mask"])):
        mask = np.zeros_like(info["action_mask"])
        mask[allowed] = 1
        assert trusted.policy.policy.act(observation, mask) == allowed


@pytest.mark.parametrize("name", ["RecurrentPPO", "QRDQN", "DQN"])
def test_models_that_remember_or_have_a_replay_buffer_play_as_their_library_plays_them(name, tmp_path):
    family = pytest.importorskip("stable_baselines3" if name == "DQN" else "sb3_contrib")
    env = environments.make(TOY, environments.evaluation_arguments(TOY, {}, "test"))
    recurrent = name == "RecurrentPPO"
    settings = {"policy_kwargs": {"lstm_hidden_size": 4, "net_arch": [4]}} if recurrent else {"buffer_size": 10}
    model = getattr(family, name)("MlpLstmPolicy" if recurrent else "MlpPolicy", env, device="cpu", **settings)
    if recurrent:  # loud weights, so that what was remembered shows in what is chosen
        for parameter in model.policy.parameters():
            parameter.data.mul_(20.0)
    model.save(tmp_path / "model")
    path = str(tmp_path / "model.zip")
    trusted, isolated = (evaluate(path, TOY, scenarios=2, limits=it) for it in (None, LIMITS))
    assert trusted.values == isolated.values
    assert [played.actions for played in trusted.scenarios] == [played.actions for played in isolated.scenarios]
    for played in trusted.scenarios:
        observation, _ = env.reset(seed=played.seed)
        memory, ended, actions = None, False, []
        while not ended:
            action, memory = model.predict(observation, memory, deterministic=True)
            actions.append(int(action))
            observation, _, terminated, truncated, _ = env.step(int(action))
            ended = terminated or truncated
        assert actions == np.frombuffer(played.actions, dtype=STORED).tolist()
    if recurrent:
        assert type(trusted.policy.policy.model).__name__ == "RecurrentPPO"


def test_queue_series_is_the_exact_mean_of_each_slice():
    submit, start, drop = EventKind.SUBMIT, EventKind.START, EventKind.DROP
    rows = [(0, submit), (1, submit), (2, start), (4, start), (6, submit), (7, drop), (8, submit)]
    log = EventLog(
        np.array([t for t, _ in rows], dtype=float),
        np.array([k for _, k in rows], dtype=np.int8),
        np.arange(len(rows)),
        np.ones(len(rows)),
    )
    series = queue_series(log, bins=4)
    assert (series.start, series.step) == (0.0, 2.0)
    assert series.length == (1.5, 1.0, 0.0, 0.5)
    assert queue_series(EventLog(*(column[:0] for column in (log.time, log.kind, log.subject, log.amount)))) is None


def test_a_trained_policy_scores_alike_whatever_is_played_beside_it():
    """Drawn and greedy actions alike, in batches of any size and one by one."""
    from sysgym import agents

    env_id, arguments = "sysgym/JobSched-v0", {"observation": "compact", "arrival_rate": 1.0}
    trained = agents.train(env_id, frames=512, num_envs=8, environment=arguments, rollout_steps=64)
    for policy in (trained, trained.sampled(3)):
        values = {count: evaluate(policy, env_id, arguments, scenarios=count).values for count in (1, 2, 7)}
        assert values[1] == values[7][:1] and values[2] == values[7][:2]
        single = SimpleNamespace(begin=policy.begin, reset=policy.reset, act=policy.act)
        assert evaluate(single, env_id, arguments, scenarios=2).values == values[2]
    assert evaluate(trained.sampled(4), env_id, arguments, scenarios=7).values != values[7]


def test_a_score_beyond_the_bound_is_refused(monkeypatch):
    """Nothing is better than what can't be beaten: the evaluator is at fault, or was cheated."""
    value = evaluate("shortest", TOY, scenarios=1).values[0]
    for bound in (Bound("bound", value + 1e-3), Bound("exact", metric="max_wait")):
        monkeypatch.setattr(ToyEnv, "bound", bound)
        with pytest.raises(PolicyError, match="beyond the bound"):
            evaluate("shortest", TOY, scenarios=1)
    for bound in (Bound("bound", value), Bound("reference", value + 1), Bound("bound", policy="first"), None):
        monkeypatch.setattr(ToyEnv, "bound", bound)
        assert evaluate("shortest", TOY, scenarios=1).values == [value]
    with pytest.raises(SettingError, match="a value, a metric's name and a heuristic's name"):
        Bound("bound", 1.0, policy="first")


def test_the_best_of_several_tries_counts_scenario_by_scenario():
    tries = [evaluate("dice", TOY, scenarios=3, policy_seed=seed).values for seed in (2, 10_002, 20_002)]
    found = evaluate("dice", TOY, scenarios=3, policy_seed=2, best_of=3)
    assert found.values == np.min(tries, axis=0).tolist() and len({tuple(values) for values in tries}) == 3
    worst = evaluate(OftenNothing(), TOY, scenarios=2, best_of=2)
    assert [scenario.seed for scenario in worst.scenarios] == [0, 1]


class OftenNothing:
    """A policy object that plays the same in every try."""

    def act(self, observation, action_mask):
        return 0
