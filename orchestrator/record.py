"""What a sweep's folder remembers of its config: `run.json`, and whether another config may go on there."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.kinds.registry import KINDS
from espalier.orchestrator.planning.partners import refuse_rewiring
from espalier.orchestrator.store.json_shape import shaped
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.data.images import DataFacts
from espalier.tasks.worker.processor import cores

RECORD = "run.json"
PACKAGES = ("espalier", "torch", "ray", "numpy", "scipy", "pandas", "pyarrow")


def provenance() -> dict[str, Any]:
    """What runs here: versions, machine, commit."""
    return {
        "versions": {name: _version(name) for name in ("python", *PACKAGES)},
        "machine": {"system": platform.platform(), "cpu": cpu_name()},
        "commit": _commit(),
    }


class RunRecord(BaseModel):
    """`run.json`: the config that the folder's results are of, its images, and what it was run on."""

    model_config = ConfigDict(strict=True, extra="allow")

    config: dict[str, dict[str, Any]]
    data: str = ""
    runs: list[dict[str, Any]] = []


def read_record(store: Store) -> RunRecord | None:
    """`run.json`, or None if no run has begun.

    Raises:
        ValueError: It is no such record; says what was found.
    """
    found = store.read_json(RECORD)
    cure = "put back a copy of it, or delete it, and the next run writes it from sweep.toml"
    return None if found is None else shaped(found, _SCHEMA, f"{store.root}/{RECORD}", cure)


_SCHEMA = TypeAdapter(RunRecord)


def record(store: Store, config: SweepConfig, facts: DataFacts, origin: dict[str, Any]) -> None:
    """Write the config and `origin`, what it runs on, to `run.json`; `runs` keeps earlier origins."""
    before = read_record(store)
    runs = before.runs if before else []
    if origin not in runs:
        runs = [*runs, origin]
    value = {"config": config.model_dump(mode="json"), "data": facts.content, **origin, "runs": runs}
    store.write_json(RECORD, value)


def recorded_config(store: Store) -> SweepConfig | None:
    """The config of the sweep that the folder holds; fields added since take their defaults."""
    before = read_record(store)
    return None if before is None else SweepConfig.parse(before.config, f"{store.root}/{RECORD}")


def refuse_another(store: Store, config: SweepConfig, facts: DataFacts) -> None:
    """Refuse to mix another config's results into the folder. Images may move: their content counts.

    Raises:
        ConfigError: The folder holds another sweep; says which fields differ.
    """
    before, earlier = read_record(store), recorded_config(store)
    if before is None or earlier is None:
        return
    there, here = _flat(earlier.model_dump(mode="json")), _flat(config.model_dump(mode="json"))
    free = {name for name in here if name.startswith(("run.", "track."))} | {"sweep.measures"}
    for kind in KINDS:
        free |= kind.may_change | kind.idle(earlier)
    if all(one.train.schedule != "cosine" for one in (*earlier.settings(), *config.settings())):
        free |= {"train.epochs"}
    if before.data == facts.content:
        free |= {"data.dataset"}
    odd = [name for name in sorted(here) if there[name] != here[name] and name not in free]
    if odd:
        lines = [f"  {name}: {there[name]!r} there, {here[name]!r} now" for name in odd]
        raise ConfigError(
            f"{store.root} holds a sweep of another config:\n" + "\n".join(lines) + "\n"
            "take the fields back, or give the new config a folder of its own (`espalier new`); "
            "more widths, seeds, settings, snapshots, pairings or nulls may be added in place"
        )
    refuse_rewiring(earlier, config)


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
    names = cores()
    return f"{len(names)} x {names[0]}" if names else platform.processor() or platform.machine()


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
