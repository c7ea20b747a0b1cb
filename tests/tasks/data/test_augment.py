"""Crops and flips against slices by hand; label noise and class imbalance by their counts."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.data.augment import BORDER, Draws, crop_flip, draws, training_batch
from espalier.tasks.data.tensors import Data
from espalier.tasks.data.training_set import NothingKept, training_set
from espalier.tasks.spec import TrainSegment
from espalier.tasks.training.train import initial_state, train
from tests.tasks.conftest import make_data, make_net, make_snapshot


def with_recipe(net, **changes):
    return replace(net, recipe=replace(net.recipe, **changes))


def test_every_crop_is_a_slice_of_the_bordered_image_mirrored_where_drawn():
    x = torch.randn(81 * 2, 3, 6, 5, generator=torch.Generator().manual_seed(1))
    places = torch.cartesian_prod(torch.arange(9), torch.arange(9), torch.arange(2))
    found = crop_flip(x, Draws(places[:, 0], places[:, 1], places[:, 2] == 1))
    bordered = F.pad(x, (BORDER,) * 4)
    for image, (row, column, flip) in enumerate(places.tolist()):
        crop = bordered[image, :, row : row + 6, column : column + 5]
        assert torch.equal(found[image], crop.flip(-1) if flip else crop)
    assert found.is_contiguous()


def test_draws_have_every_place_and_flip_half_of_the_images():
    net = with_recipe(make_net(), augment="crop_flip")
    drawn = draws(net, 1, 9000)
    for values in (drawn.row_N, drawn.column_N):
        counts = values.bincount(minlength=9)
        assert len(counts) == 9
        assert (counts - 1000).abs().max() < 5 * 1000**0.5  # binomial counts, 5 deviations
    assert abs(drawn.flip_N.double().mean().item() - 0.5) < 5 * 0.5 / 9000**0.5


def test_draws_are_named_by_the_order_and_the_epoch():
    def row(net, epoch=1):
        return draws(with_recipe(net, augment="crop_flip"), epoch, 200).row_N

    shared, own = replace(make_net(seed=1), order=()), make_net(seed=1)
    assert torch.equal(row(shared), row(replace(make_net(seed=2, width=4), order=())))
    assert torch.equal(row(own), row(own))
    others = [row(own), row(make_net(seed=2)), row(own, epoch=2)]
    assert all(not torch.equal(row(shared), other) for other in others)
    assert draws(own, 1, 200) is None


def test_an_image_goes_through_the_same_in_whatever_batch_it_is():
    net = with_recipe(make_net(), augment="crop_flip")
    x = make_data().x_train
    drawn = draws(net, 1, len(x))
    whole = training_batch(x, torch.arange(len(x)), drawn)
    batch = torch.tensor([7, 3, 90])
    assert torch.equal(training_batch(x, batch, drawn), whole[batch])
    assert torch.equal(training_batch(x, batch, None), x[batch])


def many(images=5000, classes=5):
    y = torch.randint(classes, (images,), generator=torch.Generator().manual_seed(2))
    x = torch.arange(images, dtype=torch.float32).reshape(-1, 1, 1, 1)
    return Data(x, y, x[:10], y[:10])


def noise(share, **more):
    return with_recipe(make_net(), label_noise=share, **more).recipe


def test_label_noise_changes_its_share_of_the_labels_to_the_other_classes_alike():
    data = many()
    noisy = training_set(noise(0.2), data)
    changed = noisy.y_train != data.y_train
    assert int(changed.sum()) == 1000
    assert torch.equal(noisy.x_train, data.x_train)
    steps = ((noisy.y_train - data.y_train) % 5)[changed].bincount(minlength=5)
    assert steps[0] == 0
    assert (steps[1:] - 250).abs().max() < 5 * 250**0.5
    assert torch.equal(noisy.y_test, data.y_test)


def test_more_noise_changes_the_same_labels_and_more_and_another_seed_others():
    data = many()
    little, much = (training_set(noise(share), data).y_train for share in (0.1, 0.4))
    changed = little != data.y_train
    assert torch.equal(much[changed], little[changed])
    other = training_set(noise(0.1, data_seed=1), data).y_train
    assert not torch.equal(other, little)
    assert training_set(noise(0.0), data) is data


def test_each_class_keeps_its_share_of_images_and_a_smaller_share_a_part_of_them():
    data = many()
    shares = (1.0, 0.5, 0.1, 0.0, 1.0)
    kept = training_set(with_recipe(make_net(), class_keep=shares).recipe, data)
    before, after = (y.bincount(minlength=5).tolist() for y in (data.y_train, kept.y_train))
    for share, was, now in zip(shares, before, after, strict=True):
        assert abs(now - share * was) <= 5 * (share * (1 - share) * was) ** 0.5
    assert torch.equal(data.y_train[kept.x_train.flatten().long()], kept.y_train)
    fewer = training_set(with_recipe(make_net(), class_keep=(1.0, 0.2, 0.1, 0.0, 1.0)).recipe, data)
    assert set(fewer.x_train.flatten().tolist()) < set(kept.x_train.flatten().tolist())


def test_imbalance_and_noise_go_together():
    data = many()
    both = training_set(noise(0.2, class_keep=(0.5,) * 5), data)
    noisy = training_set(noise(0.2), data)
    assert torch.equal(both.y_train, noisy.y_train[both.x_train.flatten().long()])


@pytest.mark.parametrize(
    ("shares", "words"),
    [((1.0, 1.0), "2 shares, but there are labels up to 4"), ((0.0,) * 5, "keeps none of 5000")],
)
def test_shares_that_fit_no_data_are_refused(shares, words):
    with pytest.raises(ValueError, match=words):
        training_set(with_recipe(make_net(), class_keep=shares).recipe, many())


def test_a_recipe_that_keeps_no_image_is_not_tried_again():
    with pytest.raises(NothingKept) as raised:
        training_set(with_recipe(make_net(), class_keep=(0.0,) * 5).recipe, many())
    assert raised.value.hopeless


def test_a_net_is_trained_on_what_its_recipe_leaves_and_judged_on_all_held_out_images(data):
    recipe = {"class_keep": (1.0, 1.0, 1.0, 0.0, 0.0), "augment": "crop_flip"}
    net = with_recipe(make_net(), **recipe)
    trained = train(TrainSegment(make_snapshot(net, 8), None, False), initial_state(net), data)
    answers = trained.network.logits(data.x_test).argmax(1)
    assert set(answers.tolist()) <= {0, 1, 2}
    assert trained.net_row["accuracy_test"] == (answers == data.y_test).double().mean().item()
