"""The collector: each of ELF's faults held away by name, the contract as properties, and actors that use it."""

import doctest
import itertools
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sysgym.agents as agents
from sysgym.agents.collector import Collected, Collector, Receiver
from sysgym.agents.collector import collector as room
from sysgym.agents.playing.players import Role
from sysgym.agents.playing.ready import GroupedEnvironments
from sysgym.agents.stepping.environments import Recipe
from sysgym.agents.training import Training
from sysgym.core.errors import SettingError, UnknownNameError
from tests.agents.test_processes import RandomBehaviour, assert_same, slots_of

FIELDS = {"x": ((2,), "float64")}
ACTOR = {"answers": ("action",)}


def states(*numbers):
    return np.array([[number, -number] for number in numbers], dtype=np.float64)


def later(function, *arguments):
    """Runs in a thread; what it returns or raises is in `outcome`."""
    outcome = []

    def run():
        try:
            outcome.append(function(*arguments))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.outcome = outcome
    thread.start()
    return thread


def finish(thread, seconds=10.0):
    thread.join(seconds)
    assert not thread.is_alive()
    return thread.outcome[0]


def waits(thread, seconds=0.1):
    thread.join(seconds)
    return thread.is_alive()


# ELF's faults (Tian et al. 2017 and 2019), as far as they apply to a collector


def test_fault_1_the_minimum_is_a_number_not_a_flag():
    collector = Collector(FIELDS, 8, [Receiver("actor", 8, min_batch=3, timeout=0.0, **ACTOR)])
    batch = later(collector.receive, "actor")
    for client in range(2):
        collector.send([client], x=states(client))
        assert waits(batch, 0.05)
    collector.send([2], x=states(2))
    assert finish(batch).size == 3


@pytest.mark.parametrize("history", [1, 2, 20])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_fault_2_a_partial_batch_lies_as_the_same_rows_of_a_full_one(history, size):
    """Both in their memory and in what a reader sees; rows behind the size are not among them."""
    seen = {}
    for chosen in (8, size):
        collector = Collector(FIELDS, 8, [Receiver("t", 8, timeout=0.0, history=history)])
        random = np.random.default_rng(history)
        for _ in range(history):
            collector.send(np.arange(chosen), x=random.normal(size=(8, 2))[:chosen])
        batch = collector.receive("t")
        assert batch.size == chosen and collector._inboxes["t"][0].memory["x"].shape == (history, 8, 2)
        seen[chosen] = (batch["x"].copy(), collector._inboxes["t"][0].memory["x"][:, :size].copy(), batch.lengths)
    assert np.array_equal(seen[size][0], seen[8][0][..., :size, :])
    assert np.array_equal(seen[size][1], seen[8][1])
    assert (seen[size][2] == history).all()


def batches_in_time(mode, arrivals, timeout):
    """When batches of at most 10 go out, with a clock of our own."""
    collector = Collector(FIELDS, 10, [Receiver("t", 10, timeout=timeout, timeout_mode=mode)])
    inbox = collector._inboxes["t"][0]
    for client, arrival in enumerate(arrivals):
        collector.send([client], x=states(client))
        message, _ = inbox._messages.pop()
        inbox._messages.append((message, arrival))
    moments = np.arange(0.0, 30.0, 0.5)
    return next(now for now in moments if inbox.take(now, 10**9, 10, False)[0])


def test_fault_3_the_timeout_counts_from_the_first_state():
    arrivals = [0.0, 1.5, 3.0, 4.5, 6.0]
    assert batches_in_time("deadline", arrivals, 2.0) == 2.0
    assert batches_in_time("gap", arrivals, 2.0) == 8.0


def test_fault_4_nothing_is_drawn_from_the_clock():
    def routes(seed):
        collector = Collector(FIELDS, 64, [Receiver("t", 64, timeout=0.0, members=4)], "random", seed=seed)
        for client in range(64):
            collector.send([client], x=states(client))
        return [collector.receive("t", member).clients.tolist() for member in range(4)]

    assert routes(1) == routes(1) != routes(2)
    assert sorted(itertools.chain(*routes(1))) == list(range(64))


