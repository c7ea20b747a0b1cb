"""What to run: `Sweep` and `SweepConfig` are the Python API."""

from orchestrator.config import ConfigError, SweepConfig
from orchestrator.summary import Summary
from orchestrator.sweep import Sweep

__all__ = ["ConfigError", "Summary", "Sweep", "SweepConfig"]
