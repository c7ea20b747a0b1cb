"""`[similarity]` of `sweep.toml`: which measures compare the nets, and on what."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from espalier.orchestrator.config.sections import Section, listed, one_of
from espalier.tasks.measures.known_measures import MEASURES


def _measure(value: object) -> object:
    return one_of(value, MEASURES)


def _measures(value: object) -> object:
    """`"all"` stands for every measure."""
    return MEASURES if value == "all" else listed(value)


def _mapped(value: object) -> object:
    """`"all"` stands for every one of `measures`, as nothing does."""
    return () if value == "all" else listed(value)


class SimilarityConfig(Section):
    """`[similarity]`: measures of two nets' layers without a fit (docs/method.md); none by default."""

    measures: Annotated[
        tuple[Annotated[str, BeforeValidator(_measure)], ...], BeforeValidator(_measures)
    ] = ()
    images: Annotated[int, Field(ge=4, le=2000)] = 1000
    permutations: Annotated[int, Field(ge=19, le=9999)] = 999
    epochs: Literal["same", "all"] = "same"
    map_measures: Annotated[
        tuple[Annotated[str, BeforeValidator(_measure)], ...], BeforeValidator(_mapped)
    ] = ()
    widths: Literal["same", "widest"] = "same"

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name, measures in (("measures", self.measures), ("map_measures", self.map_measures)):
            if len(set(measures)) != len(measures):
                raise ValueError(f"{name} has repeats: {list(measures)}")
        return self

    @model_validator(mode="after")
    def _of_measures(self) -> Self:
        others = [name for name in self.map_measures if name not in self.measures]
        if others:
            raise ValueError(
                f"map_measures has '{others[0]}', which is not among measures: add it there, or name some of "
                f"{list(self.measures)}"
            )
        if self.map_measures and self.epochs == "same":
            raise ValueError(
                f"map_measures is {list(self.map_measures)}, but epochs = 'same' makes no map of training: "
                "add epochs = 'all', or leave it out"
            )
        return self

    def measures_between(self, one: int, other: int) -> tuple[str, ...]:
        """The measures of two nets at two epochs."""
        mapped = [name for name in self.measures if name in self.map_measures or not self.map_measures]
        return self.measures if one == other else tuple(mapped)