def test_fault_4_a_thousand_clients_begin_at_once():
    """Without a thread or a pause for any of them; ELF slept 10 ms for each."""
    threads, begun = threading.active_count(), time.process_time()
    collector = Collector({"x": ((131,), "float32")}, 1024, [Receiver("actor", 1024, **ACTOR)])
    collector.send(np.arange(1024), x=np.zeros((1024, 131), dtype=np.float32))
    assert collector.receive("actor").size == 1024
    assert threading.active_count() == threads
    assert time.process_time() - begun < 0.1  # of computing, not of waiting for other programs


def test_fault_5_a_trainer_does_not_block_its_clients():
    """It holds its batch, as in a gradient step, and the actor is still served."""
    collector = Collector(FIELDS, 4, [Receiver("actor", 4, **ACTOR), Receiver("trainer", 4)])
    collector.send(range(4), x=states(1, 2, 3, 4)).clients  # noqa: B018
    trained = collector.receive("trainer")
    collector.receive("actor").answer(action=np.zeros(4))
    for number in range(2):
        reply = collector.send(range(4), x=states(5, 6, 7, 8) + number)
        collector.receive("actor").answer(action=np.arange(4))
        assert reply.wait(1.0)["action"].tolist() == [0, 1, 2, 3]
    assert trained["x"][:, 0].tolist() == [1, 2, 3, 4]


def test_fault_6_nobody_spins():
    collector = Collector(FIELDS, 4, [Receiver("actor", 4, min_batch=3, timeout=0.001, **ACTOR)])
    batch, reply = later(collector.receive, "actor"), later(collector.send([0], x=states(1)).wait)
    begun = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - begun < 0.1
    assert waits(batch, 0) and waits(reply, 0)
    collector.stop()


def test_fault_7_windows_do_not_cross_episodes():
    collector = Collector(FIELDS, 1, [Receiver("t", 1, history=3)])
    for number, last in ((1, False), (2, False), (3, False), (4, True), (5, False), (6, True), (7, True)):
        collector.send([0], x=states(number), last=last)
    collector.stop()
    found = []
    while (batch := collector.receive("t")) is not None:
        found.append((batch["x"][: batch.lengths[0], 0, 0].tolist(), int(batch.episodes[0]), batch.first[0, 0]))
    assert found == [([1, 2, 3], 0, True), ([3, 4], 0, False), ([5, 6], 1, True)]


def test_fault_7_windows_that_cross_episodes_say_where_one_begins():
    collector = Collector(FIELDS, 1, [Receiver("t", 1, history=4, cross_episode=True)])
    for number, last in ((1, False), (2, True), (3, False), (4, False)):
        collector.send([0], x=states(number), last=last)
    batch = collector.receive("t")
    assert batch["x"][:, 0, 0].tolist() == [1, 2, 3, 4] and batch.first[:, 0].tolist() == [True, False, True, False]


def test_fault_8_a_version_travels_with_the_state():
    collector = Collector(FIELDS | {"version": ((), "int64")}, 2, [Receiver("trainer", 2)])
    collector.send([0], x=states(1), version=[7])
    collector.send([1], x=states(1), version=[8])
    assert collector.receive("trainer")["version"].tolist() == [7, 8]


def test_fault_9_an_unknown_label_is_an_error_that_names_the_known_ones():
    collector = Collector(FIELDS, 1, [Receiver("actor", 1, **ACTOR), Receiver("train", 1)])
    with pytest.raises(UnknownNameError, match="unknown label 'trian'; did you mean train"):
        collector.send([0], labels=["trian"], x=states(1))
    with pytest.raises(UnknownNameError, match="unknown label 'eval'; known: actor, train"):
        collector.receive("eval")
    with pytest.raises(SettingError, match="a state has the fields y; expected x"):
        collector.send([0], y=states(1))
    with pytest.raises(SettingError, match=r"x has shape \(1, 3\); expected \(1, 2\)"):
        collector.send([0], x=np.zeros((1, 3)))


def test_fault_11_it_needs_no_compiler_and_no_learning_library():
    code = "import sys, sysgym.agents.collector; print({'torch', 'numba'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# the contract


