"""What one machine is like, as a run would find it: versions, GPUs, disks, clock, open ports. Needs no Ray.

It is asked in a process on that machine, in a second or two, and loads neither PyTorch nor Ray.
"""

from __future__ import annotations

import hashlib
import os
import platform
import runpy
import shutil
import socket
import subprocess
import tempfile
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from espalier.cluster.on_ray.auth_token import described
from espalier.cluster.on_ray.listening import listening

PACKAGES = ("espalier", "torch", "ray")
QUERY_SECONDS = 5


def facts(ray_folder: str | None = None, folder: str | None = None) -> dict[str, Any]:
    """All facts of this machine as plain values; sizes in bytes.

    Args:
        ray_folder: Where Ray keeps its sockets, logs and spilled objects; by default the temporary folder.
        folder: The sweep's folder, to measure the disk that results go to.
    """
    return {
        "host": socket.gethostname(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "code": _code(),
        "cuda": _torch_cuda(),
        "gpus": gpus(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "shm": _disk("/dev/shm"),
        "temp": {"path": ray_folder or tempfile.gettempdir(), **_disk(ray_folder or tempfile.gettempdir())},
        "disk": {"path": folder, **_disk(folder)} if folder else None,
        "token": described(),
        "ports": listening(),
    }


def clock() -> float:
    """The time of day here, in seconds since 1970."""
    return time.time()


def sees(path: str, text: str) -> bool:
    """Whether a file is here with this text: then this machine shares the disk of who wrote it."""
    try:
        return Path(path).read_text(encoding="utf-8") == text
    except (OSError, ValueError):  # a ValueError: other bytes than a text's
        return False


def has(path: str) -> bool:
    """Whether something is here at a path."""
    return Path(path).exists()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "" if find_spec(package) is None else "not installed, but importable"


def _code() -> str:
    """A digest of Espalier's source: its version stays the same from one commit to the next."""
    digest, top = hashlib.sha256(), Path(__file__).parents[2]
    for folder, _, names in sorted(os.walk(top, followlinks=True)):
        for name in sorted(name for name in names if name.endswith(".py")):
            path = Path(folder, name)
            digest.update(f"{path.relative_to(top)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _torch_cuda() -> str:
    """The CUDA version that PyTorch was built for, nothing for a CPU build; without loading PyTorch."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    try:
        return str(runpy.run_path(str(Path(spec.origin).parent / "version.py")).get("cuda") or "")
    except OSError:
        return ""


def gpus() -> list[dict[str, Any]]:
    """Name, bytes of memory in all and free, and driver of each GPU; none without NVIDIA's tool."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version"]
    try:
        answer = subprocess.run(
            [*query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=QUERY_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu(line) for line in answer.stdout.splitlines() if line.strip()]


def gpu(line: str) -> dict[str, Any]:
    """A line of nvidia-smi's answer.

    >>> gpu("NVIDIA A100-SXM4-40GB, 40960, 40000, 550.54.15")["memory"] == 40 * 2**30
    True
    """
    name, total, free, driver = (cell.strip() for cell in line.split(","))
    return {"name": name, "memory": _mib(total), "free": _mib(free), "driver": driver}


def _mib(text: str) -> int:
    return int(text) * 2**20 if text.isdigit() else 0


def _disk(path: str) -> dict[str, int]:
    """Size and free bytes of the file system that a path is on, or will be; zeros for none."""
    place = Path(path).absolute()
    for folder in (place, *place.parents):
        if folder.exists():
            usage = shutil.disk_usage(folder)
            return {"size": usage.total, "free": usage.free}
    return {"size": 0, "free": 0}
