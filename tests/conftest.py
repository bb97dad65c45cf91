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
