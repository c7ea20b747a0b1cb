"""Who can reach the nodes: the token, and the ports that listen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from espalier.orchestrator.doctor.finding import Finding, Node, Nodes, Wanted, machines, names


def tokens(nodes: Nodes, wanted: Wanted) -> Iterator[Finding]:
    """Whether a token is asked for, and who may read it."""
    without = [node for node in nodes if node.facts["token"]["mode"].lower() != "token"]
    if wanted.cluster and without:
        yield Finding(
            "warn",
            "token",
            f"RAY_AUTH_MODE is not token on {names(without)}: who reaches a port of Ray runs code there",
            "set RAY_AUTH_MODE=token before each `ray start` and here, with one token in ~/.ray/auth_token",
        )
    opened = [node for node in nodes if node.facts["token"]["open"]]
    for node in machines(opened, lambda node: node.facts["token"]["token"]):
        token = node.facts["token"]
        yield Finding(
            "warn",
            "token",
            f"{node.name}: {token['token']} has mode {token['open']}, so that others may read it",
            f"chmod 600 {token['token']}",
        )
    if not opened and not (wanted.cluster and without):
        told = "asked for by every node" if wanted.cluster else "made for a run on this machine"
        yield Finding("ok", "token", f"{told}, and readable by its owner alone")


def ports(nodes: Nodes, _: Wanted) -> Iterator[Finding]:
    """Which of Ray's processes listen to more than localhost."""
    wide = {machine.name: _by_process(machine) for machine in machines(nodes)}
    for name, told in wide.items():
        if told:
            yield Finding(
                "warn",
                "ports",
                f"{name}: Ray listens off localhost: {told}",
                "let a firewall (security group, NetworkPolicy) admit the cluster's own machines alone, and "
                "reach the dashboard through an SSH tunnel",
            )
    if not any(wide.values()):
        yield Finding("ok", "ports", "no process of Ray listens off localhost")


def _by_process(node: Node) -> str:
    """Ray's processes with their ports, such as `gcs_server 6379, raylet 40001 40002`."""
    groups = defaultdict[str, list[str]](list)
    for port in node.facts["ports"]:
        if port["ray"]:
            groups[port["process"]].append(str(port["port"]))
    return ", ".join(
        f"{process} {' '.join(dict.fromkeys(found))}" for process, found in sorted(groups.items())
    )
