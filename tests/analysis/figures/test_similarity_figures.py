"""The report of nets compared without a fit: figures, maps and sentences, of known values."""

import re

import numpy as np
import pytest

from espalier import load
from espalier.analysis.figures import similarity_figures, similarity_words, widest_figures
from espalier.analysis.limits.best_layers import best_layers
from espalier.analysis.limits.settings import by_setting
from espalier.analysis.limits.similarity_fits import compare
from espalier.analysis.report.html_page import make_report
from tests.analysis.compared_rows import compared_row, compared_rows, effects, epoch_rows, frame_of
from tests.analysis.conftest import net_axes, net_rows, write_tables
from tests.analysis.more_rows import in_setting

NET = effects(0.03)
MEASURES = ("energy", "cka", "procrustes", "match", "mmd")


def value(measure, width, layer, epoch, pair):
    """cka and match 1 - w^-0.5, procrustes w^-0.5; energy and mmd around 0 at layer 1, 0.2 at layer 2."""
    effect = NET[pair[0]] + NET[pair[1]]
    if measure in ("energy", "mmd"):
        return 0.2 * (layer - 1) + (0.1 if sum(pair) % 2 else -0.1) * (layer == 1) + effect / 10
    gap = width**-0.5 * (1 + effect)
    return gap if measure == "procrustes" else 1 - gap


BY_EPOCHS = {(0, 0): 0.5, (0, 1): 0.6, (0, 20): 0.55, (1, 1): 0.7, (1, 20): 0.65, (20, 20): 0.8}


def at_epochs(first, last, pair):
    """Initial nets are most like nets at epoch 1, the others like nets of their own epoch."""
    return BY_EPOCHS[first, last] + NET[pair[0]] / 10 + NET[pair[1]] / 10


@pytest.fixture(scope="module")
def rows():
    own = compared_rows(value, MEASURES)
    return [*own, *(row for row in epoch_rows(at_epochs) if row["source_epoch"] != row["target_epoch"])]


@pytest.fixture(scope="module")
def found(rows):
    return compare(frame_of(rows), 0.9, 50)


@pytest.fixture(scope="module")
def made(rows, tmp_path_factory):
    rows = [row for row in rows if row["measure"] not in ("match", "procrustes")]
    return make_report(write_tables(tmp_path_factory.mktemp("compared"), similarity=rows), bootstraps=20)


def test_the_page_has_a_figure_for_each_measure_a_map_and_a_table_of_all(made):
    text = made.path.read_text()
    for name in ("similarity_energy", "similarity_cka", "epochs_cka"):
        assert f'<figure id="{name}">' in text
        assert (made.path.parent / f"{name}.png").is_file()
    for name in ("similarity_mmd", "epochs_energy"):  # the table has mmd; energy is at like epochs alone
        assert f'<figure id="{name}">' not in text
    table = text[text.index('<h3 id="chapter-1-compared">') :]
    table = table[: table.index("</table>")]
    assert re.findall(r'class="left">(\w+)</th><td class="left">(?:simil|dist)', table) == [
        *["cka"] * 2,
        *["energy"] * 2,
        *["mmd"] * 2,
    ]
    assert "0.100 ± 0.020" in table
    assert "There are no grafts yet" not in text


def test_the_figure_shows_means_over_nets_beside_the_null_on_the_scale_of_the_fit(found):
    cka = next(one for one in found.last if one.measure == "cka")
    axes = similarity_figures.gap_by_width(cka, None).axes[0]
    (bars,) = axes.containers
    pairs = [NET[a] + NET[b] for a in range(4) for b in range(a + 1, 4)]
    widths = np.array([4, 8, 16, 32])
    assert bars.lines[0].get_ydata() == pytest.approx(widths**-0.5 * (1 + np.mean(pairs)))
    null = similarity_figures.null_by_width(cka.rows)
    assert null["null_gap"].to_numpy() == pytest.approx(0.9)
    assert null["high"].to_numpy() == pytest.approx(0.9 + 1.645 * 0.02)
    assert axes.get_yscale() == "log"
    assert "α = 0.50" in axes.get_title()


