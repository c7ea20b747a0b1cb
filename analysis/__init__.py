"""What a sweep says: its tables as pandas frames, width limits, figures and the report.

Needs neither torch nor Ray: results can be read on a machine that has only pandas. The rooms are floors, from
the ground: `tables`, `limits`, `figures`, `report`, `report_cli`. Start with `analysis.tables`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier.analysis.limits.width_limit import fit_width_limit
    from espalier.analysis.tables import Tables, load

__all__ = ["Tables", "fit_width_limit", "load"]

_HOMES = {
    "Tables": "espalier.analysis.tables",
    "load": "espalier.analysis.tables",
    "fit_width_limit": "espalier.analysis.limits.width_limit",
}


def __getattr__(name: str) -> Any:
    """Import pandas at first use: the command line is in this package and need not wait for it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis' has no attribute '{name}'; it has {__all__}")
    return getattr(import_module(_HOMES[name]), name)