@settings(max_examples=60, deadline=None)
@given(
    order=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    batch_size=st.integers(1, 6),
    minimum=st.integers(1, 6),
    members=st.integers(1, 3),
)
def test_every_message_is_answered_once_first_come_first_served(order, batch_size, minimum, members):
    minimum = min(minimum, batch_size)
    receiver = Receiver("actor", batch_size, minimum, 0.0, members=members, **ACTOR)
    collector = Collector(FIELDS, 6, [receiver])
    replies, sent = [], [[] for _ in range(members)]
    sequences = [0] * 6
    for number, client in enumerate(order):
        sequences[client] += 1
        replies.append((collector.send([client], x=states(number)), client, sequences[client]))
        sent[number % members].append((client, sequences[client]))
    served = [[] for _ in range(members)]

    def serve(member):
        inbox = collector._inboxes["actor"][member]
        while inbox.count >= minimum or (collector._stopping and inbox.count):
            batch = collector.receive("actor", member)
            assert batch.size <= batch_size and (batch.size >= minimum or collector._stopping)
            served[member] += zip(batch.clients.tolist(), batch.sequences.tolist(), strict=True)
            batch.answer(action=1000 * batch.clients + batch.sequences)

    for member in range(members):
        serve(member)
    assert all(inbox.count < minimum for inbox in collector._inboxes["actor"])
    collector.stop()
    for member in range(members):
        serve(member)
        assert collector.receive("actor", member) is None
    assert served == sent
    for reply, client, sequence in replies:
        assert reply.wait(0)["action"].tolist() == [1000 * client + sequence]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=5), min_size=1, max_size=4),
    history=st.integers(2, 6),
    batch_size=st.integers(1, 4),
)
def test_every_transition_is_in_one_window(lengths, history, batch_size):
    """Clients play episodes of these lengths, the last of which is cut by the stop."""
    collector = Collector(FIELDS, len(lengths), [Receiver("t", batch_size, history=history, capacity=1000)])
    expected = []
    for client, episodes in enumerate(lengths):
        for episode, length in enumerate(episodes):
            cut = episode == len(episodes) - 1
            for step in range(length):
                collector.send([client], x=states(100 * episode + step), last=step == length - 1 and not cut)
                if step:
                    expected.append((client, 100 * episode + step - 1, 100 * episode + step))
    collector.stop()
    found = []
    while (batch := collector.receive("t")) is not None:
        for row in range(batch.size):
            window = batch["x"][: batch.lengths[row], row, 0].astype(int).tolist()
            assert not batch["x"][batch.lengths[row] :, row].any()
            found += [(int(batch.clients[row]), *pair) for pair in itertools.pairwise(window)]
    assert sorted(found) == sorted(expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), batch_size=st.integers(1, 5))
def test_deterministic_batches_do_not_depend_on_who_is_faster(seed, batch_size):
    """Five clients send four states each in any interleaving that their answers allow."""

    def batches(shuffle):
        receivers = [Receiver("actor", batch_size, **ACTOR), Receiver("t", 3, history=2)]
        collector = Collector(FIELDS, 5, receivers, deterministic=True)
        random = np.random.default_rng(seed)
        waiting, steps, found = {}, [0] * 5, []
        while min(steps) < 4 or waiting:
            free = [client for client in range(5) if client not in waiting and steps[client] < 4]
            if shuffle:
                random.shuffle(free)
            for client in free:
                waiting[client] = collector.send([client], x=states(10 * client + steps[client]))
                steps[client] += 1
            for label in ("actor", "t"):
                inbox = collector._inboxes[label][0]
                while True:
                    taken, _ = inbox.take(0.0, collector._mark(), 5, False)
                    if not taken:
                        break
                    batch = room.Batch(inbox, taken)
                    found.append((label, batch.clients.tolist(), batch["x"].tolist()))
                    if label == "actor":
                        batch.answer(action=np.zeros(batch.size))
            waiting = {client: reply for client, reply in waiting.items() if not reply.done}
        return [[rest for kind, *rest in found if kind == label] for label in ("actor", "t")]

    assert batches(True) == batches(False)


def test_rows_are_ordered_by_client_where_batches_are_deterministic():
    collector = Collector(FIELDS, 4, [Receiver("actor", 4, **ACTOR)], deterministic=True)
    some, others = collector.send([3, 0], x=states(3, 0)), collector.send([2, 1], x=states(2, 1))
    batch = collector.receive("actor")
    assert batch.clients.tolist() == [0, 1, 2, 3] and batch["x"][:, 0].tolist() == [0, 1, 2, 3]
    batch.answer(action=10 * batch.clients)
    assert some.wait(1)["action"].tolist() == [30, 0] and others.wait(1)["action"].tolist() == [20, 10]


