"""Every algorithm, with its defaults, comes within 1 % of the queue's known optimum, judged exactly."""

import pytest

from sysgym.agents import ALGORITHMS
from tests.ratios.calibration import FRAMES, calibrate


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_within_one_percent_of_the_optimum(algorithm):
    assert algorithm in FRAMES
    missing, _ = calibrate(algorithm)
    assert -1e-9 < missing < 0.01
