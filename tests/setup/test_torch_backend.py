"""The build of PyTorch that `make` asks for follows from the machine, and a silent index holds nobody up."""

import http.server
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "torch_backend.py"


def load():
    spec = importlib.util.spec_from_file_location("torch_backend", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


backend = load()


def never():
    raise AssertionError("this must not be asked")


@pytest.mark.parametrize(
    ("given", "system", "driver", "index", "chosen", "words"),
    [
        ({}, "linux", lambda: False, lambda: True, "cpu", ["CPU build", "no NVIDIA driver"]),
        ({}, "linux", lambda: False, lambda: False, "", ["PyPI", "does not answer"]),
        ({}, "linux", lambda: True, never, "", ["PyPI", "there is an NVIDIA driver"]),
        ({}, "darwin", never, never, "", ["PyPI"]),
        ({}, "win32", never, never, "", ["PyPI"]),
        ({"FIND_LINKS": "/wheels"}, "linux", never, never, "", ["/wheels", "find-links"]),
        ({"TORCH_BACKEND": "cu128"}, "linux", never, never, "cu128", ["TORCH_BACKEND=cu128"]),
        ({"TORCH_BACKEND": "cpu", "FIND_LINKS": "/wheels"}, "linux", never, never, "cpu", ["=cpu"]),
        ({"TORCH_BACKEND": " ", "FIND_LINKS": ""}, "linux", lambda: False, lambda: True, "cpu", ["CPU"]),
    ],
)
def test_the_build_follows_from_what_is_given_and_from_the_machine(
    given, system, driver, index, chosen, words
):
    found, reason = backend.choose(given, system, driver, index)
    assert found == chosen
    assert all(word in reason for word in words)
    assert "\n" not in reason


class Index(http.server.BaseHTTPRequestHandler):
    """A page at /whl/cpu/, and a refusal elsewhere."""

    def do_GET(self):
        if self.path == "/gibberish/":
            self.wfile.write(b"no HTTP\r\n")
            return
        self.send_response(200 if self.path == "/whl/cpu/" else 403)
        self.end_headers()

    def log_message(self, *words):
        """Keeps quiet."""


@pytest.fixture
def index(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_index_answers_only_with_its_page(index):
    assert backend.answers(f"{index}/whl/cpu/")
    assert not backend.answers(f"{index}/elsewhere/")
    assert not backend.answers(f"{index}/gibberish/")
    assert not backend.answers("no address")


def test_an_index_that_is_closed_or_silent_is_a_no_within_the_time(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert not backend.answers(address)
        listener.listen()
        begin = time.monotonic()
        assert not backend.answers(address, seconds=0.3)
        assert time.monotonic() - begin < 5


def test_the_flags_stand_alone_on_standard_output_and_the_reason_in_one_line_beside_them():
    def printed(**given):
        clean = {name: value for name, value in os.environ.items() if name != "TORCH_BACKEND"}
        return subprocess.run(
            [sys.executable, SCRIPT], env=clean | given, capture_output=True, text=True, check=True
        )

    asked = printed(TORCH_BACKEND="cu128")
    assert asked.stdout == "--torch-backend cu128\n"
    assert len(asked.stderr.splitlines()) == 1
    assert printed(FIND_LINKS="/wheels").stdout == "\n"
