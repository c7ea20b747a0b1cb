"""The console script `espalier`: the commands of the orchestrator and of clusters, `report`, `coordcheck`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from espalier.orchestrator.cli import Folder
from espalier.orchestrator.cluster_cli import app
from espalier.orchestrator.terminal import out, plain_errors, say

if TYPE_CHECKING:
    from rich.table import Table

    from espalier.analysis.figures.coordinate_slopes import Checked
    from espalier.analysis.report.html_page import Report


@app.command()
@plain_errors
def report(
    folders: Annotated[
        list[str], typer.Argument(metavar="FOLDER...", help="The sweep's folder; of several, side by side.")
    ],
    level: Annotated[float, typer.Option(help="Coverage of the intervals, between 0 and 1.")] = 0.9,
    bootstraps: Annotated[int, typer.Option(min=1, help="Resamples of the nets per fit.")] = 2000,
    form: Annotated[
        str, typer.Option("--format", help="html: one page; md: Markdown, for a notebook.")
    ] = "html",
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="Where to write. Default: report/ in the (first) sweep's folder."
        ),
    ] = None,
) -> None:
    """Write a page and its figures from the rows that are there, also while a sweep runs.

    Several folders are set side by side, in report/beside-NAME/ of the first unless --output says where.
    """
    from espalier.analysis.report.html_page import (
        make_report,  # matplotlib and pandas take a second that --help need not
    )

    first, *beside = folders
    _tell(make_report(first, level, bootstraps, beside=beside, form=form, output=output), level)


def _tell(made: Report, level: float) -> None:
    nets = sum(tables.nets["net"].nunique() for tables in made.sweeps)
    grafts = sum(len(tables.grafts) for tables in made.sweeps)
    say(f"{nets} nets, {grafts} grafts, {len(made.fits)} fits")
    for setting, fits in made.by_setting():
        if setting:
            say(setting)
        out.print(_table(fits))
        for line in _how_to_read(fits, level):
            say(line)
    if not len(made.fits):
        say(f"no fits: {made.reason}")
    say(f"report: {made.path}")


def _table(fits: list[dict[Any, Any]]) -> Table:
    """By layer the exponents of trained sources, of untrained ones and of their ratio, excess and limit."""
    from rich.table import Table

    shown = Table("layer", "alpha", "of untrained", "of the ratio", "excess", "limit c")
    for fit in fits:
        exponents = [_with_interval(fit, name, ".2f") for name in ("alpha", "alpha_untrained", "alpha_ratio")]
        rest = [_with_interval(fit, name, ".2g") for name in ("excess", "c")]
        shown.add_row(str(fit["layer"]), *exponents, *rest)
    return shown


def _with_interval(fit: dict[Any, Any], name: str, form: str) -> str:
    """A number and its interval below it; a dash where there is none."""
    if math.isnan(fit[name]):
        return "-"
    return f"{fit[name]:{form}}\n{fit[f'{name}_low']:{form}} to {fit[f'{name}_high']:{form}}"


def _how_to_read(fits: list[dict[Any, Any]], level: float) -> list[str]:
    """What the columns are, and which fits to beware of."""
    widths = [int(fit["excess_width"]) for fit in fits if not math.isnan(fit["excess_width"])]
    lines = [f"Errors fall with the width as w^-alpha; below each its {100 * level:g} % interval over nets."]
    if widths:
        lines.append(
            "Untrained sources into the same targets have the second exponent, trained over untrained the "
            f"third (0: the width helps both alike). Excess: trained minus untrained, at width {max(widths)}."
        )
    else:
        lines.append(
            "Whether untrained sources show the same fall is not known: too few pairs at too few widths have "
            "the null 'untrained'."
        )
    named = [(fit["layer"], _beware(fit)) for fit in fits]
    return [*lines, *(f"beware, layer {layer}: {text}" for layer, text in named if text)]


def _beware(fit: dict[Any, Any]) -> str:
    """The warnings of a layer's fits; what they share, such as the state of their rows, once."""
    said = fit["warning"].split("; ")
    more = [part for part in fit["excess_warning"].split("; ") if part not in said]
    return "; ".join(filter(None, [*said, *more]))


@app.command()
@plain_errors
def coordcheck(
    folder: Folder,
    widths: Annotated[
        str | None,
        typer.Option(help="Such as 8,16,32,64,128. Default: the sweep's least width, doubled 4 times."),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of training; the slopes are those after the last.")
    ] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Nets of each width; their scatter is the error.")] = 8,
    lr: Annotated[float | None, typer.Option(help="Learning rate; that of the sweep by default.")] = None,
    drawn_outputs: Annotated[
        bool, typer.Option("--drawn-outputs", help="Start the last layer as drawn rather than at 0.")
    ] = False,
) -> None:
    """Check how far training moves each layer at widths over a factor of 16: table, figure, verdicts."""
    from espalier.analysis.figures.coordinate_slopes import checked, figure, how_judged
    from espalier.analysis.figures.style import png_bytes, svg_text
    from espalier.orchestrator.coordcheck import PLACE, Check, run_check
    from espalier.orchestrator.sweep import Sweep

    sweep = Sweep(folder)
    check = Check(_widths(widths), steps, seeds, lr, drawn_outputs)
    with out.status("") as shown:
        table = run_check(
            sweep,
            check,
            lambda number, total, net: shown.update(
                f"net {number} of {total}: {net.parametrization}, width {net.width}, seed {net.seed}"
            ),
        )
    settings = checked(table)
    drawn = figure(settings)
    sweep.store.files.replace(f"{PLACE}/changes.png", png_bytes(drawn))
    sweep.store.files.replace(f"{PLACE}/changes.svg", svg_text(drawn, "coordcheck").encode())
    for setting in settings:
        say(setting.label)
        out.print(_slopes_table(setting))
    say(how_judged(settings))
    say(f"table and figure: {folder}/{PLACE}")


def _widths(text: str | None) -> tuple[int, ...] | None:
    """The widths of a list such as `8,16,32`."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--widths: found {text!r}; give whole numbers, as in 8,16,32,64,128") from None


def _slopes_table(setting: Checked) -> Table:
    """Each layer's slope in log width with its standard error and verdict, and its change at both ends."""
    from rich.table import Table

    widths = sorted({width for by_width in setting.changes.values() for width in by_width})
    shown = Table("layer", "slope", "verdict", f"change at {widths[0]}", f"at {widths[-1]}")
    for layer, found in setting.slopes.items():
        told = "none" if math.isnan(found.slope) else f"{found.slope:+.2f}"
        if not math.isnan(found.error):
            told += f" ± {found.error:.2f}"
        ends = [f"{setting.mean(layer, width):.3g}" for width in (widths[0], widths[-1])]
        shown.add_row(f"{layer} · {setting.names[layer]}", told, found.verdict, *ends)
    return shown


def main() -> None:
    """Entry point of the console script."""
    app()
