"""Each fault of a node is found, has its level and a cure, and nothing else is said."""

import copy

import pytest

from espalier.orchestrator.doctor.finding import GIB, Node, Wanted
from espalier.orchestrator.doctor.judge import fails, judge

GPU = {"name": "A10G", "memory": 24 * GIB, "free": 23 * GIB, "driver": "570.1"}
FACTS = {
    "host": "a",
    "versions": {"python": "3.11.7", "espalier": "0.1.0", "torch": "2.9.0+cu128", "ray": "2.60.0"},
    "code": "0123456789ab",
    "cuda": "12.8",
    "gpus": [GPU],
    "memory": 64 * GIB,
    "shm": {"size": 30 * GIB, "free": 30 * GIB},
    "temp": {"path": "/tmp/ray", "size": 100 * GIB, "free": 60 * GIB},
    "disk": None,
    "token": {"mode": "token", "token": "/home/me/.ray/auth_token", "open": ""},
    "ports": [],
}
RESOURCES = {"CPU": 8, "GPU": 1, "object_store_memory": 10 * GIB}
CLUSTER = Wanted(cluster=True, device="cuda", place="/shared/mine", images="/data/images")


def node(name="a", **changes):
    """A node that lacks nothing; `changes` of facts have names such as `token__mode`."""
    facts = copy.deepcopy(FACTS) | {"host": name}
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = facts
        for step in outer:
            place = place[step]
        place[last] = value
    return Node(name, RESOURCES, facts, {"seconds": 0.01, "error": 0.002}, shared=True, has=True)


def told(nodes, wanted=CLUSTER):
    return [finding for finding in judge(nodes, wanted) if finding.level != "ok"]


def test_nothing_is_wrong_where_nothing_is():
    findings = judge([node("a"), node("b")], CLUSTER)
    assert {finding.level for finding in findings} == {"ok"}
    assert not any(finding.cure for finding in findings)
    text = {finding.topic: finding.what for finding in findings}
    assert text["nodes"] == "all 2 answered; Ray has 16 CPU and 2 GPU"
    assert text["gpus"] == "2 x A10G with 24 GiB (23 free)"
    assert "Python 3.11, Ray 2.60.0, PyTorch 2.9.0" in text["versions"]
    assert set(text) == {
        "nodes", "versions", "gpus", "token", "ports", "clock", "images", "results", "disk", "shm",
    }  # fmt: skip


