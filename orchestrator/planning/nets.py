"""The nets of a sweep: the config and the facts about the data as plain specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from espalier.orchestrator.config.network_section import NetworkConfig
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.config.train_section import TrainConfig
from espalier.orchestrator.config.tune_space import PREFIX, Parameters, with_parameters
from espalier.orchestrator.planning.identity import net_key
from espalier.tasks.data.images import DataFacts
from espalier.tasks.networks.architectures import ArchitectureError, Shape
from espalier.tasks.networks.families.known_families import FAMILIES
from espalier.tasks.spec import Architecture, DataSpec, NetSpec, Recipe, Schedule, Tuning


def recipe(train: TrainConfig) -> Recipe:
    """The recipe of `[train]`. Fields that it does not use are left out, so they change no key."""
    stepped = train.schedule == "multi_step"
    schedule = Schedule(
        kind=train.schedule,
        warmup_epochs=train.warmup_epochs,
        milestones=train.milestones,
        gamma=train.gamma if stepped else 1.0,
        epochs=train.epochs if train.schedule == "cosine" else None,
    )
    plan = Recipe(
        lr=train.lr,
        momentum=train.momentum,
        nesterov=train.nesterov,
        batch_size=train.batch_size,
        schedule=schedule,
        regularizer=train.regularizer,
        reg_weight=train.reg_weight if train.regularizer != "none" else 0.0,
        precision=train.precision,
        augment=train.augment,
        class_keep=() if all(share == 1.0 for share in train.class_keep) else train.class_keep,
        label_noise=train.label_noise,
        reg_biases=train.reg_biases and train.regularizer == "l2",
    )
    if plan.class_keep or plan.label_noise:
        plan = replace(plan, data_seed=train.data_seed)
    if train.optimizer == "sgd":
        return plan
    adam = {name: getattr(train, name) for name in ("beta1", "beta2", "eps")}
    return replace(plan, optimizer=train.optimizer, momentum=0.0, nesterov=False, **adam)


def architecture(config: SweepConfig, facts: DataFacts, width: int) -> Architecture:
    """The layer list at a width.

    Raises:
        ConfigError: The list makes no network on these images.
    """
    image = (facts.channels, facts.height, facts.width)
    try:
        return build(config.network, width, image, facts.classes)
    except ArchitectureError as error:
        field = "layers" if "layers" in FAMILIES[config.network.family].usual else "family"
        raise ConfigError(f"network.{field}: {error}") from None


def build(network: NetworkConfig, width: int, image: Shape, outputs: int) -> Architecture:
    """The layer list of a family.

    Raises:
        ArchitectureError: It makes no network on these images.
    """
    return FAMILIES[network.family].build(network, width, image, outputs)


def label(network: NetworkConfig) -> str:
    """The tables' `architecture`: the family, its list without the width, and what is not its usual form.

    >>> label(NetworkConfig(layers=(1, "pool", 2), batch_norm=True))
    'conv-1-p-2-bn'
    >>> label(NetworkConfig(family="vgg16"))
    'vgg16'
    """
    usual = FAMILIES[network.family].usual
    parts = [network.family, *("p" if entry == "pool" else str(entry) for entry in network.layers)]
    if network.batch_norm and "batch_norm" in usual:
        parts.append("bn")
    if network.dropout != usual.get("dropout", 0.0):
        parts.append(f"drop{network.dropout:g}")
    if network.activation != "relu":
        parts.append(network.activation)
    return "-".join(parts)


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


Choices = Mapping[tuple[int, int], Parameters]
"""What studies chose, by the number of the setting (from 0) and the width."""


def nets(config: SweepConfig, facts: DataFacts, chosen: Choices | None = None) -> list[NetSpec]:
    """All nets of a sweep, each once: settings and widths in the config's order, seeds within.

    Where `[tune]` asks for a study and nothing is chosen yet, a net has the recipe of `[train]`.
    """
    made = [
        net
        for number, one in enumerate(config.settings())
        for width in config.sweep.widths
        for net in nets_of(one, facts, width, config.sweep.seeds, (chosen or {}).get((number, width), {}))
    ]
    found: dict[str, NetSpec] = {}
    for net in made:  # by key, since what was tuned may make two settings one
        found.setdefault(net_key(net), net)
    return list(found.values())


def nets_of(
    config: SweepConfig, facts: DataFacts, width: int, seeds: Sequence[int], parameters: Parameters
) -> list[NetSpec]:
    """The nets of one setting at a width, with what was tuned of its recipe.

    Raises:
        ConfigError: A field of `[train]` is none for these images.
        ValueError: The tuned values do not go together.
    """
    layers = architecture(config, facts, width)
    network, loss = config.network, "mse" if facts.regression else "cross_entropy"
    base = replace(recipe(config.train), loss=loss)
    train = with_parameters(config.train, parameters) if parameters else config.train
    tuned = replace(recipe(train), loss=loss)
    _refuse_unfit(train, facts)
    _refuse_shifts(config.graft.augment, facts, "graft.augment")
    _refuse_small(train, used(config, facts), layers)
    names = tuple(sorted(place.removeprefix(PREFIX) for place in config.tune.space))
    made = NetSpec(
        family=label(network),
        architecture=layers,
        width=width,
        parametrization=network.parametrization,
        init=network.init,
        recipe=tuned,
        data=data_spec(config, facts),
        seed=0,
        order=(),
        base_width=network.base_width if network.parametrization in ("ntk", "mup") else 1,
        richness=network.richness if network.parametrization == "mean_field" else 1.0,
        tuning=Tuning(names, base) if names else None,
    )
    shared = config.train.data_order == "shared"
    return [replace(made, seed=seed, order=() if shared else (width, seed)) for seed in seeds]


def data_spec(config: SweepConfig, facts: DataFacts) -> DataSpec:
    """The images of a sweep; `facts` are of the whole data set."""
    return DataSpec(
        facts.name,
        facts.content,
        _binding(config.data.limit_train, facts.train),
        _binding(config.data.limit_test, facts.test),
    )


def _refuse_unfit(train: TrainConfig, facts: DataFacts) -> None:
    """Raise ConfigError where a field of `[train]` is none for these images."""
    _refuse_shifts(train.augment, facts, "train.augment")
    for name, default in (("class_keep", ()), ("label_noise", 0.0)):
        found = getattr(train, name)
        if facts.regression and found != default:
            raise ConfigError(
                f"train.{name}: found {found!r}, but {facts.name} is a regression, which has no classes: "
                f"leave train.{name} out"
            )
    if train.class_keep and sum(share > 0 for share in train.class_keep) < 2:
        raise ConfigError(
            f"train.class_keep: found {list(train.class_keep)}, which keeps fewer than two classes: nothing "
            "can be told apart; give two or more a share above 0"
        )
    if train.class_keep and len(train.class_keep) != facts.classes:
        raise ConfigError(
            f"train.class_keep: found {len(train.class_keep)} shares, but {facts.name} has {facts.classes} "
            "classes: give one share for each"
        )


def _refuse_shifts(augment: str, facts: DataFacts, field: str) -> None:
    """Raise ConfigError where numbers are to be cropped and flipped."""
    if facts.regression and augment != "none":
        raise ConfigError(
            f"{field}: found {augment!r}, but {facts.name} is a regression, which has no images to shift: "
            f"leave {field} out"
        )


def _refuse_small(train: TrainConfig, facts: DataFacts, layers: Architecture) -> None:
    """Raise ConfigError where BN would never see a batch of the size that is asked for."""
    if facts.train < train.batch_size and any(layer.batch_norm for layer in layers.layers):
        raise ConfigError(
            f"train.batch_size: found {train.batch_size}, but {facts.name} has {facts.train} training images "
            "in use, and batch normalisation measures whole batches: take a batch of as many or fewer"
        )


def _binding(limit: int | None, images: int) -> int | None:
    """A limit that takes every image is no limit: the same images are to have the same key."""
    return None if limit is None or limit >= images else limit