def test_a_measure_that_may_be_negative_has_a_linear_axis_and_no_fit_through_0(found):
    energy = next(one for one in found.last if one.measure == "energy")
    axes = similarity_figures.gap_by_width(energy, None).axes[0]
    assert axes.get_yscale() == "linear"
    assert "no fit" in axes.get_title()


def test_the_map_is_symmetric_and_frames_the_best_of_each_row(found):
    (made,) = found.maps
    figure = similarity_figures.map_of_epochs(made)
    frames = [line for line in figure.axes[0].get_lines() if line.get_marker() == "s"]
    assert len(frames) == len(made.best)
    assert made.mean_LEE[1] == pytest.approx(made.mean_LEE[1].T, nan_ok=True)


def test_sentences_have_intervals_rows_and_what_the_null_forbids(found):
    said = similarity_words.findings(found)
    for measure in ("energy", "cka", "procrustes", "match"):
        (own,) = [sentence for sentence in said if sentence.startswith(f"Measure {measure} ")]
        assert re.search(r"layer 1: \S+ \[\S+, \S+\]", own)
        assert "12 rows, none with a warning" in own
        assert "12 of 12 pairs have p <= 0.05" in own
    energy = next(sentence for sentence in said if sentence.startswith("Measure energy "))
    assert "The mean lies above 0 at layer 2" in energy
    assert "At layer 1 the interval reaches 0" in energy
    assert "which does not say that nets are alike" in next(s for s in said if s.startswith("Measure cka "))
    falls = next(sentence for sentence in said if "1 - cka falls at 2 of 2 layers" in sentence)
    assert "layer 1: 0.50 [" in falls
    assert "Initial nets: layer 1: 0.50" in falls
    assert "a fall alone is no sign that training makes nets alike" in falls
    assert "no independent tests" in said[-1]


def test_outputs_that_correspond_are_told_from_draws():
    rows = compared_rows(lambda *at: -0.2 + NET[at[-1][0]] / 10, ("energy",), layers=(1,), epochs=(20,))
    said = similarity_words.findings(compare(frame_of(rows), 0.9, 20))
    assert "The mean lies below 0 at layer 1" in said[0]
    assert "energy has no fit against the width at layer 1" in said[1]


def test_small_calibrated_values_and_missing_ones_are_told():
    rows = compared_rows(value, ("cka",), layers=(1,), epochs=(20,), calibrated=0.01)
    rows[-1] |= {"value": None, "warning": "no value"}
    said = similarity_words.findings(compare(frame_of(rows), 0.9, 20))
    assert "At layer 1 the calibrated value is 0.05 or less" in said[0]
    assert "5 rows" in said[0]
    assert "1 of 24 values of pairs are not defined and are in no mean." in said


@pytest.mark.parametrize(
    ("p_values", "words"),
    [
        ([0.6] * 6, "no pair stands out of permuted images: no evidence that anything is in common"),
        (
            [0.01] * 3 + [0.6] * 3,
            "at 3 of 6 pairs more than chance is in common, which does not say that these nets are alike "
            "(5 % of pairs have such p-values where nothing is in common)",
        ),
        ([0.01] * 6, "more than chance is in common, which does not say that nets are alike"),
    ],
)
def test_what_the_null_says_depends_on_how_many_pairs_it_rejects(p_values, words):
    rows = compared_rows(value, ("cka",), widths=(32,), layers=(1,), epochs=(20,), calibrated=0.0)
    rows = [row | {"p_value": p} for row, p in zip(rows, p_values, strict=True)]
    said = similarity_words.findings(compare(frame_of(rows), 0.9, 20))[0]
    assert f"calibrated 0 by layer: {words}. At layer 1 the calibrated value is 0.05 or less" in said


