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


class SimilarityConfig(Section):
    """`[similarity]`: measures of two nets' layers without a fit (docs/method.md); none by default."""

    measures: Annotated[
        tuple[Annotated[str, BeforeValidator(_measure)], ...], BeforeValidator(_measures)
    ] = ()
    images: Annotated[int, Field(ge=4, le=2000)] = 1000
    permutations: Annotated[int, Field(ge=19, le=9999)] = 999
    epochs: Literal["same", "all"] = "same"
    widths: Literal["same", "widest"] = "same"

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.measures)) != len(self.measures):
            raise ValueError(f"measures has repeats: {list(self.measures)}")
        return self
