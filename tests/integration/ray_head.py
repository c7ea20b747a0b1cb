"""A Ray head and its workers, each in processes of its own, with the dashboard for `ray job submit`."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.integration.conftest import descendants

SECONDS = 90
RAY = ("-m", "ray.scripts.scripts")
"""Ray's command line as Python runs it: `ray` need not be on the PATH."""
STARTED = "Ray runtime started"
"""What `ray start` says."""


@contextlib.contextmanager
def ray_head(cwd, environment, workers=0, cpus=2):
    """The environment, with all that a process needs to find and use a head that was started in `cwd`.

    So many workers of one core join it, as other machines would. A head of no core waits for workers of the
    caller's own (`ray_worker`).
    """
    dashboard, client, agent = free_ports(3)
    # Ray's sockets lie in its temporary folder, and a socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as place:
        variables = {
            **environment,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            # Without workers Ray binds to 127.0.0.1 alone; with some it listens everywhere, as on a cluster.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1" if workers or not cpus else "0",
        }
        address, log = Path(place) / "ray_current_cluster", Path(place) / "head.log"
        command = [sys.executable, *RAY, "start", *options(place, cpus, dashboard, client, agent)]
        with log.open("w") as file:
            head = subprocess.Popen(command, cwd=cwd, env=variables, stdout=file, stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + SECONDS
            while not (address.exists() and answers(dashboard) and answers(agent)):
                assert head.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            url = f"http://127.0.0.1:{dashboard}"
            found = {**variables, "RAY_ADDRESS": address.read_text(), "RAY_API_SERVER_ADDRESS": url}
            with contextlib.ExitStack() as stack:
                for number in range(workers):  # one after the other: two at once take each other's ports
                    log = Path(place) / f"worker{number}.log"
                    worker = ray_worker(cwd, found, log)
                    stack.callback(stop, worker)
                    wait_for(worker, log)
                yield found
        finally:
            stop(head)


def take_jobs(variables):
    """Return when the head takes jobs, as the end of a first one, which does nothing, shows.

    The dashboard answers before: it looks for its agent's address for ten seconds (`submit_job` in
    ray/dashboard/modules/job/job_head.py), and the agent joins Ray with the first job, with short timeouts
    (`init_ray_and_catch_exceptions` in ray/dashboard/optional_utils.py). On a busy machine either may fail,
    and whoever submits is told status 500.
    """
    head = {"Authorization": f"Bearer {variables['RAY_AUTH_TOKEN']}", "Content-Type": "application/json"}
    url, data = f"{variables['RAY_API_SERVER_ADDRESS']}/api/jobs/", b'{"entrypoint": "true"}'
    request = urllib.request.Request(url, data, head, method="POST")
    end = time.monotonic() + SECONDS
    while (asked := _asked(request))[0] == 500:
        assert time.monotonic() < end, asked
        time.sleep(0.5)
    assert asked[0] == 200, asked
    job = urllib.request.Request(f"{url}{json.loads(asked[1])['submission_id']}", headers=head)
    while (state := json.loads(_asked(job)[1])["status"]) != "SUCCEEDED":
        assert state in ("PENDING", "RUNNING"), state
        assert time.monotonic() < end, state
        time.sleep(0.2)


def _asked(request):
    """Status and text of an answer."""
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def ray_worker(cwd, variables, log):
    """A worker that joins a head and writes to `log`; its process, for `stop`."""
    (agent,) = free_ports(1)
    options = (
        *("--block", f"--address={variables['RAY_ADDRESS']}", "--num-cpus=1"),
        # A folder of its own, as on a machine of its own: Ray unpacks what a job sends anew on each node, and
        # would delete what another node's process is reading.
        f"--temp-dir={log.with_suffix('')}",
        *(
            "--object-store-memory=80000000",
            "--disable-usage-stats",
            f"--dashboard-agent-listen-port={agent}",
        ),
        *("--min-worker-port=0", "--max-worker-port=0"),
    )
    command = [sys.executable, *RAY, "start", *options]
    with log.open("w") as file:
        return subprocess.Popen(command, cwd=cwd, env=variables, stdout=file, stderr=subprocess.STDOUT)


def wait_for(worker, log):
    """Return when a worker has joined."""
    end = time.monotonic() + SECONDS
    while STARTED not in (said := log.read_text(encoding="utf-8")):
        assert worker.poll() is None, said
        assert time.monotonic() < end, said
        time.sleep(0.1)


def options(place, cpus, dashboard, client, agent):
    """Of `ray start`. A port that Ray would choose by a default of its own may be another Ray's here."""
    return [
        *("--head", "--block", "--disable-usage-stats", f"--temp-dir={place}"),
        *(f"--num-cpus={cpus}", "--object-store-memory=100000000"),
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
    """End a head or a worker and what it started; other Rays of this machine are not ours to end."""
    if head.poll() is not None:
        return
    begun = [head.pid, *descendants(head.pid)]
    head.terminate()
    try:
        head.wait(SECONDS)
    except subprocess.TimeoutExpired:
        for pid in begun:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise
