import pytest
import torch

from tests.agents import toy


@pytest.fixture(autouse=True, scope="session")
def toy_environments():
    toy.register()


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)  # small networks gain nothing from more, and lose much where cores are shared


@pytest.fixture(scope="session")
def local_ray():
    """One small Ray for all tests; whatever asks for Ray uses it."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
             object_store_memory=100 * 2**20)  # fmt: skip
    yield ray
    ray.shutdown()
