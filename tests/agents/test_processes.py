"""Environments in worker processes: the same numbers, and what happens where a process fails."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import sysgym.agents as agents
from sysgym.agents.actor import Behaviour
from sysgym.agents.playing.players import Role
from sysgym.agents.rollout import ARRAYS, Rollout
from sysgym.agents.stepping import processes
from sysgym.agents.stepping.environments import Recipe
from sysgym.agents.stepping.processes import ProcessEnvironments
from sysgym.agents.training import Training
from sysgym.core.errors import CheckpointError, SettingError, TrainingError

SMALL = {"num_envs": 5, "rollout_steps": 12}


class RandomBehaviour:
    """Acts by the stream of actions alone."""

    version = 0
    masked = True
    choose = Behaviour.choose

    def logits(self, observations):
        return np.zeros((len(observations), self.num_actions), dtype=np.float32)

    def uniforms(self, generator, num_envs):
        return generator.random(num_envs)

    def __init__(self, spaces):
        self.num_actions = spaces.num_actions


@pytest.fixture
def opened():
    made = []
    yield lambda *arguments, **named: made.append(ProcessEnvironments(*arguments, **named)) or made[-1]
    for environments in made:
        environments.close()


def actors_of(opened, env_id, rows=5, workers=2, watchdog=5.0, **arguments):
    """The same actor with environments in this process, and in others."""
    recipe = Recipe.of(env_id, arguments)
    here = recipe.make(rows)
    there = opened(recipe, here, rows, workers, watchdog=watchdog)
    role = Role(slice(0, rows), RandomBehaviour(here.spaces), 7, 0, 0)
    return role.cast(here), role.cast(there)


def slots_of(actor, steps=9, slots=3, between=lambda slot: None):
    filled = []
    for number in range(slots):
        between(number)
        filled.append(actor.collect(Rollout.allocate(actor.environments.spaces, steps, actor.environments.num_envs)))
    return filled


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        for name in ARRAYS:
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert one.episode_returns == other.episode_returns
        assert len(one.final_observations) == len(other.final_observations)
        for final, expected in zip(one.final_observations, other.final_observations, strict=True):
            assert np.array_equal(final, expected)


@pytest.mark.parametrize("env_id", ["toy/Counting-v0", "toy/Cards-v0", "CartPole-v1"])
def test_slots_are_those_of_one_process(opened, env_id):
    here, there = actors_of(opened, env_id)
    assert_same(slots_of(here), slots_of(there))


@pytest.mark.parametrize("mode", ["sync", "lockstep"])
def test_training_ends_in_the_same_weights_whatever_the_workers(mode):
    hashes = [
        agents.train("CartPole-v1", "a2c", frames=240, mode=mode, **SMALL, **backend).weights_sha256()
        for backend in ({}, {"backend": "processes", "workers": 1}, {"backend": "processes", "workers": 2})
    ]
    assert len(set(hashes)) == 1


def kill(environments, number):
    os.kill(environments._workers[number].process.pid, signal.SIGKILL)


@pytest.mark.parametrize("env_id", ["toy/Card-v0", "toy/Cards-v0"])
def test_a_killed_worker_is_replaced_and_its_slot_played_again_the_same(opened, env_id):
    here, there = actors_of(opened, env_id, length=5, truncate=True)
    environments, step = there.environments, there.environments.step_into
    steps = []

    def killing(actions, slot):
        steps.append(1)
        if len(steps) in (3, 14, 15):
            kill(environments, len(steps) % 2)
        step(actions, slot)

    environments.step_into = killing
    with pytest.warns(UserWarning, match="worker process of environments . to . was killed by SIGKILL"):
        assert_same(slots_of(here), slots_of(there))
    assert environments.replaced == 3


def test_a_worker_that_is_killed_between_slots_is_replaced(opened):
    here, there = actors_of(opened, "toy/Card-v0")
    with pytest.warns(UserWarning, match="was killed by SIGKILL"):
        assert_same(slots_of(here), slots_of(there, between=lambda slot: slot == 1 and kill(there.environments, 0)))


def test_an_environment_that_does_not_repeat_cannot_be_replaced(opened):
    _, there = actors_of(opened, "toy/Counting-v0")
    with (
        pytest.warns(UserWarning, match="was killed by SIGKILL"),
        pytest.raises(TrainingError, match="its environments do not repeat: the same seeds and actions led elsewhere"),
    ):
        slots_of(there, between=lambda slot: slot == 2 and kill(there.environments, 1))


def test_a_worker_that_dies_again_and_again_ends_the_run_in_one_line(opened):
    _, there = actors_of(opened, "toy/Deadly-v0", fatal=4)
    with (
        pytest.warns(UserWarning, match="killed by SIGKILL; a new one plays"),
        pytest.raises(TrainingError, match="environments 0 to 1 was killed by SIGKILL; it was replaced 3 times in"),
    ):
        slots_of(there)


def test_a_stuck_worker_is_replaced_and_its_place_told(opened, tmp_path):
    here, there = actors_of(opened, "toy/Stuck-v0", marker=str(tmp_path / "hung"), watchdog=1.0)
    for worker in there.environments._workers:
        worker.patience = lambda watchdog: 1.0
    with pytest.warns(
        UserWarning, match=r"did not answer for 1 s \(File .*toy.py.* in step\) .* larger watchdog\); a new one"
    ):
        assert_same(slots_of(here), slots_of(there))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_exception_in_a_worker_reaches_the_caller_with_its_cause(mode):
    with pytest.raises(ZeroDivisionError, match="divided by zero") as caught:
        agents.train("toy/Failing-v0", frames=10_000, mode=mode, backend="processes", workers=2, num_envs=4,
                     rollout_steps=8)  # fmt: skip
    (note,) = caught.value.__notes__
    assert "of this run, seed" in note and "episode 2, step 1; its actions: [" in note
    assert "in step" in str(caught.value.__cause__) and "Traceback" in str(caught.value.__cause__)


def test_an_exception_that_cannot_be_pickled_arrives_all_the_same(opened):
    _, there = actors_of(opened, "toy/Failing-v0", local=True)
    with pytest.raises(TrainingError, match="LocalError: divided by zero"):
        slots_of(there)


def test_what_goes_wrong_when_environments_are_made_is_told_as_ever():
    with pytest.raises(SettingError, match="does not take these arguments"):
        agents.train("toy/Cards-v0", environment={"lenght": 3}, backend="processes")


def test_a_run_is_resumed_with_another_number_of_workers_or_none(tmp_path):
    whole = agents.train("CartPole-v1", "a2c", frames=360, **SMALL)
    for number, backend in enumerate(({"backend": "threads"}, {"workers": 3})):
        output = tmp_path / f"other{number}"
        first = Training("CartPole-v1", "a2c", frames=360, output=output, backend="processes", workers=2, **SMALL)
        steps = first.run()
        next(steps), next(steps), first._save(), steps.close()
        with pytest.warns(UserWarning, match="cores") if "workers" in backend else pytest.MonkeyPatch.context():
            resumed = agents.train("CartPole-v1", "a2c", frames=360, output=output, resume=True, **backend)
        assert resumed.weights_sha256() == whole.weights_sha256()


def test_a_kernels_state_is_not_divided_anew(opened):
    here, there = actors_of(opened, "toy/Cards-v0")
    slots_of(there)
    with pytest.raises(CheckpointError, match="resume with the backend, the actors and the workers that the run began"):
        there.environments.restore(here.environments.snapshot(), here._observations)


def test_libraries_get_one_thread_each(opened):
    before = dict(os.environ)
    _, there = actors_of(opened, "toy/Threads-v0", rows=2)
    observations, masks = np.zeros((2, 1), dtype=np.float32), np.zeros((2, 2), dtype=np.int8)
    there.environments.reset(np.arange(2), observations, masks)
    assert observations.ravel().tolist() == [1.0, 1.0]
    assert dict(os.environ) == before


def test_settings_out_of_range_are_named(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cases = {
        "backend is 'threds'; it must be 'threads' or": {"backend": "threds"},
        "workers is 0; it must be at least 1": {"backend": "processes", "workers": 0},
        "workers is 9; it must be at least 1 .* and at most 5": {"backend": "processes", "workers": 9},
        "workers is 2; only backend='processes'": {"workers": 2},
        "workers is -1; it must be at least 1": {"backend": "processes", "workers": -1},
        "watchdog is 0.0; it must be above 0": {"backend": "processes", "watchdog": 0.0},
        "min_batch is 0; it must be at least 1": {"min_batch": 0},
        "actors is -2; it must be at least 1": {"actors": -2},
        "actors is 0; it must be at least 1": {"actors": 0},
        "actors is 9; there are 5 environments": {"actors": 9},
    }
    for message, settings in cases.items():
        with pytest.raises(SettingError, match=message):
            agents.train("CartPole-v1", "a2c", frames=60, **SMALL, **settings)
    with pytest.warns(UserWarning, match="3 workers are asked for, and there are 2 cores"):
        agents.train("CartPole-v1", "a2c", frames=60, **SMALL, backend="processes", workers=3)


def descendants(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


WITHOUT_END = """
import signal
import numpy as np
from sysgym.agents.stepping.environments import Recipe
from sysgym.agents.stepping.processes import ProcessEnvironments

