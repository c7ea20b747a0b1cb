"""The commands for clusters: submit sends a run to one, doctor says what a run would meet there."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from espalier.cluster import submit as script
from espalier.orchestrator.cli import app
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.doctor.finding import Finding, Node, Wanted
from espalier.orchestrator.doctor.judge import fails, judge
from espalier.orchestrator.terminal import command_line, plain_errors, say

DASHBOARD = "RAY_API_SERVER_ADDRESS"
DOCTOR_SECONDS = 7.0
"""For the nodes' answers; joining the cluster takes a second or two before."""


@app.command()
@plain_errors
def submit(
    folder: Annotated[str, typer.Argument(help="The sweep's folder, as seen from here.")],
    results: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Where the cluster keeps tables and checkpoints: an absolute path there, or a URL. Default: "
            f"~/{script.KEPT}/FOLDER on the head.",
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help=f"The dashboard, such as http://127.0.0.1:8265. Default: {DASHBOARD}.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Say what would be sent, and send nothing.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return when the job was accepted.")] = False,
) -> None:
    """Send the current folder, with a sweep in it, to a cluster by `ray job submit`. Refused if too large."""
    from espalier.cluster.on_ray.auth_token import MODE, described, guard, token_file
    from espalier.cluster.on_ray.session import refuse_without_ray
    from espalier.cluster.on_ray.working_dir import refuse_too_large

    words = [folder] if results is None else [folder, results]
    script.arguments(words)
    _refuse_unsound(Path(folder))
    say(refuse_too_large(Path.cwd()))
    order = _job_submit(words, address, no_wait)
    if check:
        say(f"to send it:  {command_line(*order)}")
        return
    os.environ.setdefault(MODE, "token")
    guard(token_file())
    if os.environ[MODE] == "token" and not described()["token"]:
        raise ValueError(
            f"{token_file()} does not exist: copy the cluster's token there from its head (mode 600), or set "
            f"{MODE}=disabled for a cluster without one"
        )
    if not address and not {DASHBOARD, "RAY_ADDRESS"} & os.environ.keys():
        refuse_without_ray()
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "ray.scripts.scripts", *order[1:]])


def _refuse_unsound(folder: Path) -> None:
    """Refuse a sweep that would be refused there; one that lies there alone cannot be looked at."""
    recipe = folder / "sweep.toml"
    if recipe.is_file():
        SweepConfig.parse_toml(recipe.read_bytes(), str(recipe))
    elif not folder.is_absolute():
        raise FileNotFoundError(
            f"{recipe} does not exist: start in the folder that is to be sent, which holds it"
        )


def _job_submit(words: list[str], address: str | None, no_wait: bool) -> list[str]:
    """Ray's command that sends the working directory and starts `cluster.submit` where it has arrived."""
    where = [f"--address={address}"] if address else []
    how = ["--no-wait"] if no_wait else []
    checkout = Path("cluster/submit.py").is_file()
    start = ["cluster/submit.py"] if checkout else ["-m", "espalier.cluster.submit"]
    return ["ray", "job", "submit", *where, *how, "--working-dir", ".", "--", "python", *start, *words]


@app.command()
@plain_errors
def doctor(
    folder: Annotated[
        str | None, typer.Argument(help="A sweep's folder: where its images and results are is checked too.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to look at: auto, or host:port. Default: RAY_ADDRESS, else here."),
    ] = None,
    results: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Where results will be kept, if not in FOLDER.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Findings and facts as JSON.")] = False,
) -> None:
    """Say in ten seconds which faults a run would meet, with their cures. Exit code 1: it would fail."""
    address = address or os.environ.get("RAY_ADDRESS")
    wanted = _wanted(folder, results, address is not None)
    nodes = _nodes(address, wanted)
    findings = judge(nodes, wanted)
    if as_json:
        told = {"findings": findings, "nodes": nodes}
        typer.echo(json.dumps({name: list(map(dataclasses.asdict, rows)) for name, rows in told.items()}))
    else:
        _tell(findings)
    if fails(findings):
        raise typer.Exit(1)


def _wanted(folder: str | None, results: str | None, cluster: bool) -> Wanted:
    if folder is None:
        return Wanted(cluster, place=results or "")
    from espalier.orchestrator.sweep import Sweep
    from espalier.tasks.data.sources.known_sources import is_path

    sweep = Sweep(folder, results)
    data = sweep.config.data.dataset
    images = (
        str(Path(sweep.folder or ".", data.partition(":")[2])) if is_path(data) and "://" not in data else ""
    )
    return Wanted(cluster, sweep.config.run.device, results or folder, images)


def _nodes(address: str | None, wanted: Wanted) -> list[Node]:
    """The answers of a cluster's nodes, or of this machine."""
    from espalier.cluster.on_ray.node_facts import facts, has

    place = None if not wanted.place or "://" in wanted.place else Path(wanted.place)
    if address is None:
        here: dict[str, Any] = facts(folder=str(place) if place else None)
        there = has(wanted.images) if wanted.images else None
        return [Node(here["host"], {"GPU": len(here["gpus"])}, here, has=there)]
    from espalier.cluster.on_ray.ask_nodes import ask_nodes

    answers = ask_nodes(address, DOCTOR_SECONDS, place, wanted.images or None)
    for answer in [answer for answer in answers if "facts" in answer][:1]:
        answer["facts"]["disk"] = facts(folder=str(place))["disk"] if place else None  # the driver's alone
    return [Node(**answer) for answer in answers]


def _tell(findings: list[Finding]) -> None:
    for finding in findings:
        say(f"{finding.level:4}  {finding.topic}: {finding.what}")
        if finding.cure:
            say(f"      cure: {finding.cure}")
    bad, warned = (sum(finding.level == level for finding in findings) for level in ("bad", "warn"))
    if bad:
        say(f"A run would fail: mend {bad} of these first.")
    else:
        say(f"A run would work{f', with {warned} warnings' if warned else ''}.")
