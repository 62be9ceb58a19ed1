"""DeepRM's generator, fixed jobsets, and jobsets from a log."""

import numpy as np
import pytest

from sysgym.core.errors import SettingError, UnknownNameError, WorkloadError
from sysgym.workloads import Machine, Provenance, Workload
from sysgym.workloads.jobsets import FixedJobsets, Jobset, JobsetGenerator, jobset_of, legacy_jobsets
from sysgym.workloads.log_jobsets import LogJobsets

GENERATOR = JobsetGenerator()


def many(generator, count=400, seed=0):
    sets = [generator.jobset(seed, number) for number in range(count)]
    return np.concatenate([s.length for s in sets]), np.concatenate([s.demand for s in sets])


def test_the_public_codes_first_elements():
    jobset = legacy_jobsets(42, 1)[0]
    first = [(int(n), *map(int, d)) for n, d in zip(jobset.length[:8], jobset.demand[:8], strict=True)]
    expected = [(12, 1, 9), (3, 9, 2), (1, 2, 8), (0, 0, 0), (10, 2, 10), (3, 6, 2), (2, 1, 10), (1, 9, 1)]
    assert first == expected and jobset.num_jobs == 35
    together = legacy_jobsets(42, 2)
    assert (together[0].length == jobset.length).all()
    assert (together[1].length != jobset.length).any()


def test_the_generator_has_the_published_distribution():
    length, demand = many(GENERATOR)
    arrives = length > 0
    assert arrives.mean() == pytest.approx(0.7, abs=0.01)
    length, demand = length[arrives], demand[arrives]
    assert set(length) == {1, 2, 3, 10, 11, 12, 13, 14, 15}
    assert (length <= 3).mean() == pytest.approx(0.8, abs=0.015)
    assert length.mean() == pytest.approx(4.1, abs=0.12)
    assert demand.mean() == pytest.approx(4.5, abs=0.06)
    dominant, other = demand.max(axis=1), demand.min(axis=1)
    assert set(dominant) == set(range(5, 11)) and set(other) == {1, 2}
    assert (demand[:, 0] > demand[:, 1]).mean() == pytest.approx(0.5, abs=0.015)


def test_the_general_ranges():
    length, demand = many(JobsetGenerator(1.0, 100, resources=3, longest=30, largest_demand=20), 50)
    assert set(length) == {*range(1, 7), *range(20, 31)}
    ordered = np.sort(demand, axis=1)
    assert set(ordered[:, 2]) == set(range(10, 21)) and set(ordered[:, :2].ravel()) == {1, 2, 3, 4}


def test_jobsets_are_fixed_by_split_seed_and_number_alone():
    def key(split, seed, number):
        return JobsetGenerator(split=split).jobset(seed, number).length.tobytes()

    keys = [key(split, seed, number) for split in ("train", "valid", "test") for seed in (0, 1) for number in (0, 1)]
    assert len(set(keys)) == len(keys)
    assert key("test", 1, 1) == keys[-1]
    longer = JobsetGenerator(sequence_length=80).jobset(3, 4)
    assert (longer.length[:50] == GENERATOR.jobset(3, 4).length).all()
    busier = JobsetGenerator(arrival_rate=1.0).jobset(3, 4)
    kept = GENERATOR.jobset(3, 4)
    assert (busier.length[kept.length > 0] == kept.length[kept.length > 0]).all()


def test_the_option_jobset_overrides_the_episode():
    assert (jobset_of(GENERATOR, 0, 5, {"jobset": 2}).length == GENERATOR.jobset(0, 2).length).all()
    with pytest.raises(UnknownNameError, match="reset option"):
        jobset_of(GENERATOR, 0, 5, {"jobsets": 2})
    with pytest.raises(SettingError, match="from 0"):
        jobset_of(GENERATOR, 0, 5, {"jobset": -1})


def test_fixed_jobsets_go_round():
    jobsets = [Jobset(np.array([1, 0]), np.array([[1], [0]])), Jobset(np.array([2]), np.array([[3]]))]
    source = FixedJobsets(jobsets)
    assert (source.sequence_length, source.resources, source.longest, source.largest_demand) == (2, 1, 2, 3)
    for episode in range(5):
        played = jobset_of(source, 9, episode)
        assert played.length.tolist() == jobsets[episode % 2].length.tolist()


def test_a_pair_draws_the_arrival_rate_of_each_jobset():
    mixed = JobsetGenerator((0.2, 0.8))
    rates = [(mixed.jobset(0, number).length > 0).mean() for number in range(400)]
    assert np.mean(rates) == pytest.approx(0.5, abs=0.03)
    of_rates, of_arrivals = 0.6**2 / 12, 0.22 / 50
    assert np.std(rates) == pytest.approx((of_rates + of_arrivals) ** 0.5, rel=0.15)
    pair, number = (JobsetGenerator(rate).jobset(3, 1) for rate in ((0.7, 0.7), 0.7))
    assert pair.length.tolist() == number.length.tolist()
    for wrong in ((0.8, 0.2), (0.2, 1.5), (0.1, 0.2, 0.3)):
        with pytest.raises(SettingError, match="arrival_rate is"):
            JobsetGenerator(wrong)


