import pytest
import torch

from tests.agents import toy


@pytest.fixture(autouse=True, scope="session")
def toy_environments():
    toy.register()


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)  # small networks gain nothing from more, and lose much where cores are shared
