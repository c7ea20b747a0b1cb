"""Which processor this is, by name."""

from __future__ import annotations

from pathlib import Path


def cores() -> list[str]:
    """The name of each core's processor, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