FAULTS = [
    ({"versions__python": "3.12.1"}, "bad", "versions", "Python differs: 3.11 on a; 3.12 on b"),
    ({"versions__ray": "2.59.0"}, "bad", "versions", "Ray differs: 2.59.0 on b; 2.60.0 on a"),
    ({"versions__torch": "2.8.0"}, "warn", "versions", "PyTorch differs"),
    ({"versions__torch": ""}, "bad", "versions", "no PyTorch on b"),
    ({"code": "ba9876543210"}, "bad", "versions", "Espalier differs"),
    ({"cuda": ""}, "bad", "gpus", "b has 1 GPUs, and a PyTorch without CUDA"),
    ({"gpus": [GPU, GPU]}, "warn", "gpus", "b has 2 GPUs, and Ray may give 1 of them"),
    ({"token__mode": ""}, "warn", "token", "RAY_AUTH_MODE is not token on b"),
    ({"token__open": "644"}, "warn", "token", "b: /home/me/.ray/auth_token has mode 644"),
    ({"temp__free": 4 * GIB}, "bad", "disk", "b: /tmp/ray has 4.0 GiB free, less than 5 %"),
    ({"temp__free": 6 * GIB}, "warn", "disk", "b: /tmp/ray has 6.0 GiB free"),
    ({"disk": {"path": "/x", "size": GIB, "free": GIB // 8}}, "bad", "disk", "/x has 0.12 GiB free"),
    ({"shm__size": GIB // 16}, "warn", "shm", "b: /dev/shm has 0.06 GiB"),
    (
        {"ports": [{"address": "::", "port": 6379, "process": "gcs_server", "ray": True}]},
        "warn", "ports", "b: Ray listens off localhost: gcs_server 6379",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "level", "topic", "words"), FAULTS)
def test_a_fault_of_one_node_is_told_with_its_cure(changes, level, topic, words):
    (finding,) = told([node("a"), node("b", **changes)])
    assert (finding.level, finding.topic) == (level, topic)
    assert finding.what.startswith(words)
    assert finding.cure
    assert fails([finding]) == (level == "bad")


def test_a_cpu_build_beside_a_cuda_build_agrees():
    assert not told([node("a"), node("b", versions__torch="2.9.0+cpu", gpus=[])])


WIDE = [{"address": "::", "port": 6379, "process": "gcs_server", "ray": True}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ports": WIDE}, "a, b: Ray listens off localhost: gcs_server 6379"),
        ({"token__open": "644"}, "a, b: /home/me/.ray/auth_token has mode 644"),
        ({"temp__free": 6 * GIB}, "a, b: /tmp/ray has 6.0 GiB free"),
        ({"shm__size": 15 * GIB}, "a, b: /dev/shm has 15.00 GiB, and Ray's object store wants 20.00"),
    ],
)
def test_what_is_wrong_with_a_machine_of_several_nodes_is_told_once(changes, words):
    nodes = [node("a", **changes), node("b", host="a", **changes), node("c")]
    (finding,) = told(nodes)
    assert finding.what.startswith(words)


def test_nodes_of_one_machine_that_keep_their_files_apart_are_told_apart():
    short = {"temp__free": 6 * GIB}
    found = told([node("a", **short), node("b", host="a", temp__path="/other", **short)])
    assert [finding.what[:10] for finding in found] == ["a: /tmp/ra", "b: /other "]


def test_ports_of_others_are_no_business_of_ours():
    ssh = {"address": "0.0.0.0", "port": 22, "process": "sshd", "ray": False}
    assert not told([node(ports=[ssh])])


@pytest.mark.parametrize(
    ("skew", "level"),
    [
        ({"seconds": 1.5, "error": 0.1}, None),
        ({"seconds": 3.0, "error": 1.5}, None),  # it may be 1.5 s: the answer took so long
        ({"seconds": -3.0, "error": 0.1}, "warn"),
        ({"seconds": 400.0, "error": 0.1}, "bad"),
    ],
)
def test_a_clock_is_off_as_far_as_one_can_know(skew, level):
    found = told([Node("a", RESOURCES, FACTS, skew, shared=True, has=True)])
    assert [finding.level for finding in found] == ([level] if level else [])
    if level == "warn":
        assert found[0].what == "a is 3.0 s behind this machine"


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        ("ModuleNotFoundError: No module named 'espalier'", "pip install"),
        ("no answer in time", "ray list nodes"),
    ],
)
def test_a_node_that_does_not_answer_is_named_and_the_rest_judged(error, cure):
    findings = judge([node("a"), Node("b", RESOURCES, error=error)], CLUSTER)
    (bad,) = [finding for finding in findings if finding.level == "bad"]
    assert bad.what == f"b: {error}"
    assert cure in bad.cure
    assert any(finding.topic == "clock" for finding in findings)
    assert judge([Node("b", RESOURCES, error=error)], CLUSTER) == [bad]


def test_images_that_a_node_lacks_end_a_run_and_a_disk_of_the_drivers_own_does_not():
    apart = Node("b", RESOURCES, FACTS, shared=False, has=False)
    found = {finding.topic: finding for finding in told([node("a"), apart])}
    assert (found["images"].level, found["results"].level) == ("bad", "warn")
    assert found["images"].what == "/data/images is not on b"
    assert "--results" in found["results"].cure
    assert not told([node("a")], Wanted(True, place="s3://bucket/mine"))
    (unknown,) = told([Node("a", RESOURCES, FACTS, has=True)])
    assert unknown.what.startswith("/shared/mine does not exist or cannot be written to")


def test_a_run_on_cuda_needs_a_gpu_to_give():
    without = Node("a", {"CPU": 8}, {**FACTS, "gpus": []}, shared=True, has=True)
    (finding,) = told([without])
    assert (finding.level, finding.topic) == ("bad", "gpus")
    assert not told([without], Wanted(True, device="cpu"))


def test_this_machine_alone_needs_no_token_of_a_cluster():
    alone = Node("a", {"GPU": 1}, {**FACTS, "token": {"mode": "", "token": "", "open": ""}})
    findings = judge([alone], Wanted(False, device="cuda"))
    assert {finding.level for finding in findings} == {"ok"}
    assert {finding.topic for finding in findings} == {"versions", "gpus", "token", "ports", "disk", "shm"}
