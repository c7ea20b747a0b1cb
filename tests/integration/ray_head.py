"""A Ray head in processes of its own, with the dashboard that `ray job submit` talks to."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.integration.conftest import descendants

SECONDS = 90
RAY = ("-m", "ray.scripts.scripts")
"""Ray's command line as Python runs it: `ray` need not be on the PATH."""


@contextlib.contextmanager
def ray_head(cwd, environment):
    """The environment, with all that a process needs to find and use a head that was started in `cwd`."""
    dashboard, client, agent = free_ports(3)
    # Ray's sockets lie in its temporary folder, and a socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as place:
        variables = {
            **environment,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # bind to 127.0.0.1 alone
        }
        address, log = Path(place) / "ray_current_cluster", Path(place) / "head.log"
        command = [sys.executable, *RAY, "start", *options(place, dashboard, client, agent)]
        with log.open("w") as file:
            head = subprocess.Popen(command, cwd=cwd, env=variables, stdout=file, stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + SECONDS
            while not (address.exists() and answers(dashboard) and answers(agent)):
                assert head.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            url = f"http://127.0.0.1:{dashboard}"
            yield {**variables, "RAY_ADDRESS": address.read_text(), "RAY_API_SERVER_ADDRESS": url}
        finally:
            stop(head)


def options(place, dashboard, client, agent):
    """Of `ray start`. A port that Ray would choose by a default of its own may be another Ray's here."""
    return [
        *("--head", "--block", "--disable-usage-stats", f"--temp-dir={place}"),
        *("--num-cpus=2", "--object-store-memory=100000000"),
        *("--port=0", "--min-worker-port=0", "--max-worker-port=0", f"--ray-client-server-port={client}"),
        *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        f"--dashboard-agent-listen-port={agent}",
    ]


def free_ports(count):
    """Ports of localhost that nobody listens at, no two alike."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(port):
    """Whether someone listens at a port of localhost."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def stop(head):
    """End a head and what it started; other Rays of this machine are not ours to end."""
    begun = [head.pid, *descendants(head.pid)]
    head.terminate()
    try:
        head.wait(SECONDS)
    except subprocess.TimeoutExpired:
        for pid in begun:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise
