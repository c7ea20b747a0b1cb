"""Machines of a cluster as network namespaces, whose links a test may cut. Needs root and iproute2."""

import contextlib
import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.integration.faulty_nodes import kill
from tests.integration.ray_head import RAY, SECONDS, STARTED

NETWORK, PORT = "10.213.77", 6379


def refuse_without_namespaces():
    """Skip a test where no network namespace can be made."""
    name = f"esp{os.getpid()}try"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("needs iproute2 and util-linux, for network namespaces")
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs root, for network namespaces: {made.stderr.strip()}")
    ip("netns", "delete", name)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Machines:
    """Namespaces that a bridge in that of the first joins; the n-th has the address NETWORK.n."""

    def __init__(self, names):
        self.names = list(names)

    def __enter__(self):
        try:
            for number, name in enumerate(self.names, start=1):
                self._lay(number, name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _lay(self, number, name):
        space, head = self._space(name), self._space(self.names[0])
        ip("netns", "add", space)
        ip("-n", space, "link", "set", "lo", "up")
        address = f"{self.address(name)}/24"
        if number == 1:
            ip("-n", head, "link", "add", "bridge", "type", "bridge")
            ip("-n", head, "address", "add", address, "dev", "bridge")
            ip("-n", head, "link", "set", "bridge", "up")
            return
        ip("-n", head, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "out", "netns", space)
        ip("-n", head, "link", "set", f"to-{name}", "master", "bridge")
        ip("-n", space, "address", "add", address, "dev", "out")
        ip("-n", space, "link", "set", "out", "up")
        self.heal(name)

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", self._space(name)], capture_output=True, check=False)

    @staticmethod
    def _space(name):
        return f"esp{os.getpid()}{name}"

    def address(self, name):
        return f"{NETWORK}.{1 + self.names.index(name)}"

    def cut(self, name):
        """Nothing goes to a machine or comes from it; its own processes notice nothing else."""
        ip("-n", self._space(self.names[0]), "link", "set", f"to-{name}", "down")

    def heal(self, name):
        ip("-n", self._space(self.names[0]), "link", "set", f"to-{name}", "up")

    def inside(self, name):
        """How a command begins that runs on a machine, under its name."""
        called = f'hostname {name} && exec "$@"'
        return ("ip", "netns", "exec", self._space(name), "unshare", "--uts", "sh", "-c", called, "sh")

    @contextlib.contextmanager
    def ray(self, name, place, variables, cpus=1):
        """A Ray node while the block runs: the first machine's is the head. `place` is a short path."""
        address = self.address(name)
        head = name == self.names[0]
        first = ("--head", f"--port={PORT}", "--include-dashboard=false")
        role = first if head else (f"--address={self.head}",)
        options = (
            *(*role, "--block", "--disable-usage-stats", f"--node-ip-address={address}"),
            *(f"--num-cpus={cpus}", "--object-store-memory=80000000", f"--temp-dir={place}"),
        )
        log = place.with_suffix(".log")
        with log.open("a") as file:
            begun = log.stat().st_size
            command = [*self.inside(name), sys.executable, *RAY, "start", *options]
            node = subprocess.Popen(command, env=variables, stdout=file, stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + SECONDS
            while STARTED not in (said := log.read_text()[begun:]):
                assert node.poll() is None, said
                assert time.monotonic() < end, said
                time.sleep(0.1)
            yield node
        finally:
            kill(node)

    @property
    def head(self):
        """The address of the cluster."""
        return f"{self.address(self.names[0])}:{PORT}"
