"""The command line, `espalier`: run, plan, status, logs, new, compact, verify (analysis adds report)."""

from __future__ import annotations

import os
import signal
import time
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.table import Table

from espalier.cluster.pool import Pool
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.kinds.registry import kind_of
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.running.pool_makers import Fetch, PoolMaker, ray_pool
from espalier.orchestrator.running.pool_makers import in_process as in_this_process
from espalier.orchestrator.running.progress import duration
from espalier.orchestrator.summary import Summary
from espalier.orchestrator.sweep import Sweep
from espalier.orchestrator.templates import find, templates
from espalier.orchestrator.terminal import command_line, fail, out, plain_errors, say
from espalier.orchestrator.tuning.run_studies import better_since, choices_in_words, read_rows

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Do differently seeded wide networks learn the same distribution of features?\n\n"
    "A sweep is a folder with a sweep.toml: [bold]run[/bold] trains every net, grafts all ordered pairs "
    "at every layer and snapshot, and keeps the rows as Parquet tables beside it; [bold]report[/bold] says "
    "what they show.",
    epilog="Start with:  espalier new results/mine --from demo  &&  espalier run results/mine  "
    "&&  espalier report results/mine",
)
Folder = Annotated[str, typer.Argument(help="The sweep's folder (or fsspec URL); it holds sweep.toml.")]


def _tell_version(asked: bool) -> None:
    if asked:
        say(f"espalier {metadata.version('espalier')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that stand before a command; `version` is done once it was told."""


@app.command()
@plain_errors
def run(
    folder: Folder,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join: auto, or host:port. Default: RAY_ADDRESS, else local."),
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="One slot in this process, without Ray: for debugging.")
    ] = False,
    results: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Keep tables and checkpoints in this folder or URL, with a copy of sweep.toml.",
        ),
    ] = None,
) -> None:
    """Train, graft and collect what is missing. Run again to resume; finished work is never repeated."""
    sweep = Sweep(folder, results)
    try:
        summary = sweep.run(pool=_pool_maker(address or os.environ.get("RAY_ADDRESS"), in_process))
    except KeyboardInterrupt:
        more = ("--results", results) if results else ()
        again = command_line("espalier", "run", folder, *more)
        say(f"\nStopped. Finished work is kept; go on with:  {again}")
        raise typer.Exit(130) from None
    _tell(sweep, summary, results or folder)
    if not summary.complete:
        raise typer.Exit(2)


def _pool_maker(address: str | None, in_process: bool) -> PoolMaker:
    """Makes the pool, then has SIGTERM stop the run as Ctrl-C does: Ray puts a handler of its own."""

    def make(fetch: Fetch, config: SweepConfig, largest: int) -> Pool:
        pool = in_this_process(fetch, config) if in_process else ray_pool(fetch, config, largest, address)
        signal.signal(signal.SIGTERM, _as_interrupt)
        return pool

    return make


def _as_interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    raise KeyboardInterrupt


def _tell(sweep: Sweep, summary: Summary, folder: str) -> None:
    """What the run came to."""
    for message in summary.repaired:
        say(f"repaired: {message}")
    for note in summary.tuned.notes:
        say(f"note: {note}")
    for failure in [*summary.tuned.failures, *summary.outcome.failures][:20]:
        say(f"failed: {failure}")
    if summary.plan.hopeless:
        say(
            f"left out: {len(summary.plan.hopeless)} snapshots of nets whose training diverged in an earlier "
            "run (table jobs says why)"
        )
    rows = {name: sweep.store.row_count(name) for name in ("nets", "grafts")}
    counts = {"tune": summary.tuned.trials} if summary.tuned.trials else {}
    counts |= summary.outcome.done
    done = ", ".join(f"{count} {kind_of(kind).units}" for kind, count in counts.items())
    nothing = "nothing could be done" if summary.plan.tasks else "nothing to do"
    skipped = f", {summary.outcome.skipped} skipped" if summary.outcome.skipped else ""
    say(f"{done or nothing}{skipped} in {duration(summary.seconds)}.")
    say(
        f"{folder} holds {rows['nets']} snapshots of nets and {rows['grafts']} grafts (rows). "
        f"Next:  {command_line('espalier', 'report', folder)}",
    )


@app.command()
@plain_errors
def plan(
    folder: Folder,
    nodes: Annotated[int | None, typer.Option(min=1, help="Simulate a cluster of so many nodes.")] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs per simulated node.")] = 0,
    cpus: Annotated[int | None, typer.Option(min=1, help="Cores per simulated node without GPUs.")] = None,
    gpu_tflops: Annotated[
        float,
        typer.Option(
            min=1e-6,
            help="Float32 GEMM rate of a GPU, TFLOP/s: yours. Used where no job has ended on a GPU.",
        ),
    ] = 30.0,
    price: Annotated[float | None, typer.Option(min=0, help="Of an hour of one node.")] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Take the speed from this sweep's finished jobs. Default: FOLDER."
        ),
    ] = None,
    node_loss: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Lose a node each 1h, say; a new one works after five minutes."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The prediction as one line of JSON.")] = False,
) -> None:
    """What a run would do and cost: jobs, memory, time, GPU hours, money, and what idles. Runs nothing."""
    import json
    import math

    from espalier.orchestrator.watching.forecast import Cluster, foresee, lines, span

    try:
        loss_every = math.inf if node_loss is None else span(node_loss)
    except ValueError as error:
        fail(f"--node-loss: {error}")
    sweep = Sweep(folder)
    seen = foresee(sweep, Cluster(nodes, gpus, cpus, gpu_tflops, price, calibrate, loss_every))
    if as_json:
        typer.echo(json.dumps(seen.plain(), allow_nan=False))
        return
    out.print(_plan_table(seen.plan))
    _tell_studies(sweep)
    for line in lines(seen):
        say(line)


