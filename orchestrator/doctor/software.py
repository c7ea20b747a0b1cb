"""What is installed on the nodes, and whether it fits their GPUs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from espalier.orchestrator.doctor.finding import GIB, Finding, Level, Node, Nodes, Wanted, names

ONE_VERSION = "install one version everywhere: the same commit by `pip install -c constraints.txt .`"


def _python(facts: Mapping[str, Any]) -> str:
    """Ray wants one minor version."""
    return ".".join(facts["versions"]["python"].split(".")[:2])


def _ray(facts: Mapping[str, Any]) -> str:
    return facts["versions"]["ray"]


def _torch(facts: Mapping[str, Any]) -> str:
    """A CPU build beside a CUDA build of one version is usual: a head without GPUs."""
    return facts["versions"]["torch"].partition("+")[0]


def _espalier(facts: Mapping[str, Any]) -> str:
    version = facts["versions"]["espalier"]
    return f"{version} (source {facts['code']})" if version else ""


CHECKS: tuple[tuple[str, Callable[[Mapping[str, Any]], str], Level, str], ...] = (
    ("Python", _python, "bad", ONE_VERSION),
    ("Ray", _ray, "bad", ONE_VERSION),
    ("PyTorch", _torch, "warn", f"the rows of one folder would differ in rounding: {ONE_VERSION}"),
    ("Espalier", _espalier, "bad", ONE_VERSION),
)


def versions(nodes: Nodes, _: Wanted) -> Iterator[Finding]:
    """Whether what must agree does."""
    told = list[str]()
    for name, version, level, cure in CHECKS:
        groups = defaultdict[str, list[Node]](list)
        for node in nodes:
            groups[version(node.facts)].append(node)
        if lacking := groups.pop("", []):
            yield Finding("bad", "versions", f"no {name} on {names(lacking)}", f"install it: {ONE_VERSION}")
        if len(groups) > 1:
            differ = "; ".join(f"{found} on {names(where)}" for found, where in sorted(groups.items()))
            yield Finding(level, "versions", f"{name} differs: {differ}", cure)
        told += [f"{name} {found}" for found in groups if len(groups) == 1 and not lacking]
    if told:
        yield Finding("ok", "versions", ", ".join(told) + (" everywhere" if len(nodes) > 1 else ""))


def gpus(nodes: Nodes, wanted: Wanted) -> Iterator[Finding]:
    """GPUs and their memory, and whether Ray and PyTorch can use them."""
    cuda = wanted.device == "cuda"
    given = sum(node.resources.get("GPU", 0) for node in nodes)
    if cuda and not given:
        yield Finding(
            "bad",
            "gpus",
            'run.device = "cuda", and there is no GPU to give',
            'start Ray on nodes with GPUs (`nvidia-smi` shows them there), or set run.device = "cpu"',
        )
    for node in nodes:
        yield from _of_one(node, cuda, wanted.cluster)
    kinds = Counter(
        f"{gpu['name']} with {gpu['memory'] / GIB:.0f} GiB ({gpu['free'] / GIB:.0f} free)"
        for node in nodes
        for gpu in node.facts["gpus"]
    )
    told = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    yield Finding("ok", "gpus", told or "none: workers compute on CPU cores")


def _of_one(node: Node, cuda: bool, cluster: bool) -> Iterator[Finding]:
    there, given = len(node.facts["gpus"]), node.resources.get("GPU", 0)
    if there and not node.facts["cuda"]:
        yield Finding(
            "bad" if cuda else "warn",
            "gpus",
            f"{node.name} has {there} GPUs, and a PyTorch without CUDA",
            "install PyTorch's CUDA build there: PyPI's, or one of PyTorch's own index",
        )
    if cluster and given < there:
        yield Finding(
            "warn",
            "gpus",
            f"{node.name} has {there} GPUs, and Ray may give {given:g} of them",
            "start Ray there without CUDA_VISIBLE_DEVICES, or with --num-gpus",
        )
