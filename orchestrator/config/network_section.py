"""`[network]` of `sweep.toml`: a family of networks, what of it is free, and its parametrization."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from espalier.orchestrator.config.sections import Positive, Real, Section, listed

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
    layers: Annotated[tuple[Positive | Literal["pool"], ...], BeforeValidator(listed)] = (
        1, 1, "pool", 2, 2, "pool",
    )  # fmt: skip
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
