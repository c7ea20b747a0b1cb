"""A study in Optuna and its rows: what to try next, and what became of it. Ask and tell are the driver's."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from espalier.orchestrator.config.sections import Dimension
from espalier.orchestrator.config.sweep_config import ConfigError
from espalier.orchestrator.config.tune_space import PREFIX, Parameters, is_whole
from espalier.orchestrator.planning.studies import Study, counted, parameters_of, plain

Row = dict[str, Any]
Commit = Callable[[Row, list[Row]], None]
"""Publishes a row of table `trials`, and those of its curves."""

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
"""How Optuna is told; all other states are failures to it."""
LOST = "the run that asked for it ended; asked again"


@dataclass(frozen=True)
class Asked:
    """A trial that Optuna asks for, with its number in our rows: Optuna's own begins anew with each study."""

    number: int
    parameters: Parameters
    trial: Trial


def distribution(name: str, dimension: Dimension) -> BaseDistribution:
    """A dimension of the space in Optuna's terms."""
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if is_whole(name):
        step = int(dimension.step or 1)
        return IntDistribution(int(low), int(high), dimension.log, step)
    return FloatDistribution(low, high, dimension.log, dimension.step)


def sampler(study: Study, trials: int) -> BaseSampler:
    """The sampler, seeded by how many trials there are too: a run that goes on must not draw them again."""
    text = f"{study.tune.sampler_seed}/{study.key}/{trials}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    startup = study.tune.startup_trials
    if study.tune.sampler == "random":
        return RandomSampler(seed)
    if study.tune.sampler == "tpe":
        return TPESampler(n_startup_trials=startup, seed=seed)
    try:
        import cmaes as _  # noqa: F401 - Optuna would say so at the first trial that needs it
    except ImportError as error:
        raise ConfigError(
            "tune.sampler is 'cmaes', which needs a package: pip install 'espalier[cmaes]'"
        ) from error
    return CmaEsSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False)


def pruner(study: Study) -> BasePruner:
    """The pruner; a trial's steps are its epochs."""
    tune = study.tune
    if tune.pruner == "median":
        return MedianPruner(n_startup_trials=tune.startup_trials, n_warmup_steps=tune.least_epochs)
    if tune.pruner == "halving":
        return SuccessiveHalvingPruner(min_resource=tune.least_epochs)
    if tune.pruner == "hyperband":
        return HyperbandPruner(tune.least_epochs, max_resource=max(study.epochs, tune.least_epochs))
    return NopPruner()