def _tell_studies(sweep: Sweep) -> None:
    """What the studies chose, and what they are still to say."""
    rows, tuned = (read_rows(sweep.store, name) for name in ("trials", "tuned"))
    for line in choices_in_words(sweep.studies, tuned):
        say(f"tuned: {line}")
    for note in better_since(sweep.studies, rows, tuned):
        say(f"note: {note}")
    left = len(sweep.studies) - len({study.key for study in sweep.studies} & {row["study"] for row in tuned})
    if left:
        say(
            f"{left} of {len(sweep.studies)} studies have chosen nothing yet: their nets are counted "
            "with the recipe of [train].",
        )


LONGEST_KIND = 12
"""Letters of a kind's name that stay on one line of a terminal of 80."""


def _plan_table(todo: Plan) -> Table:
    table = Table("kind", "of", "done", "missing", "jobs", "TFLOP", "GiB a job", "MB read")
    table.columns[0].overflow = "fold"  # a name that is cut off names nothing
    table.columns[0].min_width = min(LONGEST_KIND, max(map(len, todo.total)))
    for kind, total in todo.total.items():
        tasks = [task for task in todo.tasks if task.job.kind == kind]
        costs = [task.cost for task in tasks]
        table.add_row(
            kind,
            kind_of(kind).units,
            str(todo.done[kind]),
            str(total - todo.done[kind]),
            str(len(tasks)),
            f"{sum(cost.flops for cost in costs) / 1e12:.3g}",
            f"{max((cost.memory for cost in costs), default=0) / 2**30:.2f}",
            f"{sum(cost.bytes_in for cost in costs) / 1e6:.1f}",
        )
    return table


@app.command()
@plain_errors
def status(
    folder: Folder,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again while a run is active.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")] = 10.0,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one line of JSON: counts, failures, slots, disk, time left."),
    ] = False,
) -> None:
    """What is done, failed, at work and missing, and the time left.

    Changes nothing; works beside a running sweep.
    """
    import json

    from espalier.orchestrator.watching.status import look
    from espalier.orchestrator.watching.status_text import lines

    while True:
        sweep = Sweep(folder)
        seen = look(sweep)
        if as_json:
            typer.echo(json.dumps(seen.plain(), allow_nan=False))
        else:
            if watch and out.is_terminal:
                out.clear()
            out.print(_plan_table(seen.plan))
            _tell_studies(sweep)
            for line in lines(seen, folder):
                say(line)
        if not watch or not seen.active:
            return
        time.sleep(every)


@app.command()
@plain_errors
def logs(
    folder: Folder,
    key: Annotated[
        str | None, typer.Argument(help="A job's key or its beginning; without one, the logs are listed.")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="This attempt alone. Default: all of them.")
    ] = None,
) -> None:
    """What the attempts at a job said: their warnings and, where they failed, the traceback."""
    from espalier.orchestrator.watching.job_logs import listing, told

    sweep = Sweep(folder)
    for line in listing(sweep.store) if key is None else told(sweep.store, key, attempt):
        say(line)


@app.command()
@plain_errors
def new(
    folder: Annotated[str | None, typer.Argument(help="The folder to make.")] = None,
    source: Annotated[
        str, typer.Option("--from", help="A template's name, or a sweep's folder, to take sweep.toml from.")
    ] = "demo",
    show: Annotated[bool, typer.Option("--list", help="Tell what each template answers and costs.")] = False,
) -> None:
    """Make a folder with a sweep.toml to edit."""
    if show:
        _tell_templates()
        return
    if folder is None:
        fail("name the folder to make, such as `espalier new mine --from demo`; --list shows the templates")
    target = Path(folder)
    origin = find(source, target.parent)
    place = target / "sweep.toml"
    if os.path.lexists(place):
        fail(f"{place} exists already: choose another folder, or edit it")
    SweepConfig.parse_toml(origin.text.encode(), origin.name)
    target.mkdir(parents=True, exist_ok=True)
    with place.open("x", encoding="utf-8") as file:  # never through a link
        file.write(origin.text)
    say(f"{place} made from {origin.name}. Edit it, then:  {command_line('espalier', 'run', folder)}")


def _tell_templates() -> None:
    for template in templates().values():
        out.print(template.name, style="bold")
        for line in (template.answers, template.costs):
            say(f"    {line}")


@app.command()
@plain_errors
def compact(folder: Folder) -> None:
    """Merge the many small files of each table into few. The rows stay the same."""
    files = Sweep(folder).store.compact()
    say("files per table: " + ", ".join(f"{table} {count}" for table, count in files.items()))


@app.command()
@plain_errors
def verify(folder: Folder) -> None:
    """Read every row and checkpoint of a folder anew. What is broken is put aside; a run makes it again."""
    sweep = Sweep(folder)
    problems = sweep.verify()
    for problem in problems:
        say(problem)
    rows, blobs = sum(sweep.store.inventory.rows.values()), len(sweep.store.blobs())
    say(f"{rows} rows and {blobs} checkpoints are whole" + (", the rest was not" if problems else ""))
    if problems:
        raise typer.Exit(1)
