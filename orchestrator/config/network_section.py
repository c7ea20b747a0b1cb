"""`[network]` of `sweep.toml`: a family of networks, what of it is free, and its parametrization."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from espalier.orchestrator.config.sections import Positive, Real, Section, listed, one_of
from espalier.tasks.networks.families.known_families import FAMILIES, having


def _family(value: object) -> object:
    return one_of(value, FAMILIES)


class NetworkConfig(Section):
    """`[network]`: a family and what of it is free (docs/sweep.md).

    The defaults of `layers`, `batch_norm`, `dropout` and `activation` are those of the family.
    """

    family: Annotated[str, BeforeValidator(_family)] = "conv"
    layers: Annotated[tuple[Positive | Literal["pool"], ...], BeforeValidator(listed)] = ()
    batch_norm: bool = False
    dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    activation: Literal["relu", "tanh"] = "relu"
    parametrization: Literal["sp", "ntk", "mup", "mean_field"] = "sp"
    base_width: Positive = 8
    richness: Annotated[Real, Field(gt=0)] = 1.0
    init: Literal["he_normal", "uniform"] = "he_normal"

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = cast("dict[str, object]", values)
        family = FAMILIES.get(str(given.get("family", cls.model_fields["family"].default)))
        return {**family.fixed, **family.usual, **given} if family else values

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        family = FAMILIES[self.family]
        for name, value in family.fixed.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"{name} is no field of family '{self.family}', found {getattr(self, name)!r}: leave it "
                    f"out, or use a family that has it ({', '.join(having(name))})"
                )
        fault = family.fault(self)
        if fault:
            raise ValueError(fault)
        return self
