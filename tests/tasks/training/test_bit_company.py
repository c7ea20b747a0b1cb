"""What a probe offers gives a net the same bits in any company, and it offers nothing else."""

from dataclasses import replace

import pytest
import torch

import espalier.tasks.training.bit_company
from espalier.tasks.spec import ALONE, COMPILED, Probe, TrainMode, TrainSegment
from espalier.tasks.training import probe
from espalier.tasks.training.bit_company import conditions, keeps_bits, same_bits
from espalier.tasks.training.probe import ways
from espalier.tasks.training.train import initial_state, train_group
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import family_net

GROUPED, LAST = TrainMode(grouped=True), TrainMode(grouped=True, layout="channels_last")


def conv_net(image, width, batch_norm=False, **recipe):
    net = make_net(width=width, entries=(1, "pool", 2), image=image, **recipe)
    layers = tuple(
        replace(layer, batch_norm=batch_norm and layer.kind == "conv") for layer in net.architecture.layers
    )
    return replace(net, architecture=replace(net.architecture, layers=layers))


def offered(asked):
    """The ways of training nets together that a probe may choose on this machine."""
    return [way for way in ways(asked) if way[1] > 1 and keeps_bits(asked, *way)]


def trained(nets, data, mode):
    segments = [TrainSegment(make_snapshot(net, 2), None, keep_state=True) for net in nets]
    return train_group(segments, [initial_state(net) for net in nets], data, mode)


NETS = {
    "narrow": conv_net((1, 9, 9), 3),
    "four channels": conv_net((1, 9, 9), 4),
    "one-channel images": conv_net((1, 12, 12), 8),
    "eight channels read": conv_net((4, 8, 8), 8),
    "bn": conv_net((3, 8, 8), 6, batch_norm=True),
    "bn of sixteen": conv_net((3, 8, 8), 16, batch_norm=True),
    "adamw": conv_net((1, 9, 9), 5, optimizer="adamw", momentum=0.0, nesterov=False, lr=1e-3),
    "l12": replace(
        made := conv_net((1, 9, 9), 5), recipe=replace(made.recipe, regularizer="l12", reg_weight=0.01)
    ),
    "resnet20": family_net("resnet20"),
    "dense": family_net("dense"),
}


@pytest.mark.bits
@pytest.mark.parametrize("name", NETS)
def test_a_nets_bits_do_not_depend_on_how_many_are_trained_with_it_or_where_it_stands(name):
    """Longer than the probe looked, on other images: all seeds, against some of them in another order."""
    net = NETS[name]
    nets = [replace(net, seed=seed, order=(9, seed)) for seed in range(8)]
    data = make_data(train=45, test=20, image=net.architecture.input)
    last_batch = 45 % net.recipe.batch_size
    for mode, size in offered(Probe(net, 3 if name == "resnet20" else 8, 1.0, last_batch)):
        whole = trained(nets[:size], data, mode)
        for some in ([0, 1], [2], [3, 1, 0], [6, 3, 5, 4, 2]):
            if max(some) < size:
                for index, found in zip(some, trained([nets[i] for i in some], data, mode), strict=True):
                    assert same_bits(found, whole[index]), (mode, size, some, index)


@pytest.mark.bits
def test_groups_are_offered_where_they_are_known_to_keep_bits_on_every_processor():
    """Few channels of three-channel images, and dense nets: there is no other order of sums to choose."""
    for net in (conv_net((3, 8, 8), 6), NETS["dense"]):
        assert all(keeps_bits(Probe(net, 8, 1.0, 9), mode, 8) for mode in (GROUPED, LAST))
    assert keeps_bits(Probe(NETS["narrow"], 4, 1.0, 13), GROUPED, 4)


def test_nets_one_by_one_keep_their_bits_without_a_test(monkeypatch):
    monkeypatch.setattr(espalier.tasks.training.bit_company, "train_group", None)
    for mode in (ALONE, TrainMode(layout="channels_last"), COMPILED):
        assert keeps_bits(Probe(NETS["narrow"], 8, 1.0), mode, 1)


