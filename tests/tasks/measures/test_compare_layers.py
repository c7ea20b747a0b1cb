"""All measures together: what is refused and told, and that a pair's numbers are its own."""

import math

import pytest
import torch

from espalier.tasks.measures import compare_layers
from espalier.tasks.measures.channel_gram import ChannelGram
from espalier.tasks.measures.compare_layers import MEASURES, compare, scale_ratios
from espalier.tasks.measures.layer_matrices import LayerMatrices
from tests.tasks.measures.planted_nets import layer_of, noise


def compared(*nets, measures=MEASURES, permutations=19):
    train = ChannelGram([net.shape[1] for net in nets], "float64")
    train.add(nets)
    return compare(layer_of(*nets, permutations=permutations), measures, train)


def nets(*channels):
    return [noise(12, count, 3, 3, seed=seed) for seed, count in enumerate(channels)]


def test_every_measure_is_defined_for_unequal_widths():
    for name, found in compared(*nets(3, 5)).items():
        columns = found.calibrated()
        for column in (found.value_SS, *columns):
            assert column[0, 1].isfinite(), name
            assert column[0, 1] == column[1, 0], name
        assert not found.reasons
        assert 0 < columns.p_value[0, 1] <= 1
        assert columns.p_value.diagonal().isnan().all()


def test_a_pair_has_the_same_numbers_whichever_nets_are_beside_it():
    many = nets(4, 6, 40, 5)
    one, all_of_them = compared(many[1], many[3]), compared(*many)
    for name in MEASURES:
        alone, beside = one[name].value_SS[0, 1].item(), all_of_them[name].value_SS[1, 3].item()
        assert alone == pytest.approx(beside, abs=1e-9), name
        nulls = one[name].nulls[0, 1], all_of_them[name].nulls[1, 3]
        assert torch.allclose(*nulls, atol=1e-5), name


def test_the_blocks_of_batches_change_nothing():
    x, y = nets(4, 5)
    one, other = (compare(layer_of(x, y, batch=batch), ["cka", "energy", "match"]) for batch in (12, 5))
    for name, found in one.items():
        assert found.value_SS[0, 1].item() == pytest.approx(other[name].value_SS[0, 1].item(), abs=1e-12)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda h: h.fill_(torch.nan), "{} has features that are not finite"),
        (lambda h: h[0, 0, 0, 0].fill_(torch.inf), "{} has features that are not finite"),
        (lambda h: h.fill_(3.0), "all channels of {} are constant"),
    ],
)
def test_pairs_of_a_net_that_cannot_be_compared_are_left_out_and_told(spoil, said):
    three = nets(4, 4, 4)
    spoil(three[1])
    whole = compared(three[0], three[2])
    for name, found in compared(*three).items():
        sides = {(0, 1): "the target net", (1, 1): "the net", (1, 2): "the source net"}
        assert found.reasons == {pair: said.format(side) for pair, side in sides.items()}
        assert found.value_SS[1].isnan().all(), name
        assert found.value_SS[0, 2].item() == pytest.approx(whole[name].value_SS[0, 1].item(), abs=1e-9)
        assert found.calibrated().p_value[0, 2] == whole[name].calibrated().p_value[0, 1], name


def test_nothing_is_left_where_no_net_can_be_compared():
    for found in compared(torch.ones(6, 2, 2, 2), torch.zeros(6, 2, 2, 2)).values():
        assert found.value_SS.isnan().all()
        assert len(found.reasons) == 3


def test_dead_channels_keep_the_others_comparable():
    x, y = nets(5, 5)
    x[:, 2], y[:, 0] = 0, 1
    for name, found in compared(x, y).items():
        assert found.value_SS[0, 1].isfinite(), name
        assert found.calibrated().p_value[0, 1].isfinite(), name


def test_one_channel_is_too_few_for_samples_of_channels_alone():
    found = compared(*nets(1, 1))
    refused = {name for name, one in found.items() if one.reasons}
    assert refused == {"energy", "mmd"}
    assert found["energy"].reasons[0, 1] == "1 channel: a sample of channels needs 2 or more"
    for name in ("cka", "cka_channels"):
        assert found[name].extra["corrected"].isnan().all()
        assert found[name].notes == {(0, 1): "not corrected: the source net has 1 channel"}


