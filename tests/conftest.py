import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Threads of torch that wait for each other spin; where other programs want the cores too, small
# networks then take many times as long. OpenMP reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A deadline per example measures how busy the machine is; pytest-timeout guards against real hangs.
settings.register_profile("geounet", deadline=None)
settings.load_profile("geounet")


@pytest.fixture(scope="session", autouse=True)
def _converted_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Converted models of the tests stay out of the user's cache; child processes inherit it."""
    folder = tmp_path_factory.mktemp("converted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOUNET_CACHE", str(folder))
        yield folder


@pytest.fixture
def tiny_architecture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The network of :mod:`tests.train.tiny` as the architecture ``tiny``, on one thread: so small
    a network only waits for others.
    """
    import torch

    from geounet.model import networks
    from geounet.model.architectures import Architecture
    from tests.train.tiny import build_tiny

    monkeypatch.setitem(networks.ARCHITECTURES, "tiny", Architecture(build_tiny, 2))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
