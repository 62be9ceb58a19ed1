"""Pictures of schedules: positions, both forms, small and large logs, and errors."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sysgym.bench.drawing import Sheet
from sysgym.bench.schedule_pictures import MOST_JOBS, PICTURES, _mean_in_bins, _placed, _steps, gantt
from sysgym.core.errors import SettingError
from sysgym.jobsched import replay
from sysgym.workloads import poisson_pareto


@pytest.fixture(scope="module")
def small():
    return replay(poisson_pareto(200, 16, load=0.9, seed=1), "easy", "per_event")


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_pictures_are_svg_and_png(small, name, tmp_path):
    sheet = PICTURES[name](small)
    ElementTree.fromstring(sheet.svg())
    assert sheet.svg() == PICTURES[name](small).svg() and "easy" in sheet.svg()
    for ending in (".svg", ".png"):
        sheet.write(tmp_path / f"{name}{ending}")
    assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not re.search("nan|inf", sheet.svg())
    for x, y, width, height, _ in sheet.rectangles:
        assert x >= 0 and x + width <= sheet.width and y >= 0 and y + height <= sheet.height


def test_a_gantt_chart_gives_every_job_its_processors_and_no_two_the_same(small):
    machine, area = small.workload.machine.processors, {}
    placed = _placed(small)
    for job, (first, last) in placed:
        area[job] = area.get(job, 0) + last - first
        assert 0 <= first < last <= machine
    assert area == dict(enumerate(small.workload.processors.tolist()))
    for instant in small.start_time:
        used = np.zeros(machine)
        for job, (first, last) in placed:
            if small.start_time[job] <= instant < small.finish_time[job]:
                used[first:last] += 1
        assert used.max() <= 1


def test_large_logs_are_aggregated():
    large = replay(poisson_pareto(MOST_JOBS + 1, 64, load=0.9, seed=1), "easy")
    assert len(gantt(large).rectangles) <= 4 * 900 + 4


def test_means_of_a_step_function():
    steps = _steps(np.array([0.0, 5.0]), np.array([10.0, 20.0]), np.array([2.0, 4.0]))
    assert _mean_in_bins(steps, np.array([0.0, 5.0, 10.0, 20.0, 30.0])).tolist() == [2.0, 6.0, 4.0, 0.0]


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(SettingError, match="a picture ends in"):
        Sheet(10, 10, "nothing").write(tmp_path / "picture.gif")
    assert not list(tmp_path.iterdir())
