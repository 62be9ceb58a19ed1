"""RLScheduler's sequences: its published figures need the negative wait, and all policies play the same sequences."""

import numpy as np
import pytest

from sysgym import agents
from sysgym.agents.weights import shipped
from sysgym.bench.queue_sequences import sequence_scores
from sysgym.core.errors import SettingError

WFP3, UNICEP = 19_753.53, 22_274.74


@pytest.fixture
def lublin(shared_data):
    return str(shared_data("traces/swf/lublin_256.swf.gz"))


@pytest.mark.parametrize(("order", "theirs"), [("wfp3", WFP3), ("unicep", UNICEP)])
def test_the_published_figures_come_from_a_negative_wait(lublin, order, theirs):
    published, corrected = (sequence_scores(lublin, name, sequences=3).mean() for name in (f"{order}_published", order))
    assert 0.6 * theirs < published < 1.4 * theirs
    assert corrected < 0.05 * published


def test_a_learned_policy_plays_the_sequences_that_heuristics_play(lublin, tmp_path):
    world = {"workload": {"model": "lublin", "jobs": 600}, "observation": "queue", "sequence_length": 64}
    file = tmp_path / "shortest.safetensors"
    start = {"linear": True, "start": [0.0, 0.0, -1e3], "step": 1e-12}  # the logarithm of the requested time
    agents.train("sysgym/BatchSched-v0", "cma", frames=1, environment=world, output=file, pool=1, **start)
    for backfill in ("none", "rlscheduler"):
        one, other = (sequence_scores(lublin, policy, backfill, 2, 200) for policy in (str(file), "sjf"))
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_another_network_is_refused(lublin):
    with pytest.raises(SettingError, match="no network over the rows"):
        sequence_scores(lublin, str(shipped("jobsched")), sequences=1)
