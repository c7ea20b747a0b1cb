"""What tests of all folders share: a limit of time, and one Ray, whose start takes ten seconds and more."""

import signal
from collections import Counter
from pathlib import Path

import pytest


def pytest_configure(config):
    """The order in which processes of pytest-xdist take files is that of `pytest_collection_modifyitems`."""
    config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Files with tests that take long first, then those with many: else one long file ends alone."""
    if not hasattr(config, "workerinput"):
        return
    long = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("ray")}
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in long, -count[item.path]))


class Hung(BaseException):
    """A test waits for something that will not come, such as the other end of a named pipe."""


@pytest.fixture
def no_hang():
    """Fails the test after so many seconds from the call: nothing that it tests may catch that."""

    def ring(number, frame):
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    yield signal.alarm
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


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
