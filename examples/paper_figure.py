"""A notebook: from the tables of a sweep to a figure for a paper.

`marimo edit examples/paper_figure.py` opens it, `python examples/paper_figure.py` runs it. Another
sweep's folder may stand in the place of `results/digits`.
"""

import marimo

app = marimo.App()


@app.cell
def read():
    from pathlib import Path

    import matplotlib.pyplot as plt
    import numpy as np

    from espalier import AXES, fit_width_limit, load

    sweep = Path(__file__).parents[1] / "results" / "digits"
    shown = [("null", "in", ["none", "untrained"])]  # and the same targets served by untrained sources
    grafts = load(sweep, shown, tables=["grafts"], columns=[*AXES, "fvu_test"]).grafts
    last = grafts[grafts["target_epoch"] == grafts["target_epoch"].max()]
    return fit_width_limit, grafts, last, np, plt


@app.cell
def fit(fit_width_limit, grafts, last):
    fits = fit_width_limit(grafts, y="fvu_test", by=["layer_name", "null"], bootstraps=500)
    means = last.groupby(["layer_name", "null", "target_width"])["fvu_test"].mean()
    return fits, means


@app.cell
def draw(fits, means, np, plt):
    plt.rcParams.update({"font.size": 8})
    figure, axes = plt.subplots(figsize=(3.4, 3.2), layout="constrained")  # inches: a column of text
    for number, row in enumerate(fits.itertuples()):
        trained, points = row.null == "none", means[row.layer_name, row.null]
        style = {"color": f"C{number // 2}", "fillstyle": "full" if trained else "none"}
        label = rf"{row.layer_name}: $\alpha$ = {row.alpha:.2f} [{row.alpha_low:.2f}, {row.alpha_high:.2f}]"
        axes.loglog(points.index, points, "o", ms=4, label=label if trained else None, **style)
        width = np.geomspace(points.index.min(), points.index.max())
        curve = row.c + row.a * width**-row.alpha
        axes.loglog(width, curve, "-" if trained else ":", lw=1, color=style["color"])
    axes.set_xticks([4, 8, 16, 32], ["4", "8", "16", "32"])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="width", ylabel="held-out error of grafts (FVU)")
    figure.legend(loc="outside upper center", ncols=2, fontsize=6, title="trained (hollow: untrained)")
    figure  # noqa: B018 - what a cell ends with is shown; figure.savefig("figure.pdf") keeps it
    return axes, figure


if __name__ == "__main__":
    app.run()
