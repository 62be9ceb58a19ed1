"""Graphs of the generators."""

import numpy as np
import pytest

from sysgym.core.errors import UnknownNameError
from sysgym.placement.generators import SHAPES, generate
from sysgym.placement.model import topological_order


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_generated_graphs_repeat_by_seed_and_are_acyclic(shape, training):
    graphs = [generate(shape, 6, seed, training=training) for seed in (1, 1, 2)]
    assert np.array_equal(graphs[0].cost["gpu"], graphs[1].cost["gpu"])
    assert np.array_equal(graphs[0].edges, graphs[1].edges)
    assert not np.array_equal(graphs[0].cost["gpu"], graphs[2].cost["gpu"])
    place = np.empty(len(graphs[0]), dtype=int)
    place[topological_order(graphs[0])] = np.arange(len(graphs[0]))
    assert (place[graphs[0].edges[:, 0]] < place[graphs[0].edges[:, 2]]).all()
    assert graphs[0].is_backward.any() == training


def test_generators_refuse_unknown_shapes():
    with pytest.raises(UnknownNameError, match="graph shape"):
        generate("sphere")
