"""A store that answers with errors for a while, or for good."""

import threading
import time
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from espalier.orchestrator.store import lease, object_files
from espalier.orchestrator.store.files import StoreWriteError


class Flaky(ThreadingHTTPServer):
    """Acts as S3 for one bucket, but first answers so many requests of each method with 503."""

    daemon_threads = True

    def __init__(self, errors):
        super().__init__(("127.0.0.1", 0), Answer)
        self.left, self.asked, self.objects = Counter(PUT=errors, GET=errors), Counter(), {}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server, method = self.server, self.command
        server.asked[method] += 1
        if server.left[method]:
            server.left[method] -= 1
            return self._say(503, b"")
        if method == "PUT":
            server.objects[self.path] = body
            return self._say(200, b"")
        return self._say(200, server.objects[self.path])

    do_PUT = do_GET = _answer

    def _say(self, code, body):
        self.send_response(code)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def flaky(monkeypatch):
    """Starts a store that fails so often, and gives it with files in it; retries wait milliseconds."""
    pytest.importorskip("obstore", reason="pip install 'espalier[s3]'")
    backoff = {
        "init_backoff": timedelta(milliseconds=5),
        "max_backoff": timedelta(milliseconds=20),
        "base": 2,
    }
    monkeypatch.setitem(object_files.RETRIES, "backoff", backoff)
    started = []

    def start(errors):
        server = Flaky(errors)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        started.append(server)
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "espalier",
            "AWS_SECRET_ACCESS_KEY": "espalier",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }.items():
            monkeypatch.setenv(name, value)
        return server, object_files.ObjectFiles("s3://bucket/sweep")

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_a_store_that_fails_for_a_while_is_asked_again(flaky):
    server, files = flaky(errors=4)
    assert files.publish("t/a", b"rows")
    assert files.read("t/a") == b"rows"
    assert server.asked == {"PUT": 5, "GET": 5}


def test_a_store_that_fails_for_good_ends_a_write_with_one_line(flaky):
    server, files = flaky(errors=1000)
    begun = time.monotonic()
    with pytest.raises(StoreWriteError, match=r"while writing .*t/a: .*503.*safe: mend that and run") as told:
        files.publish("t/a", b"rows")
    assert time.monotonic() - begun < 10
    assert "\n" not in str(told.value)
    assert server.asked["PUT"] == 1 + object_files.RETRIES["max_retries"]
    with pytest.raises(OSError, match="503"):
        files.read("t/a")


def test_a_write_that_is_tried_again_ends_before_its_lease():
    request = 30  # seconds: obstore's default limit of one request
    longest = object_files.RETRIES["retry_timeout"].total_seconds() + request
    assert longest < lease.LEASE_SECONDS - lease.RENEWAL_SECONDS
