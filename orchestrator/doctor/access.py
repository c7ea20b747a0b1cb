"""Who can reach the nodes: the token, and the ports that listen."""

from __future__ import annotations

from collections.abc import Iterator

from espalier.orchestrator.doctor.finding import Finding, Nodes, Wanted, names

SHOWN = 6


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
    for node in opened:
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
    heard = {node.name: [port for port in node.facts["ports"] if port["ray"]] for node in nodes}
    for name, found in heard.items():
        if not found:
            continue
        told = ", ".join(f"{port['address']}:{port['port']} {port['process']}" for port in found[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield Finding(
            "warn",
            "ports",
            f"{name}: Ray listens off localhost: {told}{more}",
            "let a firewall (security group, NetworkPolicy) admit the cluster's own machines alone, and "
            "reach the dashboard through an SSH tunnel",
        )
    if not any(heard.values()):
        yield Finding("ok", "ports", "no process of Ray listens off localhost")
