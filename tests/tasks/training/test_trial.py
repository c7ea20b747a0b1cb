"""A trial learns from part of the training images, is judged on the rest, and never sees a test image."""

from dataclasses import replace

import pytest
import torch

import espalier.tasks.training.train
from espalier.tasks.data.tensors import Data
from espalier.tasks.spec import TrainSegment, TrialSegment
from espalier.tasks.training.train import Diverged, initial_state, train
from espalier.tasks.training.trial import MODE, held_back, train_trial, validation_split
from tests.tasks.conftest import make_net, make_snapshot


def segment(nets, start, epoch, share=0.25, split=0):
    return TrialSegment(tuple(nets), start, epoch, share, split)


def start(nets):
    return {net.seed: initial_state(net) for net in nets}


def plain(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_the_held_back_images_keep_the_share_of_each_class_and_are_the_same_every_time():
    y = torch.tensor([0] * 40 + [1] * 8 + [2] * 3 + [3])
    chosen = held_back(y, 0.25, split=5)
    assert torch.equal(chosen, chosen.unique())
    assert y[chosen].bincount(minlength=4).tolist() == [
        10,
        2,
        1,
        0,
    ]  # the only image of a class is learnt from
    assert torch.equal(chosen, held_back(y, 0.25, split=5))
    assert not torch.equal(chosen, held_back(y, 0.25, split=6))
    # of a tiny class one image is held back, and one is left, whatever the share
    assert y[held_back(y, 0.01, 0)].bincount(minlength=4).tolist() == [1, 1, 1, 0]
    assert y[held_back(y, 0.99, 0)].bincount(minlength=4).tolist() == [39, 7, 2, 0]


def test_a_regression_holds_back_its_share_of_all():
    assert len(held_back(torch.rand(20, 3), 0.3, 0)) == 6


def test_fitted_and_held_back_images_are_the_training_images_each_once():
    x = torch.arange(50.0).reshape(50, 1, 1, 1)
    parts = validation_split(Data(x, torch.arange(50) % 5, -x, torch.arange(50)), 0.2, 3)
    assert torch.equal(torch.cat([parts.x_train, parts.x_test]).flatten().sort().values, x.flatten())
    for images, labels in ((parts.x_train, parts.y_train), (parts.x_test, parts.y_test)):
        assert torch.equal(images.flatten().long() % 5, labels)
    assert len(parts.y_test) == 10


def test_test_images_have_no_part_in_a_trial(data):
    net = make_net()
    rows, _ = train_trial(segment([net], 0, 2), start([net]), data)
    spoilt = data._replace(x_test=torch.full_like(data.x_test, float("nan")), y_test=0 * data.y_test)
    again, _ = train_trial(segment([net], 0, 2), start([net]), spoilt)
    assert plain(again) == plain(rows)


def test_its_rows_are_those_of_training_on_what_is_fitted(data):
    nets = [make_net(seed=seed) for seed in (7, 8)]
    rows, after = train_trial(segment(nets, 0, 2), start(nets), data)
    assert [(row["seed"], row["epoch"]) for row in rows] == [(7, 1), (7, 2), (8, 1), (8, 2)]
    parts = validation_split(data, 0.25, 0)
    for net in nets:
        alone = train(TrainSegment(make_snapshot(net, 2), None, True), initial_state(net), parts, MODE)
        own = [row for row in rows if row["seed"] == net.seed]
        assert [row["loss_validation"] for row in own] == [row["loss_test"] for row in alone.curve_rows]
        assert all(torch.equal(after[net.seed].parameters[k], v) for k, v in alone.state.parameters.items())
    assert {row["images_validation"] for row in rows} == {len(parts.y_test)}


def test_a_trial_looks_at_its_held_back_images_once_an_epoch_and_never_back_at_the_others(data, monkeypatch):
    honest, seen = espalier.tasks.training.train.evaluate, []

    def evaluate(network, x, *others):
        seen.append(len(x))
        return honest(network, x, *others)

    for module in ("espalier.tasks.training.train", "espalier.tasks.training.evaluation"):
        monkeypatch.setattr(f"{module}.evaluate", evaluate)
    net = make_net()
    train_trial(segment([net], 0, 2), start([net]), data)
    assert seen == [len(validation_split(data, 0.25, 0).x_test)] * 2


def test_epoch_by_epoch_gives_the_bits_of_both_at_once(data):
    net = make_net()
    whole, after = train_trial(segment([net], 0, 2), start([net]), data)
    first, state = train_trial(segment([net], 0, 1), start([net]), data)
    second, then = train_trial(segment([net], 1, 2), state, data)
    assert plain(first + second) == plain(whole)
    ends = [then[net.seed].parameters, after[net.seed].parameters]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def test_a_net_that_diverges_ends_its_trial(data):
    net = make_net()
    hot = replace(net, recipe=replace(net.recipe, lr=1e9))
    with pytest.raises(Diverged):
        train_trial(segment([hot], 0, 2), start([hot]), data)
