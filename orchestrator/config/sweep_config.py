"""What the user wants: `sweep.toml` as a frozen value, every field checked.

Unknown fields are refused. Every error names the field, what was found and what would do.
"""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Any, Self, cast

from pydantic import BaseModel, ValidationError, model_validator

from espalier.orchestrator.config.network_section import NetworkConfig
from espalier.orchestrator.config.presets import refuse_other_dropout, refuse_regularizer_without_weight
from espalier.orchestrator.config.sections import (
    BarriersConfig,
    DataConfig,
    Dimension,
    GraftConfig,
    HybridsConfig,
    RunConfig,
    Section,
    SweepAxes,
    TrackConfig,
    TuneConfig,
)
from espalier.orchestrator.config.similarity_section import SimilarityConfig
from espalier.orchestrator.config.size_limits import refuse_many_pairs, refuse_many_settings
from espalier.orchestrator.config.train_section import TrainConfig
from espalier.orchestrator.config.tune_space import space_fault
from espalier.orchestrator.templates import make_one
from espalier.tasks.plain_text import printable, shortened
from espalier.tasks.spec import POOL_NULLS


class ConfigError(ValueError):
    """A configuration that describes no sweep."""


CROSSED = {
    "network": sorted(set(NetworkConfig.model_fields) - {"family", "layers"}),
    "train": sorted(set(TrainConfig.model_fields) - {"preset", "epochs", "snapshots"}),
}
"""By section the fields that `[sweep.cross]` and `[[sweep.settings]]` may vary."""


class SweepConfig(Section):
    """A whole sweep; each section has defaults, so `SweepConfig()` is the demo's shape.

    Raises:
        ConfigError: From `parse` and `read`, with one line per fault.
    """

    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    sweep: SweepAxes = SweepAxes()
    graft: GraftConfig = GraftConfig()
    hybrids: HybridsConfig = HybridsConfig()
    similarity: SimilarityConfig = SimilarityConfig()
    barriers: BarriersConfig = BarriersConfig()
    tune: TuneConfig = TuneConfig()
    track: TrackConfig = TrackConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _can_be_planned(self) -> Self:
        axes = self.sweep
        refuse_many_settings([len(values) for values in axes.cross.values()], len(axes.settings) or 1)
        refuse_many_pairs(
            len(self.settings()),
            len(axes.widths),
            len(axes.seeds),
            len(self.train.snapshots),
            sum(len(self.graft.nulls_at(epoch)) for epoch in self.train.snapshots),
            self.graft.partners,
        )
        return self

    @model_validator(mode="after")
    def _can_be_tuned(self) -> Self:
        shared = sorted({*self.tune.seeds} & {*self.sweep.seeds}) if self.tune.space else []
        if shared:
            raise ValueError(
                f"tune.seeds and sweep.seeds share {shared}: a recipe would be chosen for the very nets that "
                "are compared, so give the trials seeds of their own, such as tune.seeds = [1000]"
            )
        for one in self.settings():
            fault = space_fault(self.tune.space, one.train)
            if fault:
                raise ValueError(fault)
        varied = {*self.sweep.cross}.union(*self.sweep.settings)
        both = [place for place in self.tune.space if place in varied]
        if both:
            raise ValueError(
                f"tune.space has '{both[0]}', which [sweep] varies: leave it out of one of the two"
            )
        return self

    @model_validator(mode="after")
    def _describes_settings(self) -> Self:
        for one in self.settings():
            refuse_other_dropout(one.train.preset, one.network.family, one.network.dropout)
        refuse_regularizer_without_weight(
            self.train.preset, [{*self.sweep.cross, *one} for one in self.sweep.settings or ({},)]
        )
        refuse_regularizer_without_weight(self.train.preset, [{*self.tune.space}])
        if "cross_setting" in self.graft.pairings and len(self.settings()) < 2:
            raise ValueError(
                "graft.pairings has 'cross_setting', but there is one setting: list several values of a "
                'field in [sweep.cross], such as "train.reg_weight" = [5e-4, 5e-3]'
            )
        if "cross_width" in self.graft.pairings and len(self.sweep.widths) < 2:
            raise ValueError("graft.pairings has 'cross_width', which needs 2 or more sweep.widths")
        partners, seeds = self.graft.partners, len(self.sweep.seeds)
        if partners != "all" and partners >= seeds:
            raise ValueError(
                f"graft.partners is {_short(partners)}, but a net of {seeds} seeds has {seeds - 1} others: "
                f"give a number up to {seeds - 1}, 'all' (both orders of every two nets), or more sweep.seeds"
            )
        missing = sorted(set(self.graft.null_epochs) - set(self.train.snapshots))
        if missing:
            raise ValueError(
                f"graft.null_epochs has {missing}, but train.snapshots is {list(self.train.snapshots)}: "
                "nulls are made at snapshots"
            )
        wanted = [null for null in POOL_NULLS if null in self.graft.nulls]
        if wanted and len(self.sweep.seeds) <= self.graft.pool_nets:
            raise ValueError(
                f"graft.nulls has '{wanted[0]}', which holds each net against {self.graft.pool_nets} others "
                f"(graft.pool_nets): give more sweep.seeds than that, found {list(self.sweep.seeds)}"
            )
        if "wider_subset" in wanted and len(self.sweep.widths) < 2:
            raise ValueError("graft.nulls has 'wider_subset', which needs 2 or more sweep.widths")
        return self

    def settings(self) -> list[SweepConfig]:
        """One config for each setting that `[sweep]` lists or crosses; this one if it names none.

        Raises:
            ValueError: A field that cannot be varied, or a value that it cannot have.
        """
        listed = self.sweep.settings or ({},)
        crossed = itertools.product(*self.sweep.cross.values())
        chosen = [
            one | dict(zip(self.sweep.cross, values, strict=True)) for values in crossed for one in listed
        ]
        return [self._with(fields) for fields in chosen] if any(chosen) else [self]

    def _with(self, fields: dict[str, Any]) -> SweepConfig:
        """This config with some dotted fields of its network and recipe replaced, and nothing to vary."""
        given = {"network": self.network.model_dump(), "train": self.train.model_dump()}
        for place, value in fields.items():
            section, _, name = place.partition(".")
            if name not in CROSSED.get(section, ()):
                known = [f"{section}.{name}" for section, names in CROSSED.items() for name in names]
                raise ValueError(f"sweep: '{place}' cannot be varied; these can: {', '.join(known)}")
            given[section][name] = value
        told = ", ".join(f"{place} = {value!r}" for place, value in fields.items())
        parts: dict[str, Any] = {}
        for section, kind in (("network", NetworkConfig), ("train", TrainConfig)):
            try:
                parts[section] = kind.model_validate(given[section])
            except ValidationError as error:
                raise ValueError(f"sweep, the setting {told}: {_first(error)}") from None
        axes = self.sweep.model_copy(update={"cross": {}, "settings": ()})
        return self.model_copy(update=parts | {"sweep": axes})

    @classmethod
    def parse(cls, values: dict[str, Any], source: str = "config") -> SweepConfig:
        """A config from plain values; `source` names it in errors."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{source} describes no sweep:\n{_faults(error)}") from None

    @classmethod
    def parse_toml(cls, data: bytes, source: str) -> SweepConfig:
        """The config in the bytes of a TOML file."""
        try:
            values = tomllib.loads(data.decode())
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{source} is not valid TOML: {error}") from None
        return cls.parse(values, source)

    @classmethod
    def read(cls, path: Path) -> SweepConfig:
        """The config in a TOML file."""
        try:
            return cls.parse_toml(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise ConfigError(make_one(str(path), str(path.parent))) from None


def _first(error: ValidationError) -> str:
    """The first fault in a section, in words."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    text = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: found {_short(fault['input'])}; {text[0].lower()}{text[1:]}" if place else text