def test_the_map_in_words_counts_the_rows_on_the_diagonal():
    found = compare(frame_of(epoch_rows(at_epochs)), 0.9, 20)
    (said,) = [sentence for sentence in similarity_words.findings(found) if sentence.startswith("Map of")]
    assert "over epochs 0, 1, 20 at width 32: 2 of 3 rows (1 layer, a row for each epoch)" in said
    assert "Off it: layer 1, epoch 0 with epoch 1 (gain 0.1 [" in said
    assert "Of these 1 gain more than chance" in said
    assert "(54 rows, none with a warning)" in said  # 3 epochs of 6 pairs, 3 of two epochs with 12 each


def test_rows_of_a_setting_are_compared_within_it(tmp_path):
    rows = compared_rows(value, ("cka",), layers=(1,), epochs=(20,))
    nets = net_rows(widths=(4,), seeds=(0,))
    other = {"init": "uniform"}
    folder = write_tables(
        tmp_path, similarity=[*rows, *in_setting(rows, **other)], nets=[*nets, *in_setting(nets, **other)]
    )
    settings = by_setting(load(folder))
    assert [len(setting.tables.similarity) for setting in settings] == [len(rows)] * 2
    assert [set(setting.tables.similarity["source_init"]) for setting in settings] == [
        {"he_normal"},
        {"uniform"},
    ]


def test_no_rows_say_nothing():
    found = compare(frame_of([]), 0.9, 20)
    assert similarity_words.findings(found) == []
    assert similarity_words.table_rows(found) == []
    assert list(similarity_figures.captioned_figures(found)) == []


def test_two_nets_have_no_interval_that_sentences_tell_of():
    rows = frame_of(compared_rows(value, ("energy",), seeds=(0, 1)))
    said = similarity_words.findings(compare(rows, 0.9, 10))
    assert any("Measure energy" in one for one in said)
    assert not [one for one in said if "the interval reaches 0" in one]


def test_a_measure_without_a_value_at_the_last_snapshot_has_no_figure_and_ends_no_report():
    def last_undefined(measure, width, layer, epoch, pair):
        return None if epoch == 20 and measure == "cka" else value(measure, width, layer, epoch, pair)

    found = compare(frame_of(compared_rows(last_undefined, ("cka", "match"))), 0.9, 10)
    assert [one.measure for one in found.last] == ["match"]
    assert list(similarity_figures.captioned_figures(found))
    assert similarity_words.findings(found)


def test_each_width_stands_beside_the_widest_nets():
    own = compared_rows(value, ("cka", "energy"), widths=(32,), epochs=(20,))
    crossed = [
        compared_row(
            net_axes(width, a, 20, "source_"), net_axes(32, b, 20, "target_"), layer, "cka", 1 - 1 / width
        )
        for width in (4, 8)
        for layer in (1, 2)
        for a in range(4)
        for b in range(4)
        if a != b
    ]
    (made,) = widest_figures.captioned_figures(compare(frame_of([*own, *crossed]), 0.9, 20))
    assert made.name == "widest_cka"
    line, reference = made.figure.axes[0].containers
    assert line.lines[0].get_xdata().tolist() == [4, 8]
    assert line.lines[0].get_ydata() == pytest.approx([1 / 4, 1 / 8])
    assert reference.lines[0].get_xdata().tolist() == [32]
    assert not list(widest_figures.captioned_figures(compare(frame_of(own), 0.9, 20)))


def test_the_best_layer_of_the_widest_pairs_is_told():
    rows = compared_rows(value, ("cka",), widths=(32,), epochs=(20,))
    for row in rows:
        if row["layer"] == 2:
            row |= {"best_p_value": 0.01 if row["source_seed"] == 0 else 0.3, "best_calibrated": 0.4}
    assert len(best_layers(frame_of(rows))) == 6
    said = " ".join(similarity_words.findings(compare(frame_of(rows), 0.9, 20)))
    assert "the best value of cka is beyond chance in 3 of 6 pairs" in said
    assert "it is layer 2 in 6 of them" in said
    with pytest.raises(ValueError, match="no column"):
        best_layers(frame_of(rows).drop(columns="best_p_value"))
