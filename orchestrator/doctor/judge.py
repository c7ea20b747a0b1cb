"""What the facts of the nodes mean for a run, each with its cure. Pure: it asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from espalier.orchestrator.doctor.access import ports, tokens
from espalier.orchestrator.doctor.finding import Finding, Nodes, Wanted
from espalier.orchestrator.doctor.machines import clocks, disks, places, shared_memory
from espalier.orchestrator.doctor.software import gpus, versions

LOOKS = (versions, gpus, tokens, ports, clocks, places, disks, shared_memory)


def judge(nodes: Nodes, wanted: Wanted) -> list[Finding]:
    """What a run would meet, topic by topic; of nodes that did not answer, that alone."""
    answered = [node for node in nodes if node.facts]
    found = list(_answers(nodes, wanted))
    for look in LOOKS:
        found += look(answered, wanted) if answered else ()
    return found


def fails(findings: Iterable[Finding]) -> bool:
    """Whether a run would fail."""
    return any(finding.level == "bad" for finding in findings)


def _answers(nodes: Nodes, wanted: Wanted) -> Iterator[Finding]:
    silent = [node for node in nodes if not node.facts]
    for node in silent:
        yield Finding("bad", "nodes", f"{node.name}: {node.error}", _cure(node.error))
    if wanted.cluster and not silent:
        cpus, graphics = (sum(node.resources.get(name, 0) for node in nodes) for name in ("CPU", "GPU"))
        yield Finding("ok", "nodes", f"all {len(nodes)} answered; Ray has {cpus:g} CPU and {graphics:g} GPU")


def _cure(error: str) -> str:
    if "import" in error.lower() or "module" in error.lower():
        return "install Espalier there as it is here: `pip install .` in a checkout of the same commit"
    return "see `ray list nodes` and its log; end the node, or wait until it is less busy and ask again"