def test_a_reply_reaches_the_message_that_it_belongs_to_and_no_other_episode():
    collector = Collector(FIELDS, 1, [Receiver("actor", 1, **ACTOR)])
    given_up = collector.send([0], x=states(1), last=True)
    begun = collector.send([0], x=states(2))
    (first,) = (collector.receive("actor") for _ in range(1))
    first.answer(action=[1])
    assert given_up.done and not begun.done
    second = collector.receive("actor")
    assert (second.episodes[0], second.sequences[0]) == (1, 2)
    second.answer(action=[2])
    assert begun.wait(1)["action"].tolist() == [2] and given_up.wait(1)["action"].tolist() == [1]


def test_one_state_goes_to_every_label_that_takes_it():
    collector = Collector(
        FIELDS, 3, [Receiver("actor", 3, **ACTOR), Receiver("even", 2, takes=lambda state: state["x"][0] % 2 == 0)]
    )
    reply = collector.send([0, 1, 2], x=states(4, 5, 6))
    assert collector.receive("even").clients.tolist() == [0, 2]
    collector.receive("actor").answer(action=[7, 8, 9])
    assert reply.wait(1)["action"].tolist() == [7, 8, 9]


def test_a_message_that_does_not_fit_is_answered_from_two_batches():
    collector = Collector(FIELDS, 5, [Receiver("actor", 3, timeout=0.0, **ACTOR)])
    reply = collector.send(range(5), x=states(0, 1, 2, 3, 4))
    for size in (3, 2):
        batch = collector.receive("actor")
        assert batch.size == size
        batch.answer(action=batch["x"][:, 0] * 10)
    assert reply.wait(1)["action"].tolist() == [0, 10, 20, 30, 40]


def test_stop_drains_what_was_sent():
    collector = Collector(FIELDS, 4, [Receiver("actor", 4, min_batch=4, **ACTOR)])
    reply = collector.send([2], x=states(2))
    server = later(collector.serve, "actor", lambda batch: {"action": batch.clients})
    assert waits(server)
    collector.stop()
    assert reply.wait(1)["action"].tolist() == [2]
    finish(server)
    with pytest.raises(Collected, match="has been stopped"):
        collector.send([0], x=states(1))


def test_an_exception_in_a_receiver_reaches_every_client_every_receiver_and_the_caller():
    collector = Collector(FIELDS, 3, [Receiver("actor", 2, **ACTOR), Receiver("trainer", 3)])
    clients = [later(collector.send([client], x=states(client)).wait) for client in range(2)]
    other = later(collector.receive, "trainer")

    def broken(batch):
        raise ZeroDivisionError("the policy divided by zero")

    with pytest.raises(ZeroDivisionError, match="the policy divided"):
        collector.serve("actor", broken)
    for thread in (*clients, other):
        error = finish(thread)
        assert isinstance(error, Collected) and isinstance(error.__cause__, ZeroDivisionError)
    with pytest.raises(Collected, match="a receiver has failed: the policy divided"):
        collector.send([0], x=states(1))


def test_clients_are_held_up_where_a_trainer_falls_far_behind():
    collector = Collector(FIELDS, 1, [Receiver("trainer", 2, capacity=4)])
    client = later(lambda: [collector.send([0], x=states(number)) for number in range(9)])
    assert waits(client) and collector._inboxes["trainer"][0].count == 5
    seen = [collector.receive("trainer")["x"][:, 0].tolist() for _ in range(2)]
    assert waits(client, 0.05) or collector._inboxes["trainer"][0].count <= 5
    seen += [collector.receive("trainer")["x"][:, 0].tolist() for _ in range(2)]
    finish(client)
    assert list(itertools.chain(*seen)) == list(range(8))


