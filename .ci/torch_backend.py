"""Which build of PyTorch to install: prints the flags for `uv pip install`, and says on standard error why.

On Linux PyPI's wheels of PyTorch bring gigabytes of CUDA. Where there is no NVIDIA driver, nobody chose a
build (TORCH_BACKEND) and no folder of wheels is set up (find-links), PyTorch's own index of CPU builds is
asked whether it answers; if not, PyPI serves as always. Plain Python: it runs before anything is installed.
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu/"
SECONDS = 5.0


def has_nvidia_driver() -> bool:
    """Whether this machine could use a CUDA build."""
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def answers(url: str, seconds: float = SECONDS) -> bool:
    """Whether an index gives its page within some seconds; a refusal, an error and silence are all a no."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as reply:
            return reply.status == 200
    except (OSError, http.client.HTTPException, ValueError):  # refusals and TLS's errors are OSErrors
        return False


def choose(
    given: Mapping[str, str], system: str, driver: Callable[[], bool], index: Callable[[], bool]
) -> tuple[str, str]:
    """The backend to ask uv for, empty for none, and the reason in one line.

    `given` holds TORCH_BACKEND and FIND_LINKS, set by the Makefile. The index is asked only if it matters.
    """
    if backend := given.get("TORCH_BACKEND", "").strip():
        return backend, f"PyTorch: TORCH_BACKEND={backend}, from PyTorch's own index"
    if links := given.get("FIND_LINKS", "").strip():
        return "", f"PyTorch: as found in {links} (find-links), else from PyPI"
    if not system.startswith("linux"):
        return "", "PyTorch: PyPI's build for this system"
    if driver():
        return "", "PyTorch: PyPI's CUDA build, since there is an NVIDIA driver"
    if index():
        return "cpu", "PyTorch: the CPU build from PyTorch's own index, since there is no NVIDIA driver"
    return "", f"PyTorch: PyPI's build with CUDA, since {CPU_INDEX} does not answer"


def main() -> None:
    """Print the flags for the Makefile."""
    backend, reason = choose(os.environ, sys.platform, has_nvidia_driver, lambda: answers(CPU_INDEX))
    sys.stderr.write(reason + "\n")
    sys.stdout.write(f"--torch-backend {backend}\n" if backend else "\n")


if __name__ == "__main__":
    main()