def parameter(result):
    result.state.parameters["layers.1.bias"][0] += 1e-6


def momentum(result):
    result.state.momentum["layers.1.bias"][0] += 1e-6


def loss_on_the_way(result):
    result.curve_rows[0]["loss_train"] += 1e-12


def loss_in_the_end(result):
    result.net_row["loss_test"] += 1e-12


@pytest.fixture
def broken(monkeypatch):
    """Makes one net of a group come out otherwise where `when(segments, data)` says so."""

    def put(change, when):
        def trainer(segments, states, data, mode):
            found = train_group(segments, states, data, mode)
            if when(segments, data):
                change(found[-1])
            return found

        monkeypatch.setattr(espalier.tasks.training.bit_company, "train_group", trainer)

    return put


@pytest.mark.parametrize("change", [parameter, momentum, loss_on_the_way, loss_in_the_end])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_way_whose_groups_of_one_number_differ_does_not_keep_bits(count, change, broken):
    asked = Probe(conv_net((3, 8, 8), 6), 5, 1.0)
    broken(change, lambda segments, _: len(segments) == count)
    assert not keeps_bits(asked, GROUPED, 5)
    assert keeps_bits(asked, GROUPED, count - 1)


def test_the_last_batch_of_an_epoch_is_tested_as_short_as_it_is(broken):
    net = conv_net((3, 8, 8), 6)
    broken(parameter, lambda segments, data: len(segments) > 1 and len(data.y_train) % 16 == 5)
    assert keeps_bits(Probe(net, 3, 1.0), GROUPED, 3)
    assert not keeps_bits(Probe(net, 3, 1.0, last_batch=5), GROUPED, 3)


def test_a_net_that_diverges_at_once_has_no_bits_to_keep():
    assert not keeps_bits(Probe(conv_net((3, 8, 8), 6, lr=1e30), 3, 1.0), GROUPED, 3)


def test_a_recipe_that_leaves_out_images_is_tested_on_whole_batches():
    net = conv_net((3, 8, 8), 6, class_keep=(0.0, 0.0, 0.0, 0.0, 1e-9), label_noise=0.5)
    assert keeps_bits(Probe(net, 2, 1.0), GROUPED, 2)


def test_what_an_answer_depends_on_is_named():
    asked = Probe(NETS["narrow"], 2, 1.0)
    here = conditions(asked)
    assert here.startswith(torch.backends.cpu.get_cpu_capability())
    assert here.endswith(f"torch {torch.__version__}")
    assert conditions(replace(asked, last_batch=13)) == f"{here}, last batch of 13"


def test_the_fastest_way_that_keeps_bits_is_chosen_and_what_was_tested_is_told(monkeypatch):
    seconds = {(ALONE, 1): 5.0, (GROUPED, 4): 3.0, (LAST, 4): 2.0, (GROUPED, 8): 2.5, (LAST, 8): 1.0}
    monkeypatch.setattr(probe, "measure", lambda task, device: seconds)
    asked = Probe(NETS["narrow"], 8, 1.0)
    tested = []

    def found(keeping):
        def keeps_bits(task, mode, size, device):
            tested.append((mode, size))
            return (mode, size) in keeping

        tested.clear()
        monkeypatch.setattr(probe, "keeps_bits", keeps_bits)
        return probe.find(asked)

    assert found({(LAST, 8)}).chosen == (LAST, 8)
    assert tested == [(LAST, 8)]
    third = found({(GROUPED, 8), (GROUPED, 4)})
    assert third.chosen == (GROUPED, 8)
    assert third.kept == {(LAST, 8): False, (LAST, 4): False, (GROUPED, 8): True}
    none = found({(ALONE, 1)})
    assert none.chosen == (ALONE, 1)
    assert none.kept == dict.fromkeys(list(seconds)[1:], False)