def test_settings_out_of_range_are_named():
    cases = {
        "batch_size is 0; it must be at least 1": {"batch_size": 0},
        "min_batch is 5; it must be at least 1 and at most 4": {"min_batch": 5},
        "min_batch is True; it must be an integer": {"min_batch": True},
        "timeout is -1": {"timeout": -1.0},
        "timeout_mode is 'total'; it must be 'deadline' or 'gap'": {"timeout_mode": "total"},
        "overlap is 2; it must be at least 0 and at most 1": {"history": 2, "overlap": 2},
        "capacity is 2; it must be at least 4": {"capacity": 2},
    }
    for message, setting in cases.items():
        with pytest.raises(SettingError, match=message):
            Receiver("t", **{"batch_size": 4} | setting)
    with pytest.raises(SettingError, match="two receivers have the same label"):
        Collector(FIELDS, 1, [Receiver("t", 1), Receiver("t", 2)])
    collector = Collector(FIELDS, 2, [Receiver("actor", 2, **ACTOR)])
    for clients in ([0, 2], [-1, 0], [1, 1]):
        with pytest.raises(SettingError, match="give different numbers from 0 to 1"):
            collector.send(clients, x=states(0, 1))
    collector.send([0, 1], x=states(0, 1))
    with pytest.raises(SettingError, match=r"action \[30\] was answered; expected action, 2 of each"):
        collector.receive("actor").answer(action=np.zeros(30))


def test_the_example_of_the_module_runs():
    assert doctest.testmod(room).failed == 0


def test_the_example_of_the_documentation_runs():
    """An actor and a trainer on the same states; it ends with an assertion of its own."""
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Collector(" in block)
    names = {}
    exec(compile(block, "docs/training.md", "exec"), names)
    assert sum(names["transitions"]) == 16 * 19


# actors that use it


@pytest.mark.parametrize("env_id", ["toy/Card-v0", "toy/Cards-v0"])
def test_an_actor_that_waits_for_all_plays_as_the_one_that_steps_all(env_id):
    recipe = Recipe.of(env_id, {"truncate": True, "length": 5})
    behaviour = RandomBehaviour(recipe.make(1).spaces)
    plain = Role(slice(0, 7), behaviour, 3, 0, 0).cast(recipe.make(7))
    groups = GroupedEnvironments([recipe.make(2), recipe.make(2, 2), recipe.make(3, 4)])
    ready = Role(slice(0, 7), behaviour, 3, 0, 0, min_batch=7).cast(groups)
    some, others = slots_of(plain), slots_of(ready)
    for slot in (*some, *others):
        slot.final_observations = [np.concatenate(slot.final_observations)]
    assert_same(some, others)


def test_whoever_is_ready_is_answered():
    """One group hangs until the others have finished the slot."""
    recipe = Recipe.of("toy/Card-v0", {})
    groups = GroupedEnvironments([recipe.make(2), recipe.make(3, 2)])
    finished, step = threading.Event(), groups.groups[0].step_into
    groups.groups[0].step_into = lambda actions, slot: finished.wait(10.0) and step(actions, slot)
    steps, quick = [], groups.groups[1].step_into

    def count(actions, slot):
        quick(actions, slot)
        steps.append(1)
        if len(steps) == 9:
            finished.set()

    groups.groups[1].step_into = count
    role = Role(slice(0, 5), RandomBehaviour(groups.spaces), 3, 0, 0, min_batch=1)
    slots_of(role.cast(groups), steps=9, slots=1)
    assert finished.is_set()


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_training_that_waits_for_all_repeats_and_training_that_does_not_learns(backend):
    small = {"num_envs": 8, "rollout_steps": 16, "frames": 512, "backend": backend, "workers": 2}
    plain = agents.train("toy/Card-v0", "a2c", num_envs=8, rollout_steps=16, frames=512)
    waiting = agents.train("toy/Card-v0", "a2c", min_batch=8, **small)
    assert waiting.weights_sha256() == plain.weights_sha256()
    ready = Training("toy/Card-v0", "a2c", min_batch=1, mode="lockstep", **small)
    assert [progress.frames for progress in ready.run()] == [128, 256, 384, 512]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("group")]


def test_an_exception_in_a_group_reaches_the_caller_as_it_was_raised():
    with pytest.raises(ZeroDivisionError, match="divided by zero") as caught:
        agents.train("toy/Failing-v0", frames=10_000, num_envs=4, rollout_steps=8, min_batch=1, workers=2)
    assert "episode 2, step 1; its actions: [" in caught.value.__notes__[0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("group")]
