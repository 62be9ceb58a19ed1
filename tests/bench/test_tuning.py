"""`sysgym index tune`: a search over a user's keys, the choice and its reason."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from sysgym.bench import tuning
from sysgym.cli import app
from sysgym.core.errors import KeyValueError, SettingError, UnknownNameError
from sysgym.learned_index import RMI
from sysgym.learned_index.keysets import key_set


def test_the_agent_searches_and_the_choice_can_be_built():
    keys = key_set("osm", 20_000)
    found = tuning.tune(keys, evaluations=12)
    assert len(found.rows) == 12 == len({(row.root, row.leaf, row.leaves) for row in found.rows})
    index = tuning.build(keys, found)
    assert index.size_bytes == found.rows[found.chosen].size_bytes
    assert np.array_equal(index.search(keys), np.arange(len(keys)))
    best = max(found.rows, key=lambda row: row.seconds)
    assert best.seconds > 0 and 0.5 < found.promise < 1.5


def test_objectives_choose_what_they_say():
    keys = key_set("lognormal", 20_000)
    chosen = {}
    for objective in tuning.OBJECTIVES:
        found = tuning.tune(keys, evaluations=15, objective=objective, tuner="expected_gain")
        chosen[objective] = row = found.rows[found.chosen]
        assert row.front or objective == "latency"
    fastest = min(row.nanoseconds for row in found.rows)
    assert chosen["latency"].nanoseconds == fastest
    near = [row for row in found.rows if row.nanoseconds <= 1.5 * fastest]
    assert chosen["size"].size_bytes == min(row.size_bytes for row in near)
    small = tuning.tune(keys, evaluations=15, objective="latency", max_bytes_per_key=0.5, tuner="expected_gain")
    assert small.rows[small.chosen].size_bytes <= 10_000


def test_of_equal_indexes_the_one_that_the_table_shows_is_chosen():
    keys = np.sort(np.array([b"ab", b"abc", b"zzzzzzzz", b""] * 100))
    for objective in tuning.OBJECTIVES:
        found = tuning.tune(keys, evaluations=5, objective=objective)
        assert found.rows[found.chosen].front


def test_the_front_is_what_nothing_beats():
    rows = tuning.tune(key_set("osm", 5000), evaluations=20, tuner="random", seed=3).rows
    for row in rows:
        beaten = any(
            other.size_bytes <= row.size_bytes and other.nanoseconds <= row.nanoseconds
            and (other.size_bytes, other.nanoseconds) != (row.size_bytes, row.nanoseconds) for other in rows
        )  # fmt: skip
        assert row.front != beaten


def test_the_agent_beats_chance_and_two_phases_on_families_it_has_not_seen():
    """With the shipped weights, at a quarter of the study's budget; the study has the figures."""
    import gymnasium as gym

    from sysgym.agents import load
    from sysgym.agents.weights import shipped

    agent = load(shipped("indextune"))
    shares = {"agent": [], "random": [], "two_phase": []}
    env = gym.make("sysgym/IndexTune-v0", split="test", evaluations=10).unwrapped
    for seed in range(4):
        for name, known in shares.items():
            policy = agent if name == "agent" else env.heuristics[name]()
            policy.reset()
            observation, info = env.reset(seed=seed)
            ended = False
            while not ended:
                mask = info["action_mask"]
                action = policy.act(observation, mask) if name == "agent" else policy.act_on_state(env.state)
                observation, _, ended, _, info = env.step(action)
            known.append(info["metrics"]["share"])
    assert np.mean(shares["agent"]) > 0.95
    assert np.mean(shares["agent"]) > max(np.mean(shares["random"]), np.mean(shares["two_phase"])) + 0.02


def test_the_command_says_what_and_why(tmp_path):
    keys, file = tmp_path / "keys.npy", tmp_path / "keys.index"
    np.save(keys, key_set("normal", 8000))
    arguments = ["index", "tune", str(keys), "--evaluations", "6", "--output", str(file)]
    shown = " ".join(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout.split())
    assert "8,000 keys" in shown and "chosen:" in shown and "least product" in shown
    loaded = RMI.load(file)
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) == 7 and sum(row["chosen"] for row in rows[:-1]) == 1
    assert rows[-1]["options"]["root"] == loaded.root and rows[-1]["why"] and rows[-1]["keys"] == 8000


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"objective": "best"}, UnknownNameError, "objective"),
        ({"tuner": "oracle"}, UnknownNameError, "tuner"),
        ({"evaluations": 0}, SettingError, "evaluations"),
        ({"evaluations": 500}, SettingError, "evaluations"),
        ({"max_bytes_per_key": -1}, SettingError, "max_bytes_per_key"),
        ({"max_bytes_per_key": 1e-6, "evaluations": 2}, SettingError, "no evaluated index"),
    ],
)
def test_bad_options_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        tuning.tune(key_set("uniform", 500), **arguments)


@pytest.mark.parametrize("keys", [[3, 1, 2], [1.0, float("nan")], [[1, 2]], []])
def test_bad_keys_are_refused(keys):
    with pytest.raises(KeyValueError):
        tuning.tune(np.array(keys))
