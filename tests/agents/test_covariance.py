"""Covariance matrix adaptation: it minimises what it should, and goes on where it stood."""

import numpy as np

from sysgym.agents.search.covariance import CovarianceSearch


def rosenbrock(points):
    return (100 * (points[:, 1:] - points[:, :-1] ** 2) ** 2 + (1 - points[:, :-1]) ** 2).sum(axis=1)


def test_it_follows_a_bent_valley_to_its_end():
    search = CovarianceSearch(np.zeros(5), 0.5, 16, seed=0)
    for _ in range(400):
        search.learn(rosenbrock(search.sample()))
    np.testing.assert_allclose(search.mean, 1.0, atol=1e-3)


def test_scales_that_differ_a_thousandfold_are_learned():
    weights = np.logspace(0, 6, 6)
    search = CovarianceSearch(np.ones(6), 0.3, 12, seed=1)
    for _ in range(400):
        search.learn((weights * search.sample() ** 2).sum(axis=1))
    assert (weights * search.mean**2).sum() < 1e-6


def test_samples_are_mirrored_and_a_restored_search_repeats():
    first = CovarianceSearch(np.zeros(4), 0.5, 8, seed=2)
    for _ in range(5):
        points = first.sample()
        np.testing.assert_allclose(points[:4] + points[4:], np.tile(2 * first.mean, (4, 1)), atol=1e-12)
        first.learn(rosenbrock(points))
    second = CovarianceSearch(np.ones(4), 9.0, 8, seed=2)
    second.restore(*first.state())
    np.testing.assert_array_equal(first.sample(), second.sample())
    first.learn(np.arange(8.0))
    second.learn(np.arange(8.0))
    np.testing.assert_array_equal(first.mean, second.mean)
