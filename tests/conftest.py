"""One local Ray for all tests of a process that want one: starting it takes ten seconds and more."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory):
    """A Ray that the pools of the tests find initialised."""
    from espalier.cluster.on_ray import session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray writes its token there
        toys = str(Path(__file__).parent / "cluster")  # workers import what the pool's tests run
        patch.setenv("PYTHONPATH", toys, prepend=":")
        patch.syspath_prepend(toys)
        patch.delenv("RAY_ADDRESS", raising=False)
        assert session.connect(None, object_store_memory=200_000_000)
        yield
        log = session._log
        session.disconnect()
        log._path.unlink(missing_ok=True)  # what the tests' errors name
