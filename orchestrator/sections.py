"""The sections of `sweep.toml`, every field checked (docs/sweep.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tasks.spec import NULLS, STATISTICS


class Section(BaseModel):
    """Frozen, strict; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _listed(value: object) -> object:
    """Lists as tuples, since TOML knows lists alone."""
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def _number(value: object) -> object:
    """Whole numbers as reals, since TOML tells 1 from 1.0."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _counted(value: object) -> object:
    """`seeds = 4` for the seeds 0, 1, 2, 3."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return tuple(range(value))
    return _listed(value)


Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Share = Annotated[Real, Field(ge=0, le=1)]


class DataConfig(Section):
    """`[data]`: which images (docs/data.md)."""

    dataset: str = "digits"
    limit_train: Positive | None = None
    limit_test: Positive | None = None


FAMILIES: dict[str, dict[str, object]] = {
    "conv": {
        "layers": (1, 1, "pool", 2, 2, "pool"),
        "batch_norm": False,
        "dropout": 0.0,
        "activation": "relu",
    },
    "vgg16": {"batch_norm": False, "dropout": 0.5},
    "vgg19": {"batch_norm": False, "dropout": 0.5},
    "resnet18": {},
    "resnet20": {},
    "dense": {"layers": (1, 1, 1), "dropout": 0.0, "activation": "tanh"},
}
"""For each family the fields that it has, with their defaults."""

_FIXED: dict[str, dict[str, object]] = {
    "vgg16": {"layers": (), "activation": "relu"},
    "vgg19": {"layers": (), "activation": "relu"},
    "resnet18": {"layers": (), "batch_norm": True, "dropout": 0.0, "activation": "relu"},
    "resnet20": {"layers": (), "batch_norm": True, "dropout": 0.0, "activation": "relu"},
    "dense": {"batch_norm": False},
}
"""What the other fields are, of families that do not have them."""


class NetworkConfig(Section):
    """`[network]`: a family and what of it is free; a field's default is its family's (docs/sweep.md)."""

    family: Literal["conv", "vgg16", "vgg19", "resnet18", "resnet20", "dense"] = "conv"
    layers: Annotated[tuple[Positive | Literal["pool"], ...], BeforeValidator(_listed)] = (
        1, 1, "pool", 2, 2, "pool",
    )  # fmt: skip
    batch_norm: bool = False
    dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    activation: Literal["relu", "tanh"] = "relu"
    parametrization: Literal["sp"] = "sp"
    init: Literal["he_normal", "uniform"] = "he_normal"

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = cast("dict[str, object]", values)
        family = str(given.get("family", "conv"))
        return _FIXED.get(family, {}) | FAMILIES.get(family, {}) | given

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        for name, value in _FIXED.get(self.family, {}).items():
            if getattr(self, name) != value:
                having = [family for family, fields in FAMILIES.items() if name in fields]
                raise ValueError(
                    f"{name} is no field of family '{self.family}', found {getattr(self, name)!r}: leave it "
                    f"out, or use a family that has it ({', '.join(having)})"
                )
        if self.family == "dense" and "pool" in self.layers:
            raise ValueError(f"layers of family 'dense' are width multiples alone, found {list(self.layers)}")
        return self


class TrainConfig(Section):
    """`[train]`: the recipe, and the epochs whose snapshots are kept."""

    epochs: Positive = 20
    snapshots: Annotated[tuple[Natural, ...], BeforeValidator(_listed)] = (0, 1, 2, 5, 10, 20)
    lr: Annotated[Real, Field(gt=0)] = 0.05
    momentum: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    batch_size: Positive = 64
    schedule: Literal["constant", "multi_step", "cosine"] = "cosine"
    milestones: Annotated[tuple[Positive, ...], BeforeValidator(_listed)] = ()
    gamma: Annotated[Real, Field(gt=0, le=1)] = 0.2
    warmup_epochs: Annotated[Real, Field(ge=0)] = 1.0
    regularizer: Literal["l2", "none"] = "l2"
    reg_weight: Annotated[Real, Field(ge=0)] = 5e-4
    data_order: Literal["shared", "independent"] = "independent"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.snapshots:
            raise ValueError("snapshots is empty: list the epochs to keep, such as [0, 1, 5, 20]")
        if list(self.snapshots) != sorted(set(self.snapshots)):
            raise ValueError(f"snapshots must rise without repeats, found {list(self.snapshots)}")
        if self.snapshots[-1] > self.epochs:
            raise ValueError(f"snapshots goes to {self.snapshots[-1]}, but epochs is {self.epochs}")
        if (self.schedule == "multi_step") != bool(self.milestones):
            raise ValueError("milestones belong to schedule = 'multi_step', and it needs some")
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise ValueError(f"milestones goes to {self.milestones[-1]}, but epochs is {self.epochs}")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must rise without repeats, found {list(self.milestones)}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs a momentum above 0")
        return self


Values = Annotated[tuple[Any, ...], BeforeValidator(_listed), Field(min_length=1)]


