"""Files of policies: what is written is read, and what is damaged or foreign is refused in one line."""

import dataclasses
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sysgym.agents as agents
from sysgym.agents import checkpoint as checkpoints
from sysgym.agents.checkpoint import Checkpoint
from sysgym.agents.policy import PATIENCE, TrainedPolicy
from sysgym.core.errors import CheckpointError, OutputError, SettingError
from sysgym.core.protocols import BatchPolicy, Policy


@pytest.fixture(scope="module")
def policy(toy_environments):
    return agents.train("toy/Cards-v0", frames=512, seed=7, num_envs=8, environment={"length": 6}, epochs=1)


@pytest.fixture(scope="module")
def saved(policy, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "policy.safetensors"
    policy.save(path)
    return path


def test_round_trip(policy, saved):
    loaded = agents.load(saved)
    for name in ("env_id", "environment", "algorithm", "settings", "seed", "frames", "curve", "spaces"):
        assert getattr(loaded, name) == getattr(policy, name), name
    assert loaded.weights_sha256() == policy.weights_sha256()
    assert loaded.parameter_count == 5 * 64 + 64 + 2 * (64 * 64 + 64) + 64 * 5 + 5 + 5 * 64 + 64 + 64 + 1
    observations, masks = np.eye(5, dtype=np.float32), np.ones((5, 5), dtype=np.int8)
    assert np.array_equal(loaded.act_batch(observations, masks), policy.act_batch(observations, masks))


def test_arrays_of_every_kind_survive(tmp_path):
    tensors = {"weights/a": np.float32([[1, 2]]), "b": np.array(3.5), "c": np.arange(6).reshape(2, 3).T}
    checkpoints.write(tmp_path / "file", Checkpoint({"x": [1, None]}, tensors))
    found = checkpoints.read(tmp_path / "file")
    assert found.facts == {"x": [1, None]}
    for name, array in tensors.items():
        assert found.tensors[name].shape == array.shape
        assert np.array_equal(found.tensors[name], array)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_refused(saved, tmp_path, data):
    whole = saved.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:place]
    else:
        damaged = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    path = tmp_path / "damaged"
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError) as caught:
        agents.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def header_of(path):
    with safetensors.safe_open(path, framework="np") as handle:
        return handle.metadata()


