"""The nets of a sweep: the config and the facts about the data as plain specs."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.config import ConfigError, SweepConfig, TrainConfig
from tasks.architectures import Architecture, ArchitectureError, conv, conv_label
from tasks.images import DataFacts
from tasks.spec import DataSpec, NetSpec, Recipe, Schedule


def recipe(train: TrainConfig) -> Recipe:
    """The recipe of `[train]`. Fields that its schedule does not use are left out, so they change no key."""
    stepped = train.schedule == "multi_step"
    schedule = Schedule(
        kind=train.schedule,
        warmup_epochs=train.warmup_epochs,
        milestones=train.milestones,
        gamma=train.gamma if stepped else 1.0,
        epochs=train.epochs if train.schedule == "cosine" else None,
    )
    return Recipe(
        lr=train.lr,
        momentum=train.momentum,
        nesterov=train.nesterov,
        batch_size=train.batch_size,
        schedule=schedule,
        regularizer=train.regularizer,
        reg_weight=train.reg_weight if train.regularizer != "none" else 0.0,
    )


def architecture(config: SweepConfig, facts: DataFacts, width: int) -> Architecture:
    """The layer list at a width.

    Raises:
        ConfigError: The list makes no network on these images.
    """
    image = (facts.channels, facts.height, facts.width)
    try:
        return conv(config.network.layers, width, image, facts.classes)
    except ArchitectureError as error:
        raise ConfigError(f"network.layers: {error}") from None


def used(config: SweepConfig, facts: DataFacts) -> DataFacts:
    """The facts with the number of images that the limits leave.

    Raises:
        ConfigError: A limit is below the number of classes, so that some class would have no image.
    """
    for name in ("limit_train", "limit_test"):
        limit = getattr(config.data, name)
        if limit is not None and limit < facts.classes:
            raise ConfigError(f"data.{name}: found {limit}, but {facts.name} has {facts.classes} classes")
    train, test = (
        count if limit is None else min(count, limit)
        for count, limit in ((facts.train, config.data.limit_train), (facts.test, config.data.limit_test))
    )
    return replace(facts, train=train, test=test)


def nets(config: SweepConfig, facts: DataFacts) -> list[NetSpec]:
    """All nets of a sweep, widths in the config's order, seeds within."""
    data = DataSpec(
        facts.name,
        facts.content,
        _binding(config.data.limit_train, facts.train),
        _binding(config.data.limit_test, facts.test),
    )
    label, plan = conv_label(config.network.layers), recipe(config.train)
    shared = config.train.data_order == "shared"
    return [
        NetSpec(
            family=label,
            architecture=architecture(config, facts, width),
            width=width,
            parametrization=config.network.parametrization,
            init=config.network.init,
            recipe=plan,
            data=data,
            seed=seed,
            order=() if shared else (width, seed),
        )
        for width in config.sweep.widths
        for seed in config.sweep.seeds
    ]


def _binding(limit: int | None, images: int) -> int | None:
    """A limit that takes every image is no limit: the same images are to have the same key."""
    return None if limit is None or limit >= images else limit
