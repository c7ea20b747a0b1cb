"""The sections of `sweep.toml`, every field checked (docs/sweep.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from espalier.orchestrator.config.size_limits import refuse_many_seeds
from espalier.tasks.grafting.nulls.known_nulls import DEFAULT_NULLS, NULLS
from espalier.tasks.spec import (
    CORRECTIONS,
    MATCHINGS,
    POOL_NULLS,
    STATISTICS,
    Correction,
    Kernels,
    Matching,
    Pairing,
)


class Section(BaseModel):
    """Frozen, strict; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def listed(value: object) -> object:
    """Lists as tuples, since TOML knows lists alone."""
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def one_of(value: object, names: Iterable[str]) -> object:
    """`value`, if it is one of the `names`, which may become more at run time: a `Literal` cannot.

    Raises:
        PydanticKnownError: It is none of them; the message is that of a `Literal`.
    """
    known = list(names)
    if value not in known:
        *most, last = map(repr, known)
        raise PydanticKnownError("literal_error", {"expected": f"{', '.join(most)} or {last}"})
    return value


def _number(value: object) -> object:
    """Whole numbers as reals, since TOML tells 1 from 1.0."""
    try:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    except OverflowError:
        raise ValueError("a whole number of so many digits is no real number") from None


def _counted(value: object) -> object:
    """`seeds = 4` for the seeds 0, 1, 2, 3."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        refuse_many_seeds(value)
        return tuple(range(value))
    return listed(value)


def refuse_falling(**fields: Sequence[float]) -> None:
    """Refuse lists that do not rise, or that have a value twice.

    Raises:
        ValueError: Names the field.
    """
    for name, values in fields.items():
        if list(values) != sorted(set(values)):
            raise ValueError(f"{name} must rise without repeats, found {list(values)}")


Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1, le=10**12)]
Natural = Annotated[int, Field(ge=0, le=10**12)]
Share = Annotated[Real, Field(ge=0, le=1)]


class DataConfig(Section):
    """`[data]`: which images (docs/data.md)."""

    dataset: str = "digits"
    limit_train: Positive | None = None
    limit_test: Positive | None = None


Values = Annotated[tuple[Any, ...], BeforeValidator(listed), Field(min_length=1)]


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
    `measures` are names of registered measures to make of the sweep's nets.
    """

    widths: Annotated[tuple[Positive, ...], BeforeValidator(listed), Field(min_length=1)] = (4, 8, 16, 32)
    seeds: Annotated[tuple[Natural, ...], BeforeValidator(_counted)] = (0, 1, 2, 3)
    cross: Annotated[dict[str, Values], BeforeValidator(_dotted)] = {}
    settings: Annotated[tuple[Fields, ...], BeforeValidator(listed)] = ()
    measures: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()

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


def _null(value: object) -> object:
    return one_of(value, (*NULLS, *POOL_NULLS))


def _partners(value: object) -> object:
    """One fault where a union would tell two."""
    if value != "all" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise PydanticCustomError("partners", "give 'all', or a number of 1 or more")
    return value


