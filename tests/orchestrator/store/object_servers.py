"""Object stores on this machine: moto, which acts as S3 does, and nanio, which ignores conditions.

Each lives in an environment of its own, since their dependencies would not go with ours. It is made by pip on
first use, and found again in the user's cache; where no registry answers the tests say so and are skipped.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

PACKAGES = ("moto[server]==5.2.*", "nanio==0.1.7")
ENVIRONMENT = "ESPALIER_OBJECT_SERVERS"
"""Names an environment that has both servers already."""


def servers():
    """The folder with the servers' programs."""
    given = os.environ.get(ENVIRONMENT)
    place = Path(given or Path.home() / ".cache" / "espalier" / "object-servers")
    if not (place / "bin" / "nanio").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", place], check=True, capture_output=True, timeout=60)
            install = [place / "bin" / "python", "-m", "pip", "install", "-q", "--retries", "0", *PACKAGES]
            subprocess.run(install, check=True, capture_output=True, timeout=100)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"no {' and '.join(PACKAGES)} can be installed at {place}: {error}")
    return place / "bin"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(command, port, monkeypatch):
    """A server while the block runs, with a bucket; the environment leads to it. Gives the bucket's URL."""
    endpoint, bucket = f"http://127.0.0.1:{port}", f"bucket-{uuid.uuid4().hex[:8]}"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(endpoint, process)
        settings = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "espalier",
            "AWS_SECRET_ACCESS_KEY": "espalier-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield endpoint, bucket
    finally:
        process.terminate()
        process.wait(10)


def _wait(endpoint, process):
    for _ in range(300):
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(endpoint)