signal.signal(signal.SIGINT, signal.default_int_handler)
if __name__ == "__main__":
    recipe = Recipe.of("CartPole-v1", {})
    environments = ProcessEnvironments(recipe, recipe.make(1), 4, 2)
    slot = environments._shared.slot
    environments.reset(np.arange(4), slot.observations.copy(), slot.action_masks.copy())
    print("ready", flush=True)
    while True:
        environments.step_into(np.zeros(4, dtype=np.int64), slot)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_and_no_memory_is_left_however_a_run_ends(number, tmp_path):
    (tmp_path / "run.py").write_text(WITHOUT_END)
    path = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, tmp_path / "run.py"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env=path) as run:  # fmt: skip
        run.stdout.readline()
        workers = descendants(run.pid)
        assert len(workers) >= 2
        run.send_signal(number)
        run.wait(10.0)
    deadline = time.monotonic() + 10.0
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in workers if alive(pid)]
    assert not list(Path("/dev/shm").glob(f"*{run.pid}*"))


def test_a_finished_run_leaves_no_process():
    agents.train("CartPole-v1", "a2c", frames=60, **SMALL, backend="processes", workers=2)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("environments-")]


def test_fault_10_the_limit_of_the_watchdog_stands_in_one_place():
    """ELF had one of 300 s that another of 1,200 s overrode."""
    room = Path(processes.__file__).parents[1]
    places = [file.name for file in room.rglob("*.py") if "WATCHDOG_SECONDS =" in file.read_text()]
    assert places == ["processes.py"] and processes.WATCHDOG_SECONDS == 5.0


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    unguarded = WITHOUT_END.replace('if __name__ == "__main__":', "if True:")
    (tmp_path / "run.py").write_text(unguarded)
    path = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, tmp_path / "run.py"], env=path, capture_output=True, text=True, check=False)
    assert "a script that trains with processes needs its `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
    assert "can only join a started process" not in done.stderr
