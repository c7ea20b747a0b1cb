"""What a sweep's folder remembers of its config: `run.json`, and whether another config may go on there."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.config import ConfigError, SweepConfig
from orchestrator.store import Store

RECORD = "run.json"
EXTENDS = {"sweep.widths", "sweep.seeds", "train.snapshots", "graft.nulls"}
"""Fields that add to a sweep or leave something out, without changing what is there."""
PACKAGES = ("espalier", "torch", "ray", "numpy", "scipy", "pandas", "pyarrow")


def record(store: Store, config: SweepConfig) -> None:
    """Write the config and what it runs on to `run.json`.

    Raises:
        ConfigError: The folder holds a sweep of another config; says which fields differ.
    """
    before = store.read_json(RECORD)
    if before is not None:
        refuse_another(config, before["config"], store.root)
    store.write_json(
        RECORD,
        {
            "config": config.model_dump(mode="json"),
            "versions": {name: _version(name) for name in ("python", *PACKAGES)},
            "machine": {"node": platform.node(), "system": platform.platform(), "cpu": cpu_name()},
            "commit": _commit(),
        },
    )


def refuse_another(config: SweepConfig, before: dict[str, Any], root: str) -> None:
    """Raise ConfigError if `config` would mix other results into a folder made with `before`."""
    there, here = _flat(before), _flat(config.model_dump(mode="json"))
    free = EXTENDS | {name for name in here if name.startswith("run.")}
    if config.train.schedule != "cosine":
        free = free | {"train.epochs"}
    odd = [name for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name)]
    odd = [name for name in odd if name not in free]
    if odd:
        lines = [f"  {name}: {there.get(name)!r} there, {here.get(name)!r} now" for name in odd]
        raise ConfigError(
            f"{root} holds a sweep of another config:\n" + "\n".join(lines) + "\n"
            "take the fields back, or give the new config a folder of its own (`espalier new`); "
            "more widths, seeds, snapshots or nulls may be added in place"
        )


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value for section, fields in config.items() for name, value in fields.items()
    }


def _version(package: str) -> str:
    if package == "python":
        return platform.python_version()
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_name() -> str:
    """The processor's name where the system tells it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def _commit() -> str:
    """The commit of a checkout that the code runs from, or nothing."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
