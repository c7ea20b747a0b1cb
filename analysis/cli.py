"""The console script `espalier`: the commands of the orchestrator, and `report`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import Folder, app, out, plain_errors

if TYPE_CHECKING:
    from rich.table import Table

    from analysis.report import Report


@app.command()
@plain_errors
def report(
    folder: Folder,
    level: Annotated[float, typer.Option(help="Coverage of the intervals, between 0 and 1.")] = 0.9,
    bootstraps: Annotated[int, typer.Option(min=1, help="Resamples of the nets per fit.")] = 2000,
) -> None:
    """Write report/index.html and its figures from the rows that are there, also while a sweep runs."""
    from analysis.report import make_report  # matplotlib and pandas take a second that --help need not

    _tell(make_report(folder, level, bootstraps))


def _tell(made: Report) -> None:
    tables = made.tables
    out.print(f"{tables.nets['net'].nunique()} nets, {len(tables.grafts)} grafts, {len(made.fits)} fits")
    for setting, fits in made.by_setting():
        if setting:
            out.print(setting, markup=False, soft_wrap=True)
        out.print(_table(fits))
    if not len(made.fits):
        out.print(f"no fits: {made.reason}", markup=False, soft_wrap=True)
    out.print(f"report: {made.path}", markup=False, soft_wrap=True)


def _table(fits: list[dict[Any, Any]]) -> Table:
    from rich.table import Table

    shown = Table("layer", "alpha", "interval", "limit c", "interval", "model")
    for fit in fits:
        numbers = [f"{fit[name]:.2f}" for name in ("alpha", "alpha_low", "alpha_high")]
        limits = [f"{fit[name]:.2g}" for name in ("c", "c_low", "c_high")]
        alpha, c = (f"{low} to {high}" for _, low, high in (numbers, limits))
        shown.add_row(str(fit["layer"]), numbers[0], alpha, limits[0], c, fit["model"])
    return shown


def main() -> None:
    """Entry point of the console script."""
    app()