class GraftConfig(Section):
    """`[graft]`: which pairs, nulls, methods, BN statistics, ridge, type of products (docs/method.md)."""

    pairings: Annotated[
        tuple[Pairing, ...],
        BeforeValidator(listed),
        Field(min_length=1),
    ] = ("same_width",)
    skips: Annotated[tuple[Positive, ...], BeforeValidator(listed), Field(min_length=1)] = (1,)
    partners: Annotated[Literal["all"] | int, BeforeValidator(_partners)] = "all"
    partners_seed: Natural = 0

    nulls: Annotated[tuple[Annotated[str, BeforeValidator(_null)], ...], BeforeValidator(listed)] = (
        DEFAULT_NULLS
    )
    null_epochs: Annotated[tuple[Natural, ...], BeforeValidator(listed)] = ()
    pool_nets: Annotated[int, Field(ge=2)] = 2
    partitions: Annotated[int, Field(ge=9, le=100_000)] = 19
    pool_ridge: Annotated[Real, Field(ge=0)] | None = None
    ridge: Annotated[Real, Field(ge=0)] = 0.0
    products: Literal["float32", "float64"] = "float32"
    methods: Annotated[
        tuple[Literal["exact", "stitch", "adam"], ...], BeforeValidator(listed), Field(min_length=1)
    ] = ("exact",)
    ridges: Annotated[tuple[Annotated[Real, Field(ge=0)], ...], BeforeValidator(listed)] = ()
    validation: Annotated[Real, Field(gt=0, lt=1)] = 0.2
    adam_lr: Annotated[Real, Field(gt=0)] = 1e-3
    adam_epochs: Positive = 6
    adam_batches: Positive = 780
    augment: Literal["none", "crop_flip"] = "none"
    error_blocks: bool = False
    bn: Annotated[
        tuple[Literal["target", "reestimated"], ...], BeforeValidator(listed), Field(min_length=1)
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

    @model_validator(mode="after")
    def _rising(self) -> Self:
        refuse_falling(null_epochs=self.null_epochs)
        return self

    def nulls_at(self, epoch: int) -> tuple[str, ...]:
        """The nulls of targets of an epoch."""
        return self.nulls if epoch in self.null_epochs or not self.null_epochs else ()


class HybridsConfig(Section):
    """`[hybrids]`: nets with channels of two others (docs/method.md, section 2); none by default."""

    pairs: Natural = 0
    ridge: Annotated[Real, Field(ge=0)] | None = None
    shares: Annotated[tuple[Share, ...], BeforeValidator(listed), Field(min_length=1)] = (
        0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
    )  # fmt: skip
    epochs: Annotated[tuple[Natural, ...], BeforeValidator(listed)] = ()

    @model_validator(mode="after")
    def _rising(self) -> Self:
        refuse_falling(shares=self.shares, epochs=self.epochs)
        return self


class BarriersConfig(Section):
    """`[barriers]`: the straight path between two nets (docs/method.md, section 2); none by default."""

    pairs: Natural = 0
    epochs: Annotated[tuple[Natural, ...], BeforeValidator(listed)] = ()
    matchings: Annotated[tuple[Matching, ...], BeforeValidator(listed), Field(min_length=1)] = MATCHINGS
    corrections: Annotated[tuple[Correction, ...], BeforeValidator(listed), Field(min_length=1)] = CORRECTIONS
    points: Annotated[int, Field(ge=3, le=1001)] = 25
    images: Annotated[int, Field(ge=4, le=10**12)] = 1000

    @model_validator(mode="after")
    def _rising(self) -> Self:
        refuse_falling(epochs=self.epochs)
        return self


class Dimension(Section):
    """One field of `tune.space`: a range, on a log scale or in steps where it says so, or `choices`."""

    low: Real | None = None
    high: Real | None = None
    log: bool = False
    step: Annotated[Real, Field(gt=0)] | None = None
    choices: Annotated[tuple[bool | int | float | str, ...], BeforeValidator(listed)] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ranged = self.low is not None or self.high is not None
        if ranged == bool(self.choices) or (ranged and (self.low is None or self.high is None)):
            raise ValueError("give low and high, or choices, such as {low = 1e-3, high = 1.0, log = true}")
        if self.choices and len(set(map(repr, self.choices))) < max(len(self.choices), 2):
            raise ValueError(f"choices must be two or more without repeats, found {list(self.choices)}")
        if self.choices and (self.log or self.step):
            raise ValueError("log and step belong to a range, with low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low must be below high, found low = {self.low:g}, high = {self.high:g}")
        if self.log and (self.low or 0.0) <= 0:
            raise ValueError(f"log = true needs a low above 0, found {self.low:g}")
        if self.log and self.step:
            raise ValueError("log and step exclude each other: leave one out")
        return self


def _places(value: object) -> object:
    """`{"train": {"lr": {}}}`, which TOML makes of an unquoted `train.lr = {}`, as `{"train.lr": {}}`."""
    if not isinstance(value, dict):
        return value
    flat: dict[str, object] = {}
    for place, inner in cast("dict[str, object]", value).items():
        fields = cast("dict[str, object]", inner) if isinstance(inner, dict) else {}
        nested = "." not in place and all(isinstance(one, dict) for one in fields.values())
        flat |= (
            {f"{place}.{name}": one for name, one in fields.items()} if nested and fields else {place: inner}
        )
    return flat


class TuneConfig(Section):
    """`[tune]`: a study for each width, whose best recipe the sweep's nets take; none without a space."""

    space: Annotated[dict[str, Dimension], BeforeValidator(_places)] = {}
    trials: Positive = 20
    per: Annotated[tuple[Literal["width", "setting"], ...], BeforeValidator(listed)] = ("width", "setting")
    objective: Literal["loss", "accuracy"] = "loss"
    validation: Annotated[Real, Field(gt=0, lt=1)] = 0.2
    validation_seed: Natural = 0
    epochs: Positive | None = None
    seeds: Annotated[tuple[Natural, ...], BeforeValidator(listed), Field(min_length=1)] = (1000,)
    sampler: Literal["tpe", "random", "cmaes"] = "tpe"
    sampler_seed: Natural = 0
    pruner: Literal["none", "median", "halving", "hyperband"] = "median"
    startup_trials: Natural = 5
    least_epochs: Positive = 1
    storage: str | None = None

    @field_validator("objective", mode="before")
    @classmethod
    def _never_the_test_set(cls, value: object) -> object:
        if isinstance(value, str) and "test" in value:
            raise ValueError(
                f"found {value!r}: what is chosen by test images can no longer be judged by them; 'loss' and "
                "'accuracy' are those of a part of the training images that is held back (tune.validation)"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, values in (("per", self.per), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} has repeats: {list(values)}")
        password = urlsplit(self.storage or "").password
        if password and not password.startswith("$"):
            raise ValueError(
                "storage has a password in it, which run.json and the report would show: put the name of an "
                "environment variable in its place, such as postgresql://me:$PASSWORD@host/studies"
            )
        return self


class TrackConfig(Section):
    """`[track]`: who else is told the nets' curves; nobody by default. Nothing here changes a result."""

    to: Annotated[tuple[Literal["tensorboard", "mlflow"], ...], BeforeValidator(listed)] = ()
    folder: str | None = None
    uri: str | None = None
    experiment: str | None = None


class RunConfig(Section):
    """`[run]`: where and how it runs. Nothing here changes a key; `kernels` changes results by rounding."""

    slots: Positive | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    gpus_per_slot: Annotated[Real, Field(gt=0)] | Literal["auto"] = 1.0
    memory_gib: Annotated[Real, Field(gt=0)] | None = None
    attempts: Positive = 3
    kernels: Kernels = "auto"
    blobs: Literal["auto", "driver"] = "auto"
