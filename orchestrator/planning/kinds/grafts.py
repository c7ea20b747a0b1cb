"""The kind `graft`: the bottom of one net under the top of another, for every ordered pair that is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.kind import Scope, UnitKind
from espalier.orchestrator.planning.kinds.graft_tiles import graft_task, graft_tasks, pairs_of
from espalier.orchestrator.planning.kinds.pair_blocks import GRAFT_SCHEMA
from espalier.orchestrator.planning.kinds.pairings import graft_options, wanted_pairs
from espalier.orchestrator.planning.kinds.tile_cost import widest_reading
from espalier.orchestrator.planning.kinds.wanted_pairs import WantedPair, WantedPairs
from espalier.orchestrator.planning.task import Task
from espalier.tasks.data.images import DataFacts
from espalier.tasks.grafting.nulls.known_nulls import NULLS
from espalier.tasks.spec import GraftOptions


class Grafts(UnitKind[WantedPair]):
    """Ordered pairs of snapshots, in tiles that share sources and targets."""

    name, units, schema = "graft", "pairs", GRAFT_SCHEMA
    work = "espalier.tasks.jobs.graft_job:graft_pairs"
    tables = ("downstream", "ridges", "grafts")
    gemm_share = 0.7  # of wide nets: 0.7 to 0.9 at width 32 on digits, an Intel Xeon
    always_shown = True
    may_change = frozenset(
        {"graft.nulls", "graft.null_epochs", "graft.pairings", "graft.skips", "graft.partners"}
    )

    def wanted(self, scope: Scope) -> WantedPairs:
        """Every pair that a pairing asks for, and its nulls.

        Raises:
            ConfigError: A null cannot be made of the sweep's nets, or no image is held back.
        """
        refuse_empty_validation(graft_options(scope.config), scope.facts)
        refuse_unfit_nulls(scope)
        return wanted_pairs(scope.config, scope.ladders)

    def done_in(self, config: SweepConfig) -> tuple[str, ...]:
        """Without a choice among ridges a graft has no rows in `ridges`."""
        return tuple(name for name in self.tables if name != "ridges" or config.graft.ridges)

    def idle(self, config: SweepConfig) -> frozenset[str]:
        """What turns the choice of partners, where all are."""
        return frozenset({"graft.partners_seed"} if config.graft.partners == "all" else ())

    def jobs(self, units: Sequence[WantedPair], scope: Scope) -> list[Task]:
        """Tiles."""
        return graft_tasks(WantedPairs.of(units), scope.facts, scope.limits, scope.where)

    def job_of(self, units: Sequence[WantedPair], facts: DataFacts, where: Mapping[str, Any]) -> Task:
        """One tile."""
        return graft_task(WantedPairs.of(units), facts, where)

    def units_of(self, task: Task) -> WantedPairs:
        """The pairs of a tile."""
        return pairs_of(task)

    def widest(self, task: Task) -> int:
        """The largest d of any fit of a tile."""
        return widest_reading(task.job.payload)


def refuse_empty_validation(options: GraftOptions, facts: DataFacts) -> None:
    """Raise ConfigError if no image would be held back to choose a ridge, or none be left to fit on."""
    held = options.validation_images(facts.train)
    if options.ridges and not 0 < held < facts.train:
        raise ConfigError(
            f"graft.validation: {options.validation:g} of {facts.train} training images holds back {held} "
            f"and fits on {facts.train - held}: both need some, so use more images or another share"
        )


def refuse_unfit_nulls(scope: Scope) -> None:
    """Raise ConfigError if a null that is asked for cannot be made of some of the sweep's nets."""
    alike = {
        (ladder[0].net.architecture, ladder[0].net.recipe.loss): ladder[0].net for ladder in scope.ladders
    }
    for name in scope.config.graft.nulls:
        for net in alike.values():
            reason = NULLS[name].unfit(net) if name in NULLS else ""
            if reason:
                raise ConfigError(
                    f"graft.nulls: '{name}' cannot be made of a net of the family '{net.family}' ({reason}): "
                    "leave it out"
                )


GRAFTS = Grafts()
