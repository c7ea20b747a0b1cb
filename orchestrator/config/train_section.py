"""`[train]` of `sweep.toml`: the recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from espalier.orchestrator.config.presets import filled
from espalier.orchestrator.config.sections import Natural, Positive, Real, Section, Share, listed


class TrainConfig(Section):
    """`[train]`: the recipe, and the epochs whose snapshots are kept."""

    preset: Literal["none", "gu2020", "gu2020-synthetic"] = "none"
    epochs: Positive = 20
    snapshots: Annotated[tuple[Natural, ...], BeforeValidator(listed)] = (0, 1, 2, 5, 10, 20)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[Real, Field(gt=0)] = 0.05
    momentum: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    beta1: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[Real, Field(ge=0, lt=1)] = 0.999
    eps: Annotated[Real, Field(gt=0)] = 1e-8
    batch_size: Positive = 64
    schedule: Literal["constant", "multi_step", "cosine"] = "cosine"
    milestones: Annotated[tuple[Positive, ...], BeforeValidator(listed)] = ()
    gamma: Annotated[Real, Field(gt=0, le=1)] = 0.2
    warmup_epochs: Annotated[Real, Field(ge=0)] = 1.0
    regularizer: Literal["l2", "l12", "none"] = "l2"
    reg_weight: Annotated[Real, Field(ge=0)] = 5e-4
    reg_biases: bool = False
    data_order: Literal["shared", "independent"] = "independent"
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    augment: Literal["none", "crop_flip"] = "none"
    class_keep: Annotated[tuple[Share, ...], BeforeValidator(listed)] = ()
    label_noise: Share = 0.0
    data_seed: Natural = 0

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        return filled(cast("dict[str, Any]", values)) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.snapshots:
            raise ValueError("snapshots is empty: list the epochs to keep, such as [0, 1, 5, 20]")
        if list(self.snapshots) != sorted(set(self.snapshots)):
            raise ValueError(f"snapshots must rise without repeats, found {list(self.snapshots)}")
        if self.snapshots[-1] > self.epochs:
            raise ValueError(f"snapshots goes to {self.snapshots[-1]}, but epochs is {self.epochs}")
        return self

    @model_validator(mode="after")
    def _scheduled(self) -> Self:
        if (self.schedule == "multi_step") != bool(self.milestones):
            raise ValueError("milestones belong to schedule = 'multi_step', and it needs some")
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise ValueError(f"milestones goes to {self.milestones[-1]}, but epochs is {self.epochs}")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must rise without repeats, found {list(self.milestones)}")
        return self

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs a momentum above 0")
        if self.class_keep and not any(self.class_keep):
            raise ValueError(f"class_keep is {list(self.class_keep)}: no image would be kept")
        return self
