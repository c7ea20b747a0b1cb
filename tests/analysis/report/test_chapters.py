"""A sweep of several settings: one chapter each, and nothing averaged over settings."""

import re

import pandas as pd
import pytest

from espalier import load
from espalier.analysis.figures import between_settings
from espalier.analysis.limits.settings import by_setting, known_settings, labels
from espalier.analysis.report.html_page import make_report
from tests.analysis.conftest import curve_rows, graft_rows, net_rows, write_tables
from tests.analysis.more_rows import (
    LAYERS,
    SEEDS,
    WIDTHS,
    all_graft_rows,
    barrier_rows,
    exchange_rows,
    hybrid_rows,
    in_setting,
    pair_rows,
    ridge_rows,
)

OTHER = {"reg_weight": 0.05, "init": "uniform"}


def plain():
    return graft_rows(widths=WIDTHS, seeds=SEEDS, layers=LAYERS)


def across_setting_rows(epoch=20):
    """Nets of the second setting serve those of the first with an error of 0.5, and are served with 0.25."""
    rows = pair_rows([((32, epoch),) * 2], lambda *place: 0.5, pairing="cross_setting")
    changed = [{f"{side}_{name}": value for name, value in OTHER.items()} for side in ("source", "target")]
    back = [row | changed[1] | {"fvu_test": row["fvu_test"] / 2} for row in rows]
    return [*(row | changed[0] for row in rows), *back]


@pytest.fixture(scope="module")
def two(tmp_path_factory, no_pictures):
    """The report of two settings; errors of the second are three times those of the first."""
    second = [row | {"fvu_test": 3 * row["fvu_test"]} for row in in_setting(plain(), **OTHER)]
    nets, curves = net_rows(widths=WIDTHS, seeds=SEEDS), curve_rows(widths=WIDTHS, seeds=SEEDS)
    folder = write_tables(
        tmp_path_factory.mktemp("two"),
        grafts=[*all_graft_rows(), *second, *across_setting_rows()],
        nets=[*nets, *in_setting(nets, **OTHER)],
        curves=[*curves, *in_setting(curves, **OTHER)],
        exchangeability=[*exchange_rows(), *exchange_rows("wider_subset")],
        hybrids=[*hybrid_rows(), *in_setting(hybrid_rows(), **OTHER)],
        barriers=[*barrier_rows(), *in_setting(barrier_rows((4, 8)), **OTHER)],
        ridges=ridge_rows(),
    )
    return make_report(folder, bootstraps=50)


@pytest.fixture(scope="module")
def one(tmp_path_factory, no_pictures):
    """The report of the first setting alone."""
    return make_report(write_tables(tmp_path_factory.mktemp("one"), grafts=plain()), bootstraps=50)


def test_settings_are_never_averaged(two, one):
    alone = one.fits
    assert (
        two.fits["setting"].tolist()
        == ["init = he_normal, reg_weight = 0.0005"] * 2 + ["init = uniform, reg_weight = 0.05"] * 2
    )
    for setting, factor in zip(("he_normal", "uniform"), (1, 3), strict=True):
        fits = two.fits[two.fits["setting"].str.contains(setting)]
        assert fits["alpha"].to_numpy() == pytest.approx(alone["alpha"].to_numpy(), rel=1e-6)
        assert fits["a"].to_numpy() == pytest.approx(factor * alone["a"].to_numpy(), rel=1e-6)


def test_each_setting_has_its_chapter_and_its_files(two):
    text, place = two.path.read_text(), two.path.parent
    heads = re.findall(r'<h2 class="chapter">(.*?)</h2>', text)
    assert heads == [
        "Side by side",
        "init = he_normal, reg_weight = 0.0005",
        "init = uniform, reg_weight = 0.05",
        "Between settings",
    ]
    for name in ("error_by_width", "pair_matrix", "nulls", "training", "hybrids"):
        for suffix in ("", "_2"):
            assert f'<figure id="{name}{suffix}">' in text
            assert (place / f"{name}{suffix}.svg").is_file()
    assert '<figure id="exchangeability_2">' not in text  # the second setting has no pools
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_the_rows_of_a_setting_are_those_of_both_its_nets(two):
    for setting in by_setting(two.tables):
        pairs = pd.concat([setting.tables.grafts, setting.tables.hybrids])
        assert (pairs["source_init"] == pairs["target_init"]).all()
    paths = [setting.tables.barriers for setting in by_setting(two.tables)]
    assert [set(rows["source_init"]) for rows in paths] == [{"he_normal"}, {"uniform"}]
    assert [len(rows) for rows in paths] == [len(barrier_rows()), len(barrier_rows((4, 8)))]
    kept = sum(len(setting.tables.grafts) for setting in by_setting(two.tables))
    assert kept + len(across_setting_rows()) == len(two.tables.grafts)


def test_a_label_says_only_what_differs():
    words = ["sgd lr 0.1, momentum 0.9, constant", "sgd lr 0.1, momentum 0.5, constant"]
    rows = [row for text in words for row in in_setting(net_rows(widths=(4,), seeds=(0,)), recipe=text)]
    known = pd.DataFrame(rows)
    known = known.drop_duplicates("recipe").reset_index(drop=True)
    assert labels(known) == ["recipe = momentum 0.9", "recipe = momentum 0.5"]


def test_pairs_across_settings_are_held_against_those_within(two):
    rows = between_settings.setting_rows(two.tables)
    figure = between_settings.cross_setting(rows, labels(known_settings(two.tables)))
    drawn = figure.axes[0].get_lines()
    own, other = (line.get_ydata() for line in drawn[:: len(drawn) // 2])
    first = rows[(rows["target"] == 0) & (rows["source"] == 0)]
    assert own == pytest.approx(first.groupby("layer")["fvu_test"].mean().to_numpy())
    crossing = rows[(rows["target"] == 0) & (rows["source"] == 1)]
    assert other == pytest.approx(crossing.groupby("layer")["fvu_test"].mean().to_numpy())
    said = between_settings.findings(two.tables, 0.9)
    assert len(said) == 2
    assert "Into nets of init = he_normal, reg_weight = 0.0005, error of sources of init = uniform" in said[0]
    assert re.search(r"layer 2: \S+ \[\S+, \S+\]; layer 3: .* rows, none with a warning", said[0])


def test_settings_without_pairs_between_them_have_no_such_chapter(tmp_path):
    first = graft_rows(widths=WIDTHS, seeds=SEEDS, epochs=(20,), layers=LAYERS, nulls=False)
    rows = [*first, *in_setting(first, **OTHER)]
    made = make_report(write_tables(tmp_path, grafts=rows), bootstraps=20)
    assert "Between settings" not in made.path.read_text()
    assert len(made.fits) == 4


def test_a_sweep_of_one_setting_has_no_chapters(one):
    assert 'class="chapter"' not in one.path.read_text()
    assert "setting" not in one.fits.columns
    assert by_setting(load(one.path.parents[1]))[0].label == ""
