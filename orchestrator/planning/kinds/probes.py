"""The kind `probe`: measurements of how nets are trained fastest, which a run makes before it trains.

No plan has jobs of it: `orchestrator.running.probing` asks for them when the pool is there.
"""

from __future__ import annotations

from espalier.orchestrator.planning.kind import Kind


class Probes(Kind):
    """Measurements, and tests of whether nets that are trained together keep their bits."""

    name, units = "probe", "probes"
    work = "espalier.tasks.jobs.probe_job:answer"
    gemm_share = None


PROBES = Probes()
