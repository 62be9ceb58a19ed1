"""Learning on a GPU, where there is one: every algorithm runs, saves, resumes, and agrees with the processor."""

import numpy as np
import pytest
import torch

from sysgym import agents
from sysgym.agents import Training

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device: 21 tests", allow_module_level=True)
SMALL = {"num_envs": 8, "rollout_steps": 16}


@pytest.mark.parametrize("mode", ["sync", "lockstep"])
@pytest.mark.parametrize("algorithm", agents.ALGORITHMS)
def test_every_algorithm_learns_saves_and_resumes_on_a_gpu(algorithm, mode, tmp_path):
    settings = SMALL | ({"episodes_per_workload": 4} if algorithm == "reinforce" else {}) | {"device": "cuda"}
    output = tmp_path / "run.safetensors"
    agents.train("toy/Cards-v0", algorithm, frames=512, mode=mode, output=output, **settings)
    policy = agents.train("toy/Cards-v0", algorithm, frames=1024, output=output, resume=True, device="cuda")
    assert policy.frames >= 1024
    assert all(np.isfinite(array).all() for array in policy._weights.values())
    assert agents.load(output).weights_sha256() == policy.weights_sha256()


@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "vtrace"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "rmsprop_inside"])
def test_one_update_is_that_of_the_processor(algorithm, optimizer):
    found = []
    for device in ("cpu", "cuda"):
        training = Training(
            "toy/Cards-v0", algorithm, frames=128, device=device, learner="torch", optimizer=optimizer, **SMALL
        )
        list(training.run())
        assert training.learner_kind == "torch"
        found.append({name: weight.cpu().numpy() for name, weight in training.network.state_dict().items()})
    for name, weight in found[0].items():
        assert weight == pytest.approx(found[1][name], abs=1e-3), name
