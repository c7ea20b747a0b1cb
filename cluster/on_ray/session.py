"""Joining or starting Ray: with a token that keeps others out, and on localhost alone if it is our own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray import _raylet
from ray._private import ray_constants, services, worker
from ray._private.node import Node

from espalier.cluster.on_ray.answering import nobody_listens, silence
from espalier.cluster.on_ray.auth_token import guard, token_file
from espalier.cluster.on_ray.ray_log import RayLog
from espalier.cluster.on_ray.temp_dir import free_space, ray_folder, refuse_full, shortage

LONGER_SECONDS = 120
"""How long Ray may wait for its raylet when it is started a second time; its own default is 30."""

START_WAIT = "RAY_raylet_start_wait_time_s"

SPARED = ("start_monitor", "start_api_server", "start_log_monitor")
"""How a node starts the autoscaler, the dashboard's server, and the process that sends logs to the driver."""

PRESTART = "RAY_prestart_worker_first_driver"

_log: RayLog | None = None


def connect(
    address: str | None = None, object_store_memory: int | None = None, cpus: int | None = None
) -> bool:
    """Use the caller's Ray, join a cluster, or start a Ray on localhost; true if this made the connection.

    A Ray that it starts has `cpus` cores to give, by default the machine's. What Ray says goes to a file.

    Raises:
        ValueError: The address means nothing that can be joined.
        ConnectionError: No Ray answers there.
        RuntimeError: Ray does not start, or joining fails.
    """
    global _log
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise ValueError(
            f"address {address!r} is a Ray Client port, which this pool does not use: give host:port "
            "of the cluster's head, or send the whole run there with `ray job submit`."
        )
    _leave_uv_alone()
    _log = RayLog()
    try:
        with _log.caught():
            if address == "local":
                _start(object_store_memory, cpus)
            else:
                _join(address)
    except BaseException:
        disconnect()
        raise
    return True


def disconnect() -> None:
    """Leave Ray, and end it if it is our own; with a head or raylet that has died, too."""
    global _log
    log, _log = _log, None
    with contextlib.ExitStack() as stack:
        if log is not None:
            stack.callback(log.close)
            stack.enter_context(log.caught())
        ray.shutdown()


def is_own() -> bool:
    """Whether the Ray that is there was started by this process."""
    node: Any = worker._global_node
    return node is not None and bool(node.head)


def where() -> str:
    """Where what Ray said is written, to end an error with; nothing if the Ray is the caller's."""
    return f" {_log.where}" if _log is not None else ""


def cramped() -> str:
    """What is wrong with the disk of Ray's temporary folder here, in words; nothing if it has space."""
    node: Any = worker._global_node
    return "" if node is None else shortage(str(Path(node.get_session_dir_path()).parent))


def missing() -> str:
    """What this driver's Ray cannot do without and lacks, in words; nothing if it is there."""
    node: Any = worker._global_node
    if node is None:
        return ""
    host, _, port = str(node.gcs_address).rpartition(":")
    if nobody_listens(socket.AF_INET6 if ":" in host else socket.AF_INET, (host.strip("[]"), int(port))):
        return f"Ray's head process (gcs_server, {node.gcs_address})"
    if nobody_listens(socket.AF_UNIX, node.raylet_socket_name):
        return f"Ray's process on this machine that starts workers (raylet, {node.node_ip_address})"
    return ""


def _join(address: str) -> None:
    place = _resolved(address)
    if why := silence(place):
        given = "" if place == address else f" ({address})"
        raise ConnectionError(
            f"no Ray answers at {place}{given}: {why}. Start the cluster, give the address of one that runs, "
            "or unset RAY_ADDRESS (and leave out --address) to run on this machine"
        )
    _require_token()
    guard(token_file())
    try:
        ray.init(address=place, log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:
        raise RuntimeError(f"the Ray at {place} was not joined: {_first_line(error)}{where()}") from error


def refuse_without_ray() -> None:
    """Refuse to look for a Ray on this machine where none runs.

    Raises:
        ConnectionError: Says what would do.
    """
    try:
        _resolved("auto")
    except ConnectionError:
        raise ConnectionError(
            "no Ray runs on this machine: start a cluster (docs/cluster.md), or give its dashboard by "
            "--address, such as http://127.0.0.1:8265"
        ) from None


def _resolved(address: str) -> str:
    """`host:port` of what the user named.

    Raises:
        ConnectionError: `auto`, and no Ray runs on this machine.
    """
    if address != "auto":
        return address
    try:
        return services.get_ray_address_from_environment("auto", None)
    except ConnectionError:
        raise ConnectionError(
            "address 'auto': no Ray runs on this machine. Start one with `ray start --head`, or leave out "
            "the address (and unset RAY_ADDRESS) to run without a cluster"
        ) from None


def _start(object_store_memory: int | None, cpus: int | None) -> None:
    """Start a Ray of our own; once more, with more patience, if it does not come up: a machine may be busy.

    Raises:
        OSError: There is no folder for its files, or no space there.
        RuntimeError: It does not start.
    """
    handler, place = signal.getsignal(signal.SIGTERM), ray_folder()
    refuse_full(place)
    for last in (False, True):
        _require_token()
        try:
            with _loopback(), _lean():
                ray.init(
                    "local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=object_store_memory,
                    _temp_dir=place,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                )
            break
        except (ValueError, TypeError):  # what the caller asks for cannot be had
            raise
        except Exception as error:  # Ray raises plain Exceptions too
            ray.shutdown()
            if last:
                folder, free = free_space(place)
                raise RuntimeError(
                    f"Ray did not start on this machine, tried twice: {_first_line(error)} Is the machine "
                    f"very busy or out of memory? {folder} has {free / 1e9:.1f} GB free.{where()}"
                ) from error
            os.environ.setdefault(START_WAIT, str(LONGER_SECONDS))
    if threading.current_thread() is threading.main_thread() and callable(handler):
        signal.signal(signal.SIGTERM, handler)  # Ray puts one of its own
    guard(token_file())


def _leave_uv_alone() -> None:
    """Under `uv run` Ray resolves the driver's environment anew on each worker: only if the user says so."""
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0":  # Ray read it when it was imported
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def _require_token() -> None:
    """Token authentication unless RAY_AUTH_MODE says otherwise.

    Unset, the mode differs between Ray's ways to start and to join, and the two then fail to talk.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Ray read the mode when it was imported, and keeps a token although HOME has changed since.
    raylet: Any = _raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of this process's environment for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Have a Ray that starts inside bind all its ports to 127.0.0.1, as on macOS and Windows.

    On Linux it binds to all addresses, and turns even `_node_ip_address="127.0.0.1"` into a public one.
    """
    was, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        with _variable(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "0"):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = was


@contextlib.contextmanager
def _lean() -> Iterator[None]:
    """Have a Ray that starts inside leave out what nobody here uses, and is up seconds sooner.

    Even without a dashboard Ray starts the dashboard's server and waits for it; and it starts a worker for
    each core, which none of the pool's actors can use, for these have variables of their own.
    """
    kept = {name: getattr(Node, name) for name in SPARED}
    for name in SPARED:
        setattr(Node, name, lambda *_, **__: None)
    try:
        with _variable(PRESTART, "0"):
            yield
    finally:
        for name, start in kept.items():
            setattr(Node, name, start)
