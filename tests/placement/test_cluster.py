"""Clusters: their text, their links, and what they refuse."""

import numpy as np
import pytest

from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.placement.cluster import Cluster, Device


def test_clusters_are_parsed_and_faults_named():
    cluster = Cluster.parse("2xA100 + cpu")
    assert [device.kind for device in cluster.devices] == ["gpu", "gpu", "cpu"]
    for text, error in (
        ("4xFOO", UnknownNameError), ("x", UnknownNameError), ("", SettingError), ("0xA100", SettingError),
    ):  # fmt: skip
        with pytest.raises(error):
            Cluster.parse(text)
    with pytest.raises(SettingError, match="0 devices"):
        Cluster(())
    with pytest.raises(SettingError, match="shape"):
        Cluster.uniform(2, bandwidth=np.ones((3, 3)))


def test_levels_give_each_pair_the_smallest_group_that_holds_both():
    devices = [Device(f"g{i}", "gpu") for i in range(4)]
    bandwidth = Cluster.hierarchical(devices, [(2, 10.0), (2, 1.0)]).bandwidth
    assert bandwidth[0].tolist() == [np.inf, 10.0, 1.0, 1.0]
    assert bandwidth[2, 3] == 10.0
