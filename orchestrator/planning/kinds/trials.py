"""The kind `tune`: the trials of the studies that `[tune]` asks for.

A plan counts trials as if none were pruned; the driver of studies (`orchestrator.tuning`) runs them epoch by
epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from espalier.cluster.pool import Job
from espalier.orchestrator.config.tune_space import PREFIX
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.kind import Kind, Scope, Share
from espalier.orchestrator.planning.kinds.train_cost import train_cost
from espalier.orchestrator.planning.nets import used
from espalier.orchestrator.planning.studies import Study, wanted_studies
from espalier.orchestrator.planning.task import Task
from espalier.tasks.spec import NetSpec, Snapshot, TrainSegment, TrialSegment


class Trials(Kind):
    """Trials of recipes, before any net is trained."""

    name, units = "tune", "trials"
    work = "espalier.tasks.jobs.trial_job:train_trial_nets"
    tables = ("trial_curves", "trials")
    gemm_share = 0.8
    others_wait = True
    failures_are_told = False
    may_change = frozenset({"tune.trials", "tune.storage"})

    def share(self, scope: Scope) -> Share:
        """The trials that every study still wants."""
        studies = wanted_studies(scope.config, scope.images)
        tasks = missing_trials(studies, scope.have.trials, scope.where)
        total = sum(study.tune.trials for study in studies)
        return Share(tasks, total - len(tasks), total)

    def jobs(self, units: Sequence[Task], scope: Scope) -> list[Task]:  # noqa: ARG002
        """A job for each trial."""
        return list(units)


def missing_trials(
    studies: Iterable[Study], counted: Mapping[str, int], where: Mapping[str, Any]
) -> list[Task]:
    """A task for each trial that a study still wants; `counted` says how many it has, by its key."""
    return [
        whole_trial(study, number, where)
        for study in studies
        for number in range(counted.get(study.key, 0), study.tune.trials)
    ]


def trial_task(
    study: Study, number: int, nets: Sequence[NetSpec], start: int, end: int, where: Mapping[str, Any]
) -> Task:
    """The job that takes a trial from epoch `start` to `end`; its inputs are states that the driver holds."""
    segment = TrialSegment(tuple(nets), start, end, study.tune.validation, study.tune.validation_seed)
    inputs = tuple(state_of(study, number, start, net.seed) for net in nets) if start else ()
    after = tuple(state_of(study, number, end, net.seed) for net in nets)
    key, settings = f"{study.key}-{number}-{end}", {**where, "states": after}
    job = Job(key, "tune", segment, inputs, settings, gives=len(after))
    until = f"to epoch {end}" if start else f"from the start to epoch {end}"
    label = f"tune width {study.width}, trial {number} {until}"
    return Task(job, _cost(study, nets, start, end), label)


def whole_trial(study: Study, number: int, where: Mapping[str, Any]) -> Task:
    """A trial that is not pruned, for plans: it has the costliest batch of the space."""
    batch = study.tune.space.get(f"{PREFIX}batch_size")
    largest = {"batch_size": int(max(batch.choices or (batch.high or 1,)))} if batch else {}  # type: ignore[type-var]
    return trial_task(study, number, study.nets(largest), 0, study.epochs, where)


def _cost(study: Study, nets: Sequence[NetSpec], start: int, end: int) -> Cost:
    facts = used(study.config, study.facts)
    held = round(study.tune.validation * facts.train)
    facts = replace(facts, train=facts.train - held, test=held)
    segment = TrainSegment(Snapshot("", "", nets[0], end), start or None, keep_state=True)
    one = train_cost([segment], facts)
    return Cost(one.flops * len(nets), one.bytes_in * len(nets), one.memory, one.seconds * len(nets))


def state_of(study: Study, number: int, epoch: int, seed: int) -> str:
    """Name of the optimizer's state of a trial's net."""
    return f"{study.key}-{number}-{epoch}-{seed}.resume.safetensors"


TRIALS = Trials()
