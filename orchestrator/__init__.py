"""What to run: `Sweep` and `SweepConfig` are the Python API."""

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.summary import Summary
from espalier.orchestrator.sweep import Sweep

__all__ = ["ConfigError", "Summary", "Sweep", "SweepConfig"]
