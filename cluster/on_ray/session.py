"""Joining or starting Ray: with a token that keeps others out, and on localhost alone if it is our own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray import _raylet
from ray._private import ray_constants

from espalier.cluster.on_ray.temp_dir import ray_folder


def connect(
    address: str | None = None, object_store_memory: int | None = None, cpus: int | None = None
) -> bool:
    """Use the caller's Ray, join a cluster, or start a Ray on localhost; true if this made the connection.

    A Ray that it starts has `cpus` cores to give, by default the machine's.
    """
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise ValueError(
            f"address {address!r} is a Ray Client port, which this pool does not use: give host:port "
            "of the cluster's head, or send the whole run there with `ray job submit`."
        )
    _require_token()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    if address != "local":
        ray.init(address=address, **quiet)
        return True
    with _loopback():
        ray.init(
            "local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=object_store_memory,
            _temp_dir=ray_folder(),
            **quiet,
        )
    token = Path.home() / ".ray" / "auth_token"
    if token.exists():
        token.chmod(0o600)  # Ray writes it readable by all
    return True


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
def _loopback() -> Iterator[None]:
    """Have a Ray that starts inside bind all its ports to 127.0.0.1, as on macOS and Windows.

    On Linux it binds to all addresses, and turns even `_node_ip_address="127.0.0.1"` into a public one.
    """
    name, was = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    setting = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = was
        os.environ.pop(name)
        if setting is not None:
            os.environ[name] = setting