def test_foreign_and_newer_files_are_refused(saved, tmp_path):
    path = tmp_path / "file"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        agents.load(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        agents.load(tmp_path)
    path.write_bytes(b"PK\x03\x04 not ours")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        agents.load(path)
    safetensors.numpy.save_file({"w": np.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of sysgym"):
        agents.load(path)
    safetensors.numpy.save_file({"w": np.zeros(2)}, path, {**header_of(saved), "version": "2"})
    with pytest.raises(CheckpointError, match="checkpoint version 2, this sysgym reads 1"):
        agents.load(path)


def test_facts_and_weights_must_fit_each_other(saved):
    checkpoint = checkpoints.read(saved)
    for name in ("spaces", "env_id", "curve"):
        facts = {key: value for key, value in checkpoint.facts.items() if key != name}
        with pytest.raises(CheckpointError, match=name):
            TrainedPolicy(Checkpoint(facts, checkpoint.tensors))
    spaces = {**checkpoint.facts["spaces"], "num_actions": 4}
    with pytest.raises(CheckpointError, match=r"do not fit its network: policy.layers.2.bias, policy.layers.2.weight"):
        TrainedPolicy(Checkpoint({**checkpoint.facts, "spaces": spaces}, checkpoint.tensors))


def test_a_place_that_cannot_be_written_is_named(policy, tmp_path):
    with pytest.raises(OutputError, match="is a directory"):
        policy.save(tmp_path)


def test_the_header_is_readable_json(saved):
    facts = json.loads(header_of(saved)["facts"])
    assert facts["env_id"] == "toy/Cards-v0"
    assert facts["environment"] == {"length": 6}
    assert set(facts["versions"]) == {"python", "sysgym", "gymnasium", "numpy", "torch"}
    assert "training" not in facts


def test_equal_policies_are_equal_files(policy, tmp_path):
    files = [tmp_path / f"{copy}.safetensors" for copy in range(8)]
    for file in files:
        policy.save(file)
    assert len({file.read_bytes() for file in files}) == 1
    header = files[0].read_bytes()[8:]
    assert header.index(b'"facts"') < header.index(b'"format"') < header.index(b'"sha256"') < header.index(b'"version"')
    assert agents.load(files[0]).weights_sha256() == policy.weights_sha256()


def test_environment_arguments_of_every_kind_are_described():
    described = checkpoints.plain({"a": np.int64(3), "b": (1, [2]), "c": Path("x"), "d": object(), "e": np.arange(2)})
    assert described == {"a": 3, "b": [1, [2]], "c": "x", "d": {"object": "builtins.object"}, "e": [0, 1]}
    assert checkpoints.holds_object(described)
    assert not checkpoints.holds_object({"a": [1, {"b": None}]})


def test_a_policy_fits_the_protocols_and_respects_masks(policy):
    assert isinstance(policy, Policy) and isinstance(policy, BatchPolicy)
    observation = np.eye(5, dtype=np.float32)[4]
    for only in range(5):
        mask = np.zeros(5, dtype=np.int8)
        mask[only] = 1
        assert policy.act(observation, mask) == only
        assert policy.sampled(0).act(observation, mask) == only
    assert type(policy.act(observation)) is int


def test_a_greedy_policy_draws_where_the_environment_stands_still(policy):
    """Else an action that changes nothing would be taken for ever."""
    still, other, mask = np.eye(5, dtype=np.float32)[4], np.eye(5, dtype=np.float32)[3], np.ones(5, dtype=np.int8)
    likely, elsewhere = (int(policy.probabilities(seen[None], mask[None]).argmax()) for seen in (still, other))
    episodes = []
    for _ in range(2):
        policy.reset()
        episodes.append([policy.act(still, mask) for _ in range(40)])
        assert policy.act(other, mask) == elsewhere
        assert [policy.act(still, mask) for _ in range(PATIENCE - 1)] == [likely] * (PATIENCE - 1)
    assert episodes[0] == episodes[1]
    assert episodes[0][: PATIENCE - 1] == [likely] * (PATIENCE - 1)
    assert len(set(episodes[0])) > 1


def test_only_the_rows_that_stand_still_are_drawn(policy):
    masks = np.ones((2, 5), dtype=np.int8)
    policy.reset()
    seen = np.stack([np.tile(np.eye(5, dtype=np.float32)[4], (40, 1)), np.eye(5, dtype=np.float32)[np.arange(40) % 2]])
    actions = np.stack([policy.act_batch(seen[:, t], masks) for t in range(40)])
    moving = policy.probabilities(seen[1], np.ones((40, 5), dtype=np.int8)).argmax(axis=1)
    assert np.array_equal(actions[:, 1], moving)
    assert len(set(actions[:, 0])) > 1


def test_sampled_policies_draw_from_the_distribution(policy):
    observations = np.tile(np.eye(5, dtype=np.float32)[4], (4000, 1))
    masks = np.tile(np.array([1, 1, 0, 1, 1], dtype=np.int8), (4000, 1))
    expected = policy.probabilities(observations[:1], masks[:1])[0]
    actions = policy.sampled(1).act_batch(observations, masks)
    assert np.bincount(actions, minlength=5) / 4000 == pytest.approx(expected, abs=0.03)
    assert np.array_equal(actions, policy.sampled(1).act_batch(observations, masks))
    assert not np.array_equal(actions, policy.sampled(2).act_batch(observations, masks))


def test_other_spaces_are_refused_by_name(policy):
    env = gym.make("CartPole-v1")
    with pytest.raises(CheckpointError, match=r"float32\[5\], 5 actions.*float32\[4\], 2 actions"):
        policy.check(env.observation_space, env.action_space)
    own = gym.make("toy/Cards-v0")
    policy.check(own.observation_space, own.action_space)
    with pytest.raises(CheckpointError, match=r"got observations of shape \[4\]"):
        policy.act(np.zeros(4, dtype=np.float32), np.ones(5, dtype=np.int8))


def test_another_environment_of_equal_spaces_is_refused_by_its_id(policy, saved, toy_environments):
    own, other = gym.make("toy/Cards-v0", length=9), gym.make("toy/Cards-v0").unwrapped
    other.spec = dataclasses.replace(other.spec, id="toy/Cards-v1")
    assert agents.load(saved, own).env_id == "toy/Cards-v0"
    with pytest.raises(CheckpointError, match=r"policy.safetensors: .*trained in toy/Cards-v0, not in toy/Cards-v1;"):
        agents.load(saved, other)
    policy.check(own.observation_space, own.action_space, "tests.agents.toy:toy/Cards-v0")


def test_a_checkpoint_says_the_words_of_its_run_and_no_folder_of_this_machine(tmp_path, monkeypatch):
    """The data folder may move between two halves of a run, and the file does not name it."""
    from sysgym.workloads import poisson_pareto, write_swf

    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        write_swf(poisson_pareto(400, 64, load=0.8, seed=0), tmp_path / folder / "log.swf")
    arguments = {"workload": "${SYSGYM_DATA}/log.swf", "sequence_length": 10}
    small = {"num_envs": 4, "rollout_steps": 16, "output": tmp_path / "policy"}
    monkeypatch.setenv("SYSGYM_DATA", str(tmp_path / "here"))
    agents.train("sysgym/BatchSched-v0", frames=64, environment=arguments, **small)
    monkeypatch.setenv("SYSGYM_DATA", str(tmp_path / "there"))
    (tmp_path / "here" / "log.swf").unlink()
    agents.train("sysgym/BatchSched-v0", frames=128, resume=True, **small)
    real = {**arguments, "workload": str(tmp_path / "there" / "log.swf")}
    agents.train("sysgym/BatchSched-v0", frames=192, resume=True, environment=real, words=arguments, **small)
    assert agents.load(tmp_path / "policy").environment == arguments
    assert str(tmp_path).encode() not in (tmp_path / "policy").read_bytes()
    monkeypatch.delenv("SYSGYM_DATA")
    with pytest.raises(SettingError, match="needs SYSGYM_DATA"):
        agents.train("sysgym/BatchSched-v0", frames=256, resume=True, **small)