class Book:
    """A study: Optuna's and our rows of it, in step.

    Args:
        study: What is tuned.
        storage: Where Optuna keeps it.
        owner: The sweep's folder if the storage may serve others: only one may ask for a study's trials.
        rows: All rows of table `trials`.
        curves: All rows of table `trial_curves`.
        commit: Publishes a row; it comes before Optuna is told.
    """

    def __init__(
        self,
        study: Study,
        storage: BaseStorage,
        owner: str | None,
        rows: Iterable[Mapping[str, Any]],
        curves: Iterable[Mapping[str, Any]],
        commit: Commit,
    ) -> None:
        self.study, self._commit = study, commit
        self.rows = [dict(row) for row in rows if row["study"] == study.key]
        self._space = {
            place: distribution(place.removeprefix(PREFIX), dimension)
            for place, dimension in study.tune.space.items()
        }
        direction = "minimize" if study.tune.objective == "loss" else "maximize"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna.create_study(
            storage=storage,
            study_name=study.name,
            direction=direction,
            sampler=sampler(study, len(self.rows)),
            pruner=pruner(study),
            load_if_exists=True,
        )
        if owner:
            self._claim(owner)
        self._settle(_reported(study, curves))
        self._next = 1 + max((row["number"] for row in self.rows), default=-1)
        self.running = 0

    def _claim(self, owner: str) -> None:
        holder = self._optuna.user_attrs.get("folder", owner)
        if holder != owner:
            raise ConfigError(
                f"tune.storage: its study '{self.study.name}' is that of {holder}: give each sweep a storage "
                "of its own, or delete the study (`optuna delete-study`): this sweep's rows make it anew"
            )
        if "folder" not in self._optuna.user_attrs:
            self._optuna.set_user_attr("folder", owner)

    def _settle(self, reported: Mapping[int, Mapping[int, float]]) -> None:
        """Bring the two into step: the rows decide, and what nobody runs any more was lost."""
        known: set[int] = set()
        by_number = {row["number"]: row for row in self.rows}
        for trial in self._optuna.get_trials(deepcopy=False):
            number = trial.user_attrs.get("number")
            if number is None:  # asked for by others, or this instant when a run ended
                continue
            known.add(number)
            row = by_number.get(number)
            if row is None:
                self._record(trial, number)
            elif not trial.state.is_finished():
                self._tell(trial.number, row["state"], row["value"])
        for row in self.rows:
            if row["number"] not in known:
                self._optuna.add_trial(self._frozen(row, reported.get(row["number"], {})))

    def _record(self, trial: FrozenTrial, number: int) -> None:
        """A trial without a row: its run ended before there was one. It is asked again."""
        parameters = {
            place.removeprefix(PREFIX): plain(place.removeprefix(PREFIX), value)
            for place, value in trial.params.items()
        }
        finished = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "lost")
        epochs = len(trial.intermediate_values)
        value = trial.intermediate_values[trial.last_step] if trial.last_step is not None else None
        row = trial_row(self.study, number, parameters, state, value, epochs, None, "" if finished else LOST)
        self._commit(row, [])
        self.rows.append(row)
        if finished:
            return
        if not trial.state.is_finished():
            self._tell(trial.number, state, None)
        if trial.params.keys() == self._space.keys():
            self.again(parameters)

    def _frozen(self, row: Row, reported: Mapping[int, float]) -> FrozenTrial:
        """A row as a trial of Optuna."""
        state = STATES.get(row["state"], TrialState.FAIL)
        given = {PREFIX + name: value for name, value in parameters_of(row).items()}
        return create_trial(
            state=state,
            value=row["value"] if state != TrialState.FAIL else None,
            params=given,
            distributions={place: self._space[place] for place in given},
            user_attrs={"number": row["number"]},
            intermediate_values=dict(reported),
        )

    @property
    def done(self) -> int:
        """Trials that count."""
        return counted(self.study, self.rows)

    @property
    def open(self) -> int:
        """Trials to be asked for now."""
        return max(self.study.tune.trials - self.done - self.running, 0)

    def ask(self) -> Asked:
        """The next trial; those that were lost come first."""
        trial = self._optuna.ask(fixed_distributions=self._space)
        number, self._next = self._next, self._next + 1
        trial.set_user_attr("number", number)
        self.running += 1
        names = {place.removeprefix(PREFIX): value for place, value in trial.params.items()}
        return Asked(number, {name: plain(name, value) for name, value in names.items()}, trial)

    def report(self, asked: Asked, epoch: int, value: float) -> bool:
        """The objective after an epoch; true if the trial is to end there."""
        asked.trial.report(value, epoch)
        return asked.trial.should_prune()

    def end(self, asked: Asked, row: Row, curves: list[Row]) -> None:
        """A trial has ended, as its row says."""
        self._commit(row, curves)
        self.rows.append(row)
        self._tell(asked.trial.number, row["state"], row["value"])
        self.running -= 1

    def again(self, parameters: Parameters) -> None:
        """Ask for the same values as soon as may be."""
        self._optuna.enqueue_trial({PREFIX + name: value for name, value in parameters.items()})

    def _tell(self, number: int, state: str, value: float | None) -> None:
        """A value belongs to a complete trial alone: Optuna takes a pruned one's from what was reported."""
        told = STATES.get(state, TrialState.FAIL)
        values = value if told == TrialState.COMPLETE else None
        self._optuna.tell(number, values, state=told, skip_if_finished=True)


def _reported(study: Study, curves: Iterable[Mapping[str, Any]]) -> dict[int, dict[int, float]]:
    """By trial and epoch the objective, mean over seeds."""
    values: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in curves:
        if row["study"] == study.key:
            values[row["number"]][row["epoch"]].append(row[f"{study.tune.objective}_validation"])
    return {
        number: {epoch: fmean(some) for epoch, some in by_epoch.items()}
        for number, by_epoch in values.items()
    }


def trial_row(
    study: Study,
    number: int,
    parameters: Parameters,
    state: str,
    value: float | None,
    epochs: int,
    seconds: float | None,
    error: str,
    images: int | None = None,
) -> Row:
    """A row of table `trials`."""
    tune, recipe = study.tune, study.net.recipe
    tried = {name: getattr(recipe, name) for name in ("lr", "momentum", "batch_size", "reg_weight")}
    tried |= {name: chosen for name, chosen in parameters.items() if name in tried}
    return {
        **study.axes(),
        "number": number,
        "parameters": json.dumps(dict(parameters), sort_keys=True),
        **{f"tried_{name}": chosen for name, chosen in tried.items()},
        "objective": tune.objective,
        "value": value,
        "state": state,
        "epochs": epochs,
        "epochs_wanted": study.epochs,
        "seeds": ", ".join(map(str, tune.seeds)),
        "images_validation": images,
        "sampler": tune.sampler,
        "pruner": tune.pruner,
        "seconds": seconds,
        "error": " ".join(error.split())[:2000],
    }
