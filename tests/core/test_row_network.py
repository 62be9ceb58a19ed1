"""Row networks: flat weights and the best row, against numpy."""

import numpy as np
import pytest

from sysgym.core.row_network import RowNetwork, best_row, from_layers, to_layers, weight_count


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("widths", [(5, 1), (5, 3, 1), (4, 6, 2, 1)])
def test_best_row_is_that_of_the_largest_score(widths, tanh):
    generator = np.random.default_rng(0)
    weights = generator.standard_normal(weight_count(widths)).astype(np.float32)
    network = RowNetwork(weights, np.array(widths), tanh)
    layers = to_layers(network)
    for _ in range(20):
        rows = generator.standard_normal((9, widths[0])).astype(np.float32)
        values = rows
        for number, (matrix, bias) in enumerate(layers):
            values = values @ matrix + bias
            if number < len(layers) - 1:
                values = np.tanh(values) if tanh else np.maximum(values, 0)
        scratch = np.zeros(max(widths), dtype=np.float32), np.zeros(max(widths), dtype=np.float32)
        assert best_row(weights, network.widths, tanh, rows, *scratch) == values[:, 0].argmax()


def test_ties_go_to_the_first():
    network = from_layers([(np.ones((2, 1), dtype=np.float32), np.zeros(1, dtype=np.float32))], tanh=False)
    scratch = np.zeros(2, dtype=np.float32), np.zeros(2, dtype=np.float32)
    rows = np.array([[0, 0], [1, 2], [2, 1]], dtype=np.float32)
    assert best_row(network.weights, network.widths, False, rows, *scratch) == 1


def test_layers_make_the_round():
    generator = np.random.default_rng(1)
    layers = [(generator.random((3, 4), dtype=np.float32), generator.random(4, dtype=np.float32)),
              (generator.random((4, 1), dtype=np.float32), generator.random(1, dtype=np.float32))]  # fmt: skip
    found = to_layers(from_layers(layers, tanh=True))
    for (matrix, bias), (other, other_bias) in zip(layers, found, strict=True):
        np.testing.assert_array_equal(matrix, other)
        np.testing.assert_array_equal(bias, other_bias)
