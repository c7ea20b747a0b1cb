"""What a recipe trains on: all training images, or fewer of some classes, or some with a wrong label.

Each draw has a random stream of its own, named by `Recipe.data_seed` alone, so it is the same for every net.
Held-out images stay as they are, and grafts are fitted on all training images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.seeds import stream
from espalier.tasks.spec import Recipe


class NothingKept(ValueError):
    """No training image is left; trying again with the same key would keep none either."""

    hopeless = True


def training_set(recipe: Recipe, data: Data) -> Data:
    """The data with the recipe's label noise, and with the images of each class that the recipe keeps.

    Raises:
        ValueError: `class_keep` has not one share for each class.
        NothingKept: It keeps no image.
    """
    if not recipe.class_keep and not recipe.label_noise:
        return data
    kept = kept_images(recipe, data.y_train)
    y_train = noisy_labels(recipe, data.y_train)
    return data._replace(
        x_train=data.x_train[kept] if recipe.class_keep else data.x_train, y_train=y_train[kept]
    )


def kept_images(recipe: Recipe, y_N: Tensor) -> Tensor:
    """Places of the images that are kept: each of class c with probability `class_keep[c]`.

    An image's number is drawn once, so that a smaller share keeps a part of what a larger one keeps.
    """
    if not recipe.class_keep:
        return torch.arange(len(y_N))
    shares = torch.tensor(recipe.class_keep, dtype=torch.float64)
    if int(y_N.max()) >= len(shares):
        raise ValueError(
            f"class_keep has {len(shares)} shares, but there are labels up to {int(y_N.max())}: give one each"
        )
    draws_N = torch.rand(len(y_N), dtype=torch.float64, generator=stream("class_keep", recipe.data_seed))
    kept = (draws_N < shares[y_N.cpu()]).nonzero().squeeze(1)
    if not len(kept):
        raise NothingKept(
            f"class_keep = {list(recipe.class_keep)} keeps none of {len(y_N)} training images: larger shares "
            "or another train.data_seed would do"
        )
    return kept.to(y_N.device)


def noisy_labels(recipe: Recipe, y_N: Tensor) -> Tensor:
    """The labels, of which a share `label_noise` (to the nearest image) is another class, each as likely.

    More noise changes the same labels and further ones.
    """
    count, classes = round(recipe.label_noise * len(y_N)), int(y_N.max()) + 1
    if not count:
        return y_N
    generator = stream("label_noise", recipe.data_seed)
    changed = torch.randperm(len(y_N), generator=generator)[:count].to(y_N.device)
    # One step for every image, whatever the share: the same image gets the same wrong label.
    steps_N = torch.randint(1, classes, (len(y_N),), generator=generator).to(y_N.device)
    noisy_N = y_N.clone()
    noisy_N[changed] = (y_N[changed] + steps_N[changed]) % classes
    return noisy_N
