"""Which studies a sweep asks for, and what they chose: pure functions of the config and of rows.

A study belongs to a setting at a width, or to several of them where `tune.per` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from espalier.orchestrator.config.sections import TuneConfig
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.config.tune_space import Parameters, is_whole
from espalier.orchestrator.planning.identity import content_key, net_key
from espalier.orchestrator.planning.nets import Choices, nets_of, used
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import NetSpec
from espalier.tasks.tables.axes import setting_axes

COUNTED = ("complete", "pruned", "diverged", "refused")
"""States of trials that count: what was lost, or failed for no reason of its own, is asked again."""


@dataclass(frozen=True)
class Study:
    """One search for a recipe.

    Attributes:
        key: Content key of all that shapes it; the number of trials does not.
        config: The setting, whose recipe has the length of a trial.
        width: The width at which it is tuned.
        facts: Shape and numbers of the images of the whole data set.
    """

    key: str
    config: SweepConfig
    width: int
    facts: DataFacts

    @property
    def tune(self) -> TuneConfig:
        """How it is tuned."""
        return self.config.tune

    @property
    def name(self) -> str:
        """Its name in Optuna's storage."""
        return f"width-{self.width}-{self.key[:10]}"

    @property
    def epochs(self) -> int:
        """Epochs of a trial that is not pruned."""
        return self.config.train.epochs

    @property
    def net(self) -> NetSpec:
        """A net of its setting and width before anything is tuned."""
        return self.nets({})[0]

    def nets(self, parameters: Parameters) -> list[NetSpec]:
        """The nets of a trial, one a seed.

        Raises:
            ValueError: The parameters do not go together.
        """
        return nets_of(self.config, self.facts, self.width, self.tune.seeds, parameters)

    def axes(self) -> dict[str, Any]:
        """Columns that say in the tables what is tuned."""
        return {"study": self.key, "width": self.width, **setting_axes(self.net)}


def assignments(config: SweepConfig, facts: DataFacts) -> dict[tuple[int, int], Study]:
    """The study of each setting (its number, from 0) and width; none without `tune.space`.

    Without `width` in `tune.per` all widths follow the study at the least one, without `setting` all settings
    that of the first.

    Raises:
        ConfigError: The objective or the held-back share does not suit the images.
    """
    if not config.tune.space:
        return {}
    refuse_unsuited(config, used(config, facts))
    found: dict[tuple[int, int], Study] = {}
    settings = config.settings()
    for number in range(len(settings)):
        for width in config.sweep.widths:
            at = width if "width" in config.tune.per else min(config.sweep.widths)
            of = number if "setting" in config.tune.per else 0
            found[number, width] = found.get((of, at)) or _study(settings[of], facts, at)
    return found


def refuse_unsuited(config: SweepConfig, facts: DataFacts) -> None:
    """Raise ConfigError if no image judges a trial or is left to learn from, or there is no accuracy."""
    tune = config.tune
    held = round(tune.validation * facts.train)
    if not 0 < held < facts.train:
        raise ConfigError(
            f"tune.validation: {tune.validation:g} of {facts.train} training images holds back {held} and "
            f"trains on {facts.train - held}: both need some, so use more images or another share"
        )
    if facts.regression and tune.objective == "accuracy":
        raise ConfigError(f"tune.objective is 'accuracy', but {facts.name} is a regression: use 'loss'")


def _study(config: SweepConfig, facts: DataFacts, width: int) -> Study:
    tune = config.tune
    one = config.model_copy(
        update={"train": config.train.model_copy(update={"epochs": tune.epochs or config.train.epochs})}
    )
    study = Study("", one, width, facts)
    shape = tune.model_dump(mode="json", exclude={"trials", "per", "storage", "epochs"})
    key = content_key("study", {**shape, "epochs": study.epochs}, [net_key(study.net)])
    return replace(study, key=key)


def wanted_studies(config: SweepConfig, facts: DataFacts) -> list[Study]:
    """Each study once, in the order of the settings and widths."""
    return list({study.key: study for study in assignments(config, facts).values()}.values())


def choices(config: SweepConfig, facts: DataFacts, tuned: Mapping[str, Parameters]) -> Choices:
    """What was chosen for each setting and width; those whose study is not finished are left out."""
    found = assignments(config, facts)
    return {place: tuned[study.key] for place, study in found.items() if study.key in tuned}


def chosen(study: Study, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The best complete trial among rows of table `trials`, the earlier of equals; None if there is none."""
    sign = 1.0 if study.tune.objective == "loss" else -1.0
    done = [row for row in rows if row["study"] == study.key and row["state"] == "complete"]
    return min(done, key=lambda row: (sign * row["value"], row["number"]), default=None)


def tuned_row(study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The study's row of table `tuned`, or None if no trial was completed."""
    best = chosen(study, rows)
    if best is None:
        return None
    return study.axes() | {
        "number": best["number"],
        "parameters": best["parameters"],
        "objective": study.tune.objective,
        "value": best["value"],
        "trials": counted(study, rows),
    }


def counted(study: Study, rows: Iterable[Mapping[str, Any]]) -> int:
    """How many trials of a study are done."""
    return sum(row["study"] == study.key and row["state"] in COUNTED for row in rows)


def parameters_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of `trials` or `tuned` says was tried."""
    return json.loads(row["parameters"])


def plain(name: str, value: Any) -> Any:
    """A value as `[train]` takes it: whole numbers of whole fields."""
    return int(value) if is_whole(name) and isinstance(value, float) else value
