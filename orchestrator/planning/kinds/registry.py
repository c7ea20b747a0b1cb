"""All kinds of work, in the order in which a plan lists their jobs. A new kind is a line here."""

from __future__ import annotations

from espalier.orchestrator.planning.kind import Kind
from espalier.orchestrator.planning.kinds.barriers import BARRIERS
from espalier.orchestrator.planning.kinds.ensembles import ENSEMBLES
from espalier.orchestrator.planning.kinds.grafts import GRAFTS
from espalier.orchestrator.planning.kinds.hybrids import HYBRIDS
from espalier.orchestrator.planning.kinds.layer_features import LAYER_FEATURES
from espalier.orchestrator.planning.kinds.pools import POOLS
from espalier.orchestrator.planning.kinds.probes import PROBES
from espalier.orchestrator.planning.kinds.similarities import SIMILARITIES
from espalier.orchestrator.planning.kinds.training import TRAINING
from espalier.orchestrator.planning.kinds.trials import TRIALS
from espalier.tasks.tables.schemas import add_table

KINDS: list[Kind] = [
    TRIALS,
    TRAINING,
    GRAFTS,
    POOLS,
    HYBRIDS,
    SIMILARITIES,
    LAYER_FEATURES,
    ENSEMBLES,
    BARRIERS,
    PROBES,
]


def kind_of(name: str) -> Kind:
    """The kind of that name.

    Raises:
        KeyError: There is none.
    """
    return {kind.name: kind for kind in KINDS}[name]


def know_tables() -> None:
    """Make the tables of all kinds known to those who read and write tables."""
    for kind in KINDS:
        for table in kind.own_tables:
            add_table(table)


know_tables()
