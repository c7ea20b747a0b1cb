import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

CLUSTER = Path(__file__).parents[3] / "cluster"


def test_ray_beside_the_room_is_the_library():
    """`python cluster/submit.py` puts `cluster/` first on the path, so `cluster/ray/` would be taken."""
    code = (
        f"import sys; sys.path.insert(0, {str(CLUSTER)!r}); import ray; print(ray.__version__, ray.__file__)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    version, file = answer.stdout.split(maxsplit=1)
    assert version[0].isdigit()
    assert not Path(file.strip()).is_relative_to(CLUSTER)
    assert not [path.name for path in CLUSTER.iterdir() if path.stem == "ray"]


@pytest.fixture
def outside(monkeypatch):
    """As if this process had no Ray, which other tests of it may have."""
    from espalier.cluster.on_ray import session

    monkeypatch.setattr(session, "_log", None)  # that of the Ray which others have comes back afterwards
    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)
    monkeypatch.setattr(session, "_require_token", lambda: None)
    monkeypatch.setenv(session.START_WAIT, "")
    monkeypatch.delenv(session.START_WAIT)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield session
    assert session._log is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_which_of_ray_s_processes_is_gone_is_told_by_its_name(outside, monkeypatch, tmp_path, host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with (
        socket.create_server((host, 0), family=family) as head,
        socket.socket(socket.AF_UNIX) as raylet,
    ):
        raylet.bind("raylet")
        raylet.listen()
        shown = f"[{host}]" if ":" in host else host
        address = f"{shown}:{head.getsockname()[1]}"
        node = SimpleNamespace(gcs_address=address, raylet_socket_name="raylet", node_ip_address="10.1.2.3")
        monkeypatch.setattr(outside.worker, "_global_node", node)
        assert outside.missing() == ""
        raylet.close()
        assert outside.missing().endswith("that starts workers (raylet, 10.1.2.3)")
        head.close()  # the cause, where both are gone
        assert outside.missing() == f"Ray's head process (gcs_server, {address})"
    monkeypatch.setattr(outside.worker, "_global_node", None)
    assert outside.missing() == ""


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_cluster_that_is_gone_is_one_line_at_once(outside, monkeypatch, capfd, by_variable):
    with socket.create_server(("127.0.0.1", 0)) as link:
        address = f"127.0.0.1:{link.getsockname()[1]}"
    if by_variable:
        monkeypatch.setenv("RAY_ADDRESS", address)
    begun = time.monotonic()
    with pytest.raises(
        ConnectionError, match=f"no Ray answers at {address}: Connection refused.*RAY_ADDRESS"
    ) as no:
        outside.connect(None if by_variable else address)
    assert time.monotonic() - begun < 10
    assert "\n" not in str(no.value)
    assert capfd.readouterr() == ("", "")


def test_no_ray_on_this_machine_is_one_line(outside, monkeypatch):
    def nowhere(*_):
        raise ConnectionError(
            "Could not find any running Ray instance.\nPlease specify the one to connect to"
        )

    monkeypatch.setattr(outside.services, "get_ray_address_from_environment", nowhere)
    with pytest.raises(
        ConnectionError, match=r"^address 'auto': no Ray runs on this machine.*ray start --head"
    ):
        outside.connect("auto")


@pytest.mark.parametrize(("asked", "resolved"), [(None, False), ("0", False), ("1", True)])
def test_workers_of_a_driver_under_uv_run_have_what_is_installed(outside, monkeypatch, asked, resolved):
    """Unless the user asks for it, Ray does not resolve the driver's environment anew on each of them."""
    from ray._private.runtime_env import uv_runtime_env_hook

    name = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
    monkeypatch.setenv(name, asked or "")
    if asked is None:
        monkeypatch.delenv(name)
    monkeypatch.setattr(outside.ray_constants, name, True)  # Ray's default
    monkeypatch.setattr(uv_runtime_env_hook, "_get_uv_run_cmdline", lambda: ["uv", "run"])
    monkeypatch.setattr(uv_runtime_env_hook, "hook", lambda _: {"py_executable": "uv run"})
    monkeypatch.setattr(outside, "_start", lambda *_: None)
    outside.connect()
    changed = outside.worker._maybe_modify_runtime_env({}, False)
    outside.disconnect()
    assert changed == ({"py_executable": "uv run"} if resolved else {})


TIMED_OUT = "The current node timed out during startup. This could happen."


@pytest.mark.parametrize("error", [Exception(TIMED_OUT), RuntimeError(TIMED_OUT), TimeoutError(TIMED_OUT)])
@pytest.mark.parametrize("failures", [1, 2])
def test_a_start_that_times_out_is_tried_once_more_with_longer_patience(
    outside, monkeypatch, capfd, error, failures
):
    waits = []

    def start(*_, **__):
        waits.append(os.environ.get(outside.START_WAIT))
        os.write(2, b"[E 1 2 gcs_rpc_client.h:100] raw\n")
        if len(waits) <= failures:
            raise error

    monkeypatch.setattr(outside.ray, "init", start)
    if failures == 1:
        assert outside.connect()
        outside.disconnect()
    else:
        with pytest.raises(RuntimeError, match=f"^Ray did not start .*tried twice: {TIMED_OUT}") as no:
            outside.connect()
        assert "\n" not in str(no.value)
        log = Path(str(no.value).partition("Ray's own messages: ")[2].rstrip(")"))
        assert log.read_bytes().count(b"raw\n") == 2
        log.unlink()
    assert waits == [None, str(outside.LONGER_SECONDS)]
    assert capfd.readouterr() == ("", "")


def test_a_start_that_asks_for_what_cannot_be_had_is_not_tried_again(outside, monkeypatch):
    calls = []

    def start(*_, **__):
        calls.append(1)
        raise ValueError("object_store_memory is too small")

    monkeypatch.setattr(outside.ray, "init", start)
    with pytest.raises(ValueError, match="too small"):
        outside.connect()
    assert len(calls) == 1


def test_what_ray_says_goes_to_the_file_and_what_we_say_to_the_terminal(capfd, monkeypatch):
    import logging

    from ray._private import worker

    from espalier.cluster.on_ray.ray_log import RayLog

    with open(2, "w", closefd=False) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        log = RayLog()
        with log.caught():
            os.write(2, b"C++ says\n")
            sys.stderr.write("we say\n")
        worker.print_to_stdstream({"lines": ["a node died"], "pid": "raylet", "is_err": False}, False)
        logging.getLogger("ray").warning("python says")
        sys.stderr.write("and again\n")
        sys.stderr.flush()
        path = Path(log.where.partition(": ")[2].rstrip(")"))
        log.close()
    said = path.read_text()
    path.unlink()
    assert all(text in said for text in ("C++ says\n", "(raylet) a node died\n", "python says\n"))
    assert capfd.readouterr() == ("", "we say\nand again\n")
    unnamed = RayLog()
    unnamed.close()
    assert not unnamed._path.exists()