def _dotted(value: object) -> object:
    """`{"train": {"lr": x}}`, which TOML makes of an unquoted `train.lr = x`, as `{"train.lr": x}`."""
    if not isinstance(value, dict):
        return value
    flat: dict[str, object] = {}
    for place, inner in cast("dict[str, object]", value).items():
        fields = cast("dict[str, object]", inner) if isinstance(inner, dict) else None
        flat |= {place: inner} if fields is None else {f"{place}.{name}": one for name, one in fields.items()}
    return flat


Fields = Annotated[dict[str, Any], BeforeValidator(_dotted)]


class SweepAxes(Section):
    """`[sweep]`: the axes that are crossed. `seeds = 4` stands for [0, 1, 2, 3].

    `cross` has lists of values by field, such as `"train.reg_weight"`, of which every combination is a
    setting; `settings` lists combinations one by one. Both together give every listed one with every crossed.
    """

    widths: Annotated[tuple[Positive, ...], BeforeValidator(_listed), Field(min_length=1)] = (4, 8, 16, 32)
    seeds: Annotated[tuple[Natural, ...], BeforeValidator(_counted)] = (0, 1, 2, 3)
    cross: Annotated[dict[str, Values], BeforeValidator(_dotted)] = {}
    settings: Annotated[tuple[Fields, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.seeds) < 2:
            raise ValueError(
                f"seeds is {list(self.seeds)}: grafts pair differently seeded nets, so give 2 or more"
            )
        for name, values in (("widths", self.widths), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} has repeats: {list(values)}")
        for name, values in self.cross.items():
            if any(value in values[:place] for place, value in enumerate(values)):
                raise ValueError(f"cross.'{name}' has repeats: {list(values)}")
            if any(name in one for one in self.settings):
                raise ValueError(
                    f"'{name}' is in sweep.cross and in sweep.settings: a setting can have one value of it"
                )
        return self


class GraftConfig(Section):
    """`[graft]`: which pairs, nulls, methods, BN statistics, ridge, type of products (docs/method.md)."""

    pairings: Annotated[
        tuple[Literal["same_width", "cross_width", "cross_epoch", "cross_setting", "skip"], ...],
        BeforeValidator(_listed),
        Field(min_length=1),
    ] = ("same_width",)
    skips: Annotated[tuple[Positive, ...], BeforeValidator(_listed), Field(min_length=1)] = (1,)

    nulls: Annotated[
        tuple[Literal["self", "untrained", "shuffled_images", "permuted", "pooled", "wider_subset"], ...],
        BeforeValidator(_listed),
    ] = NULLS
    pool_nets: Annotated[int, Field(ge=2)] = 2
    partitions: Annotated[int, Field(ge=9)] = 19
    pool_ridge: Annotated[Real, Field(ge=0)] | None = None
    ridge: Annotated[Real, Field(ge=0)] = 0.0
    products: Literal["float32", "float64"] = "float32"
    methods: Annotated[
        tuple[Literal["exact", "stitch", "adam"], ...], BeforeValidator(_listed), Field(min_length=1)
    ] = ("exact",)
    ridges: Annotated[tuple[Annotated[Real, Field(ge=0)], ...], BeforeValidator(_listed)] = ()
    validation: Annotated[Real, Field(gt=0, lt=1)] = 0.2
    adam_lr: Annotated[Real, Field(gt=0)] = 1e-3
    adam_epochs: Positive = 6
    adam_batches: Positive = 780
    bn: Annotated[
        tuple[Literal["target", "reestimated"], ...], BeforeValidator(_listed), Field(min_length=1)
    ] = STATISTICS

    @model_validator(mode="after")
    def _one_way_to_a_ridge(self) -> Self:
        if self.ridges and self.ridge:
            raise ValueError(
                f"ridge is {self.ridge:g} and ridges is {list(self.ridges)}: give one of the two, a ridge or "
                "the ridges to choose from"
            )
        if list(self.ridges) != sorted(set(self.ridges)):
            raise ValueError(f"ridges must rise without repeats, found {list(self.ridges)}")
        if self.ridges and self.methods == ("adam",):
            raise ValueError("ridges is of no use to methods = ['adam']: leave it out, or add 'exact'")
        return self


class HybridsConfig(Section):
    """`[hybrids]`: nets with channels of two others (docs/method.md, section 2); none by default."""

    pairs: Natural = 0
    ridge: Annotated[Real, Field(ge=0)] | None = None
    shares: Annotated[tuple[Share, ...], BeforeValidator(_listed), Field(min_length=1)] = (
        0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
    )  # fmt: skip
    epochs: Annotated[tuple[Natural, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for name, values in (("shares", self.shares), ("epochs", self.epochs)):
            if list(values) != sorted(set(values)):
                raise ValueError(f"{name} must rise without repeats, found {list(values)}")
        return self


class RunConfig(Section):
    """`[run]`: where and how it runs. Nothing here changes a result or a key."""

    slots: Positive | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    gpus_per_slot: Annotated[Real, Field(gt=0)] = 1.0
    memory_gib: Annotated[Real, Field(gt=0)] | None = None
    attempts: Positive = 3