def test_mistakes_are_refused():
    with pytest.raises(WorkloadError, match="at least one unit"):
        Jobset(np.array([1]), np.array([[0, 0]]))
    with pytest.raises(WorkloadError, match="n at least 1"):
        Jobset(np.array([1, 2]), np.array([[1]]))
    with pytest.raises(SettingError, match=r"arrival_rate is 1\.2"):
        JobsetGenerator(1.2)
    with pytest.raises(UnknownNameError, match="did you mean train"):
        JobsetGenerator(split="trian")
    with pytest.raises(WorkloadError, match="at least one jobset"):
        FixedJobsets([])


def log(submit, run, processors, memory=None, machine=100):
    columns = {"submit_time": submit, "run_time": run, "processors": processors}
    if memory is not None:
        columns["requested_memory"] = memory
    return Workload.from_columns(columns, Machine(machine, "caller"), Provenance("made", "generated"))


@pytest.mark.parametrize("machine", [25, 75, 100, 360])
def test_whole_units_of_a_machine_are_whole(machine):
    sizes = np.arange(1, machine + 1)
    asked = log(10 * np.arange(machine), np.full(machine, 10), sizes, np.full(machine, 4096.0), machine)
    jobset = LogJobsets(asked, slot_seconds=10, sequence_length=machine, capacity=50)[0]
    units = [-(-size * 50 // machine) for size in sizes.tolist()]
    assert jobset.demand.tolist() == [[unit, unit] for unit in units]


def test_a_log_becomes_windows_and_tells_what_it_lost():
    workload = log([100, 100, 110, 170, 1000], [10, 25, 900, 5, 40], [1, 100, 30, 31, 50])
    jobsets = LogJobsets(workload, slot_seconds=10, sequence_length=10, longest=20)
    # slots: 0, 0 -> 1, (too long), 7, 90
    assert len(jobsets) == 2 and jobsets.resources == 1
    assert jobsets[0].length.tolist() == [1, 3, 0, 0, 0, 0, 0, 1, 0, 0]
    assert jobsets[0].demand[:, 0].tolist() == [1, 10, 0, 0, 0, 0, 0, 4, 0, 0]
    assert jobsets[1].length.tolist() == [4] + [0] * 9
    lost = jobsets.distortion
    assert (lost.jobs, lost.too_long, lost.delayed, lost.largest_delay, lost.windows) == (5, 1, 1, 10.0, 2)
    assert lost.work_ratio == pytest.approx((1 + 30 + 4 + 20) / (0.1 + 25 + 0.5 * 3.1 + 20))
    assert "1 too long and left out" in str(lost)


def test_clipped_jobs_stay():
    workload = log([0, 5], [10, 900], [1, 30])
    jobsets = LogJobsets(workload, slot_seconds=10, sequence_length=4, longest=20, too_long="clip")
    assert jobsets[0].length.tolist() == [1, 20, 0, 0] and jobsets.distortion.too_long == 1
    with pytest.raises(WorkloadError, match="every job is longer"):
        LogJobsets(log([0], [900], [1]), slot_seconds=10)
    with pytest.raises(UnknownNameError, match="too_long rule"):
        LogJobsets(workload, too_long="cut")


def test_memory_is_a_second_resource_where_it_is_known_for_all():
    jobsets = LogJobsets(log([0, 20], [5, 5], [50, 20], [10.0, 40.0]), slot_seconds=10, sequence_length=4)
    assert jobsets[0].demand.tolist() == [[5, 2], [0, 0], [2, 2], [0, 0]]
    assert LogJobsets(log([0, 20], [5, 5], [50, 20], [10.0, -1.0])).resources == 1


def test_windows_are_drawn_by_seed_and_episode_or_named():
    workload = log(np.arange(400) * 10.0, np.arange(400) // 20 * 10.0 + 5, np.ones(400))
    jobsets = LogJobsets(workload, slot_seconds=10, sequence_length=20)
    drawn = [jobset_of(jobsets, seed, episode).length[0] for seed in range(6) for episode in range(6)]
    assert 10 < len(set(drawn)) <= 20
    assert drawn[7] == jobset_of(jobsets, 1, 1).length[0]
    assert (jobset_of(jobsets, 0, 0, {"jobset": 3}).length == 4).all()


def test_logs_that_cannot_be_played_are_refused():
    with pytest.raises(WorkloadError, match="run time"):
        LogJobsets(log([0.0], [np.nan], [1]))
    with pytest.raises(WorkloadError, match="needs 200 processors"):
        LogJobsets(log([0.0], [5.0], [200]))
    with pytest.raises(SettingError, match="slot_seconds"):
        LogJobsets(log([0.0], [5.0], [2]), slot_seconds=0)
