"""What to run: `Sweep` and `SweepConfig` are the Python API."""

from orchestrator.config.sweep_config import ConfigError, SweepConfig
from orchestrator.running.summary import Summary
from orchestrator.sweep import Sweep

__all__ = ["ConfigError", "Summary", "Sweep", "SweepConfig"]
