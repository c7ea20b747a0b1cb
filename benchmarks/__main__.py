"""`python -m benchmarks graft`: run one benchmark, print its tables, or JSON with `--json`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Side-by-side measurements on this machine."
)


class Device(StrEnum):
    """Where the data and the nets lie."""

    cpu = "cpu"
    cuda = "cuda"


class Network(StrEnum):
    """Whose best learning rate is looked for."""

    conv = "conv"
    dense = "dense"


class Optimizer(StrEnum):
    """What trains them."""

    adamw = "adamw"
    sgd = "sgd"


class Section(StrEnum):
    """Of the driver's benchmark."""

    ray = "ray"
    store = "store"
    flat = "flat"


class Trained(StrEnum):
    """What is trained: the family conv on digits or mnist5k, or VGG16 with BN on random 32x32 images."""

    digits = "digits"
    mnist5k = "mnist5k"
    vgg16 = "vgg16"


@app.callback()
def benchmarks() -> None:
    """Side-by-side measurements on this machine."""


@app.command()
def graft(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    device: Annotated[Device, typer.Option(help="Where the data and the nets lie.")] = Device.cpu,
    widths: Annotated[
        list[int] | None, typer.Option("--width", min=1, help="Widths; 32 and 64 by default.")
    ] = None,
    nets: Annotated[int, typer.Option(min=2, help="Nets per width.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each timing; the median counts.")] = 3,
    images: Annotated[int, typer.Option(min=100, help="Fitting images.")] = 1000,
    schedules: Annotated[
        bool, typer.Option(help="Run Adam's whole schedule at two layers too, for its FVU.")
    ] = True,
) -> None:
    """The exact grafts of all pairs against one pair at a time, and against Adam as in Gu et al. 2020."""
    from benchmarks.graft_cost import Setup, run

    to_the_end = Setup.to_the_end if schedules else ()
    setup = Setup(tuple(widths or Setup.widths), nets, repeats, images, device.value, to_the_end)
    try:
        result = run(setup)
    except RuntimeError as error:
        raise typer.BadParameter(str(error)) from None
    tell(result, as_json)