def test_a_corrected_value_that_is_not_defined_is_told():
    one = noise(12, 1, 2, 2)
    alike, unlike = one.expand(-1, 3, -1, -1), torch.cat([one, torch.zeros_like(one)], 1)
    for found in compared(alike, unlike, measures=["cka", "cka_channels"]).values():
        assert found.value_SS[0, 1].isfinite()
        assert found.extra["corrected"][0, 1].isnan()
        said = "not corrected: what different channels of the target net share is not positive"
        assert found.notes == {(0, 1): said}


def test_more_channels_than_rows_are_refused_by_canonical_correlations_alone():
    x, y, z = noise(12, 20, 3, 3), noise(12, 4, 3, 3, seed=1), noise(12, 4, 3, 3, seed=2)
    found = compared(x, y, z)
    said = (
        "108 rows (images x positions) for 20 channels: canonical correlations need 10 rows for each channel"
    )
    for name, one in found.items():
        few = name in ("cca_mean", "pwcca")
        assert one.reasons == ({(0, 0): said, (0, 1): said, (0, 2): said} if few else {}), name
        assert one.value_SS[1, 2].isfinite(), name
        assert math.isnan(one.calibrated().p_value[0, 1]) is few, name


def test_permuted_values_that_are_not_finite_are_told(monkeypatch):
    def broken(layer):
        found = plain(layer)
        found.nulls[0, 2][3] = math.nan
        return found

    plain = compare_layers.WHOLE["cka"]
    monkeypatch.setitem(compare_layers.WHOLE, "cka", broken)
    found = compared(*nets(3, 3, 3), measures=["cka"])["cka"]
    assert found.notes[0, 2].endswith("; no p-value: 1 of 19 permuted values are not finite")
    assert found.value_SS[0, 2].isfinite()
    assert found.calibrated().p_value[0].isfinite().tolist() == [False, True, False]


def test_fewer_than_four_images_are_refused():
    with pytest.raises(ValueError, match="3 images: a debiased comparison of samples needs 4 or more"):
        compare(layer_of(*(net[:3] for net in nets(4, 4))), ["energy"])


def test_measures_that_there_are_not_and_missing_training_images_are_refused():
    layer = layer_of(*nets(3, 3))
    with pytest.raises(ValueError, match="unknown measure 'ckaa': give some of cka, cka_channels"):
        compare(layer, ["ckaa"])
    with pytest.raises(ValueError, match="alignment is fitted on training images"):
        compare(layer, ["alignment"])


def test_maps_of_different_sizes_and_other_channels_are_refused():
    layer = LayerMatrices([3, 3])
    with pytest.raises(ValueError, match="images x positions of the nets are 4 x 9, 4 x 4"):
        layer.add([noise(4, 3, 3, 3), noise(4, 3, 2, 2)])
    with pytest.raises(ValueError, match=r"features of \(3, 2\) channels, but the nets have \(3, 3\)"):
        layer.add([noise(4, 3), noise(4, 2)])


def test_scales_are_told_as_ratios():
    x = noise(9, 3, 2, 2)
    assert scale_ratios(layer_of(x, 4 * x))[0, 1].item() == pytest.approx(0.25)


def test_pairs_that_are_wanted_alone_are_compared():
    four = nets(3, 3, 3, 3)
    four[3].fill_(torch.nan)
    layer = LayerMatrices([3] * 4, 9, "float64", pairs=[(2, 0), (1, 3)])
    layer.add(four)
    whole = compare(layer_of(*four[:3], permutations=9), ["cka", "match", "energy", "sliced_w2"])
    for name, found in compare(layer, list(whole)).items():
        assert set(found.nulls) == {(0, 2)}, name
        assert found.reasons.keys() == {(1, 3), (3, 3)}, name
        assert found.value_SS[0, 2].item() == pytest.approx(whole[name].value_SS[0, 2].item(), abs=1e-9)
        assert found.value_SS[0, 1].isnan(), name
