"""What to run: `Sweep` and `SweepConfig` are the Python API."""

from orchestrator.config import ConfigError, SweepConfig
from orchestrator.sweep import Summary, Sweep

__all__ = ["ConfigError", "Summary", "Sweep", "SweepConfig"]