MOST_FAULTS = 10
MOST_SHOWN, MOST_LINE = 200, 1000
"""Faults, and characters of a value and of a line, that an error shows."""

_BRANCHES = ("literal", "function", "constrained")
"""What pydantic puts into a place for the alternatives of a union."""


def _faults(error: ValidationError) -> str:
    """One line per fault, ten at most: field, what was found, what would do."""
    lines: list[str] = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"] if not str(part).startswith(_BRANCHES))
        if fault["type"] == "extra_forbidden":
            lines.append(f"  {place}: unknown field; {_known(fault['loc'])}")
        elif fault["type"] == "value_error":
            told = fault["msg"].removeprefix("Value error, ")
            lines.append(f"  {place}: {told}" if place else f"  {told}")
        else:
            lines.append(
                f"  {place}: found {_short(fault['input'])}; {fault['msg'][0].lower()}{fault['msg'][1:]}"
            )
    shown = list(dict.fromkeys(lines))
    more = [f"  and {len(shown) - MOST_FAULTS:,} more"] if len(shown) > MOST_FAULTS else []
    return "\n".join(shortened(printable(line), MOST_LINE) for line in [*shown[:MOST_FAULTS], *more])


def _short(value: object) -> str:
    """A value as it stands in the config, or its beginning."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"
    return shortened(text, MOST_SHOWN)


def _known(location: tuple[int | str, ...]) -> str:
    fields = SweepConfig.model_fields
    if location[:2] == ("tune", "space"):
        fields = Dimension.model_fields
    elif len(location) > 1:
        section = fields[str(location[0])].annotation
        fields = cast("type[BaseModel]", section).model_fields
    return f"known here: {', '.join(fields)}"
