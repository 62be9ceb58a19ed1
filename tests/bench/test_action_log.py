"""Action logs: what is written is read, in little room, and logs of the older layout still are."""

import hashlib
import io

import numpy as np
import pytest

from sysgym.bench.action_log import STORED, read_actions, write_actions
from sysgym.core.errors import RecordError

LOGS = {
    "few": {7: [0, 10, 10, 3], 10**9: [], 3: [5]},
    "wide": {0: [70_000, 2], 1: [-1]},
    "none": {},
}


def stored(log):
    return {seed: np.array(actions, dtype=STORED).tobytes() for seed, actions in log.items()}


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS)
def test_what_is_written_is_read(log, tmp_path):
    path = tmp_path / "log.npz"
    sha256 = write_actions(path, stored(log))
    found = read_actions(path, sha256)
    assert {seed: actions.tolist() for seed, actions in found.items()} == log
    assert write_actions(tmp_path / "again.npz", stored(log)) == sha256


def test_five_hundred_scenarios_take_less_than_a_byte_for_two_actions(tmp_path):
    rng = np.random.default_rng(0)
    log = {seed: rng.choice(11, 150, p=[0.2, *[0.02] * 9, 0.62]) for seed in range(500)}
    write_actions(tmp_path / "log.npz", stored(log))
    assert (tmp_path / "log.npz").stat().st_size < 500 * 150 / 2


def test_logs_with_a_member_a_scenario_are_read(tmp_path):
    content, path = io.BytesIO(), tmp_path / "old.npz"
    np.savez_compressed(content, **{"4": np.array([1, 2], STORED), "9": np.array([], STORED)})
    path.write_bytes(content.getvalue())
    found = read_actions(path, hashlib.sha256(content.getvalue()).hexdigest())
    assert {seed: actions.tolist() for seed, actions in found.items()} == {4: [1, 2], 9: []}


def test_a_file_of_something_else_is_refused(tmp_path):
    for content in (b"no archive", _archive(other=np.zeros(3))):
        path = tmp_path / "log.npz"
        path.write_bytes(content)
        with pytest.raises(RecordError, match="no file of actions"):
            read_actions(path, hashlib.sha256(content).hexdigest())


def _archive(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()
