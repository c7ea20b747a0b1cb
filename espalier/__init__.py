"""Espalier: do differently seeded wide networks learn the same distribution of features?

    from espalier import Sweep, SweepConfig, load, fit_width_limit, fit_excess, similarity_summary

`Sweep` runs what a `SweepConfig` describes, `load` reads a sweep's tables as pandas frames,
`fit_width_limit` fits how a measure falls with the width, `fit_excess` what training adds to that, and
`similarity_summary` averages measures without a fit beside their nulls (`best_layers`: of each pair the best
layer). What is beneath: `espalier.orchestrator` (what to run),
`espalier.tasks` (how one unit of work is done), `espalier.cluster`
(where it runs) and `espalier.analysis` (what it says). Each name is imported when it is first asked for, so
that reading tables loads neither PyTorch nor Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier.analysis.limits.best_layers import best_layers
    from espalier.analysis.limits.excess import fit_excess
    from espalier.analysis.limits.similarity_summary import similarity_summary
    from espalier.analysis.limits.width_limit import fit_width_limit
    from espalier.analysis.tables import load
    from espalier.orchestrator.config.sweep_config import SweepConfig
    from espalier.orchestrator.sweep import Sweep

__version__ = "0.1.0"
__all__ = [
    "Sweep",
    "SweepConfig",
    "__version__",
    "best_layers",
    "fit_excess",
    "fit_width_limit",
    "load",
    "similarity_summary",
]

_HOMES = {
    "Sweep": "espalier.orchestrator.sweep",
    "SweepConfig": "espalier.orchestrator.config.sweep_config",
    "fit_excess": "espalier.analysis.limits.excess",
    "fit_width_limit": "espalier.analysis.limits.width_limit",
    "load": "espalier.analysis.tables",
    "best_layers": "espalier.analysis.limits.best_layers",
    "similarity_summary": "espalier.analysis.limits.similarity_summary",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'espalier' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