@app.command()
def lr_transfer(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    widths: Annotated[
        list[int] | None, typer.Option("--width", min=1, help="Widths; 8, 16, 32, 64 and 128 by default.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(min=1, help="Nets of the largest width and each rate; narrow ones have twice as many."),
    ] = 2,
    epochs: Annotated[int, typer.Option(min=2, help="Epochs of training.")] = 4,
    images: Annotated[int, typer.Option(min=100, help="Training images of mnist5k.")] = 500,
    network: Annotated[Network, typer.Option(help="Three convs, or three dense layers.")] = Network.conv,
    optimizer: Annotated[Optimizer, typer.Option(help="What trains the nets.")] = Optimizer.adamw,
    base_width: Annotated[int, typer.Option(min=1, help="Where mup is sp.")] = 2,
) -> None:
    """The best learning rate at each width, in standard parametrization and in muP."""
    from benchmarks.lr_transfer import Setup, run

    asked = (tuple(widths or Setup.widths), seeds, epochs, images, network.value, optimizer.value)
    chosen = Setup(*asked, base_width=base_width)
    result = run(chosen)
    tell(result, as_json)


@app.command()
def train(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    device: Annotated[Device, typer.Option(help="Where the data and the nets lie.")] = Device.cpu,
    networks: Annotated[
        list[Trained] | None, typer.Option("--network", help="Which ones; all by default.")
    ] = None,
    widths: Annotated[
        list[int] | None,
        typer.Option("--width", min=1, help="Widths; 4 to 64, of vgg16 8 and 16 (GPU: to 64)."),
    ] = None,
    nets: Annotated[int, typer.Option(min=2, help="Nets per width.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each timing; the median counts.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="About, of one net's training.")] = 2.0,
    tune: Annotated[bool, typer.Option(help="Ray Tune too.")] = True,
) -> None:
    """Nets per hour against a plain loop on a core, on all cores, and in Ray Tune."""
    from benchmarks.training_speed import Setup, run

    names = tuple(network.value for network in networks or Trained)
    setup = Setup(names, tuple(widths or ()), nets, repeats, seconds, device.value, tune)
    try:
        result = run(setup)
    except RuntimeError as error:
        raise typer.BadParameter(str(error)) from None
    tell(result, as_json)


@app.command()
def layers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    channels: Annotated[
        list[int] | None,
        typer.Option("--channels", min=16, help="Multiples of 16; 16, 32, 64 and 128 by default."),
    ] = None,
    sizes: Annotated[
        list[int] | None,
        typer.Option("--size", min=2, help="Even sides of the maps; 4, 8, 14 and 28 by default."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images of a batch.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each timing; the median counts.")] = 15,
) -> None:
    """Single convs and BNs, forward and backward, by PyTorch and by the compiled kernels."""
    from benchmarks.layers import Setup, run

    if odd := [c for c in channels or () if c % 16] + [s for s in sizes or () if s % 2]:
        raise typer.BadParameter(f"{odd[0]}: channels are multiples of 16, sizes of 2")
    setup = Setup(tuple(channels or Setup.channels), tuple(sizes or Setup.sizes), images, repeats)
    result = run(setup)
    tell(result, as_json)


@app.command()
def plain_curve(
    folder: Annotated[Path, typer.Argument(help="A sweep's folder, of a family without shortcuts.")],
    width: Annotated[int, typer.Option(min=1, help="The width to train.")],
    seed: Annotated[int, typer.Option(min=0, help="PyTorch's seed.")] = 0,
) -> None:
    """A sweep's recipe in a plain PyTorch loop: its curve beside the sweep's, in FOLDER/plain."""
    from benchmarks.plain_curve import run

    try:
        result = run(folder, width, seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(json.dumps(result["epochs"][-1]))


@app.command()
def similarity(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    width: Annotated[int, typer.Option(min=1, help="Width of the nets.")] = 64,
    nets: Annotated[int, typer.Option(min=2, help="Nets.")] = 8,
    images: Annotated[int, typer.Option(min=40, max=1400, help="Fitting and held-out images.")] = 1000,
    permutations: Annotated[int, typer.Option(min=19, help="Permutations of each null.")] = 999,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each timing; the median counts.")] = 3,
) -> None:
    """All measures of all pairs against the grafts, and against public implementations, pair by pair."""
    from benchmarks.measures_cost import Setup, run

    result = run(Setup(width, nets, images, permutations, repeats))
    tell(result, as_json)


@app.command()
def tables(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    parts: Annotated[int, typer.Option(min=10, help="Small parts, of 24 rows each.")] = 5000,
    rows: Annotated[int, typer.Option(min=1000, help="Rows in ten parts.")] = 1_000_000,
    report_rows: Annotated[int, typer.Option(min=1000, help="Rows of the report.")] = 300_000,
    remembered_parts: Annotated[int, typer.Option(min=10, help="Small parts that a start knows.")] = 20_000,
    remembered_rows: Annotated[int, typer.Option(min=1000, help="Rows that a start knows.")] = 10_000_000,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each reading; the median counts.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Such as 'remembered rows'; all by default.")] = None,
    keep: Annotated[str | None, typer.Option(help="Folder in which the tables are kept, and reused.")] = None,
) -> None:
    """How long `load`, a scan of the store, a run's start and a report take, and their memory."""
    from benchmarks.table_reading import Setup, run

    setup = Setup(parts, rows, report_rows, remembered_parts, remembered_rows, repeats)
    result = run(setup, only or (), keep)
    tell(result, as_json)


@app.command()
def planning(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    seeds: Annotated[
        list[int] | None, typer.Option("--seeds", min=2, help="Nets; 317 and 1,001 by default.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each; the median counts.")] = 3,
) -> None:
    """How long the plan of all ordered pairs takes, and `status` of a folder that holds some of them."""
    from benchmarks.many_pairs import Setup, run

    result = run(Setup(tuple(seeds or Setup.seeds), repeats))
    tell(result, as_json)


@app.command()
def plan(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    slots: Annotated[
        list[int] | None, typer.Option("--slots", min=1, help="Slots of a run; 1, 2 and 4 by default.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Seeds of the sweeps that are predicted.")] = 4,
    nets: Annotated[int, typer.Option(min=2, help="Nets of the large simulation.")] = 1000,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of 8 GPUs of the large simulation.")] = 125,
) -> None:
    """Predicted times beside those of runs, and a simulation of a large cluster."""
    from benchmarks.plan_accuracy import Setup, run

    result = run(Setup(tuple(slots or Setup.slots), seeds=seeds, nets=nets, nodes=nodes))
    tell(result, as_json)


@app.command()
def driver(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    flat: Annotated[int, typer.Option(min=1000, help="Small jobs of one long run.")] = 20_000,
    sections: Annotated[
        list[Section] | None, typer.Option("--section", help="Which ones; all by default.")
    ] = None,
) -> None:
    """What the driver costs a job, and the cluster at which one driver is full."""
    from benchmarks.driver_load import Setup, run

    result = run(Setup(flat=flat, sections=tuple(section.value for section in sections or Section)))
    tell(result, as_json)


@app.command()
def many_nets(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    seeds: Annotated[int, typer.Option(min=20, help="Nets of width 2.")] = 5000,
) -> None:
    """A real sweep of many narrow nets: the driver's CPU time a job and its memory as the run goes on."""
    from benchmarks.many_nets import Setup, run

    try:
        result = run(Setup(seeds))
    except RuntimeError as error:
        raise typer.BadParameter(str(error)) from None
    tell(result, as_json)


@app.command()
def channels(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    seed: Annotated[int, typer.Option(help="Of the population and of the nets.")] = 0,
) -> None:
    """What each measure of two layers gives for nets of few channels from one population."""
    from benchmarks.simulated.few_channels import Setup, run

    result = run(Setup(seed=seed))
    tell(result, as_json)


@app.command()
def partners(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    draws: Annotated[int, typer.Option(min=1, help="Draws of each row.")] = 4000,
) -> None:
    """How often intervals of a mean over the pairs of few partners cover it, by simulation."""
    from benchmarks.simulated.few_partners import Setup, run

    result = run(Setup(draws=draws))
    tell(result, as_json)


@app.command()
def coverage(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    sets: Annotated[int, typer.Option(min=10, help="Simulated sweeps of each case.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 0,
) -> None:
    """How often the intervals of width limits hold the truth, and how long they are: simulated sweeps."""
    from benchmarks.simulated.coverage import Setup, run

    result = run(Setup(sets, seed))
    tell(result, as_json, indent=1)


def tell(result: dict[str, Any], as_json: bool, indent: int = 2) -> None:
    """Print a result, as JSON or as tables."""
    if as_json:
        typer.echo(json.dumps(result, indent=indent))
    else:
        show(result)


def show(result: dict[str, Any]) -> None:
    """The machine, and every list of rows as a table."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(result["machine"])
    for name, rows in result.items():
        if name == "machine":
            continue
        table = Table(*rows[0], title=name)
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        console.print(table)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    app()
