"""Espalier: do differently seeded wide networks learn the same distribution of features?

    from espalier import Sweep, SweepConfig, load, fit_width_limit, fit_excess, similarity_summary

`Sweep` runs what a `SweepConfig` describes, and `load` reads the tables of sweeps as pandas frames (`AXES`
are the columns that fits need beside a measure). `fit_width_limit` fits how a measure falls with the width,
`fit_excess` what training adds to that, and `similarity_summary` averages measures without a fit beside
their nulls (`best_layers`: of each pair the best layer). Answers in tidy frames: `compare_to_null` (real
grafts beside a null), `excess` (over the sampling floor of few channels), `exchangeability` (p-values over
layers), `trajectory` (nets at two epochs), `asymmetry` (A into B, B into A), `variance_over_seeds`, and
`contrast` (two settings). What is beneath: `espalier.orchestrator` (what to run), `espalier.tasks` (how one
unit of work is done), `espalier.cluster` (where it runs) and `espalier.analysis` (what it says). Each name
is imported when it is first asked for, so that reading tables loads neither PyTorch nor Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier.analysis.answers.directions import asymmetry
    from espalier.analysis.answers.epoch_trajectory import trajectory
    from espalier.analysis.answers.floor_excess import excess
    from espalier.analysis.answers.null_ratios import compare_to_null
    from espalier.analysis.answers.pool_tests import exchangeability
    from espalier.analysis.answers.seed_variance import variance_over_seeds
    from espalier.analysis.answers.setting_contrast import contrast
    from espalier.analysis.limits.best_layers import best_layers
    from espalier.analysis.limits.excess import fit_excess
    from espalier.analysis.limits.selection import AXES
    from espalier.analysis.limits.similarity_summary import similarity_summary
    from espalier.analysis.limits.width_limit import fit_width_limit
    from espalier.analysis.tables import load
    from espalier.orchestrator.config.sweep_config import SweepConfig
    from espalier.orchestrator.sweep import Sweep

__version__ = "0.1.0"
__all__ = [
    "AXES",
    "Sweep",
    "SweepConfig",
    "__version__",
    "asymmetry",
    "best_layers",
    "compare_to_null",
    "contrast",
    "excess",
    "exchangeability",
    "fit_excess",
    "fit_width_limit",
    "load",
    "similarity_summary",
    "trajectory",
    "variance_over_seeds",
]

_HOMES = {
    "AXES": "espalier.analysis.limits.selection",
    "Sweep": "espalier.orchestrator.sweep",
    "SweepConfig": "espalier.orchestrator.config.sweep_config",
    "asymmetry": "espalier.analysis.answers.directions",
    "compare_to_null": "espalier.analysis.answers.null_ratios",
    "contrast": "espalier.analysis.answers.setting_contrast",
    "excess": "espalier.analysis.answers.floor_excess",
    "exchangeability": "espalier.analysis.answers.pool_tests",
    "fit_excess": "espalier.analysis.limits.excess",
    "fit_width_limit": "espalier.analysis.limits.width_limit",
    "load": "espalier.analysis.tables",
    "best_layers": "espalier.analysis.limits.best_layers",
    "similarity_summary": "espalier.analysis.limits.similarity_summary",
    "trajectory": "espalier.analysis.answers.epoch_trajectory",
    "variance_over_seeds": "espalier.analysis.answers.seed_variance",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'espalier' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
