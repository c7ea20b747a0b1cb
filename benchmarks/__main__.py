"""`python -m benchmarks graft`: run one benchmark, print its table, or JSON with `--json`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Side-by-side measurements on this machine."
)


@app.callback()
def benchmarks() -> None:
    """Side-by-side measurements on this machine."""


@app.command()
def graft(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    widths: Annotated[list[int] | None, typer.Option("--width", help="Widths; 32 and 64 by default.")] = None,
    nets: Annotated[int, typer.Option(min=2, help="Nets per width.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each timing; the median counts.")] = 3,
    images: Annotated[int, typer.Option(min=100, help="Fitting images.")] = 1000,
    full_adam: Annotated[
        bool, typer.Option(help="Run Adam's whole schedule once per width, for its FVU.")
    ] = True,
) -> None:
    """The exact grafts of all pairs against one pair at a time, and against Adam as in Gu et al. 2020."""
    from benchmarks.graft import run

    result = run(widths or [32, 64], nets, repeats, images, full_adam)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result)


def show(result: dict[str, object]) -> None:
    """The rows as a table, with the machine above it."""
    console = Console()
    console.print(result["machine"])
    rows = result["rows"]
    assert isinstance(rows, list)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)


if __name__ == "__main__":
    app()
