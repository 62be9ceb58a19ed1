import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.seeding import philox4x32, stream, stream_key
from sysgym.workloads import draws


@pytest.mark.parametrize("function", [philox4x32, draws.philox4x32])
def test_philox_gives_the_published_answers(function):
    assert function(0, 0, 0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 0xFFFFFFFF
    assert function(-1, ones, ones, ones, ones) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)


@settings(deadline=None)  # the first call compiles
@given(key=st.integers(0, 2**63 - 1), counter=st.tuples(*[st.integers(0, 2**32 - 1)] * 4))
def test_compiled_and_plain_philox_are_one(key, counter):
    assert philox4x32(key, *counter) == draws.philox4x32(key, *counter)


def test_streams_are_named_and_repeat():
    draw = stream(7, "policy", 3).random(4)
    assert np.array_equal(draw, stream(7, "policy", 3).random(4))
    others = [stream(8, "policy", 3), stream(7, "network", 3), stream(7, "policy", 4), stream(7, "policy")]
    assert all(not np.array_equal(draw, other.random(4)) for other in others)
    assert 0 <= stream_key(7, "workload/train") < 2**63
    assert stream_key(7, "workload/train") != stream_key(7, "workload/test")


def test_uniform_draws_are_uniform_and_integers_reach_both_ends():
    values = np.array([draws.uniform(11, episode, index) for episode in range(100) for index in range(100)])
    assert values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 50  # chi-square with 19 degrees: 43.8 at 0.1 %
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.04
    drawn = {draws.integer(11, 0, index, 3, 7) for index in range(200)}
    assert drawn == {3, 4, 5, 6, 7}
