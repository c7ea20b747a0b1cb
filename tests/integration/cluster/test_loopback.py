"""A head and two workers as separate processes on loopback, and what a user does with them.

Each process has nothing but `espalier` installed, and works in a folder whose own files are named as parts of
Espalier are, as in `tests/integration/test_decoys.py`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espalier.orchestrator.store.blob_names import is_straight
from espalier.orchestrator.sweep import Sweep
from tests.integration.conftest import descendants, rows, title
from tests.integration.decoys import ROOT, SECONDS, holds_every_pair, installed_alone, python, with_decoys
from tests.integration.ray_head import RAY, ray_head, take_jobs

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The variables of a process beside a head and its workers, which were started in a folder of decoys."""
    environment = installed_alone(tmp_path_factory.mktemp("installed"))
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    folder = with_decoys(tmp_path_factory.mktemp("cluster") / "project")
    with ray_head(folder, environment, workers=2) as variables:
        yield variables


@pytest.fixture
def folder(tmp_path):
    made = with_decoys(tmp_path / "project")
    shutil.copy(ROOT / "cluster" / "submit.py", made / "cluster")
    return made


def test_the_doctor_asks_every_node(folder, cluster):
    begun = time.monotonic()
    words = ("-m", "espalier", "doctor", "mine", "--address", "auto", "--json")
    answer = json.loads(python(*words, folder=folder, environment=cluster))
    took = time.monotonic() - begun
    assert len(answer["nodes"]) == 3
    assert sorted(node["resources"]["CPU"] for node in answer["nodes"]) == [1, 1, 2]
    assert all(node["facts"] and node["shared"] for node in answer["nodes"]), answer["nodes"]
    levels = {finding["topic"]: finding["level"] for finding in answer["findings"]}
    topics = ("nodes", "versions", "token", "clock", "results")
    assert {topic: levels[topic] for topic in topics} == dict.fromkeys(topics, "ok"), answer["findings"]
    wide = [finding for finding in answer["findings"] if finding["topic"] == "ports"]
    assert any("gcs_server" in finding["what"] for finding in wide), wide
    assert all(finding["level"] == "warn" and "firewall" in finding["cure"] for finding in wide)
    assert not list(folder.glob("**/.doctor-*"))
    assert took < 30  # ten seconds on a machine that does nothing else


def test_workers_of_ray_run_a_sweep(folder, cluster):
    """The folder of the script comes first on the workers' path, as on the script's."""
    (folder / "script.py").write_text(
        "from espalier import Sweep\nassert Sweep('mine').run(address='auto').complete\n", encoding="utf-8"
    )
    python("script.py", folder=folder, environment=cluster)
    assert holds_every_pair(folder / "mine")
    checkpoints = [path.name for path in (folder / "mine" / "checkpoints").iterdir()]
    assert checkpoints
    assert all(map(is_straight, checkpoints)), "three nodes see the folder: workers wrote there by themselves"


def test_a_job_submitted_twice_leaves_each_row_once_outside_of_rays_copy(folder, cluster):
    """`ray job submit` sends the folder, decoys and all, and starts `submit.py` where it has arrived."""
    take_jobs(cluster)
    plain = ("job", "submit", "--working-dir", ".", "--", "python", "cluster/submit.py", "mine")
    commands = [(*RAY, *plain), ("-m", "espalier", "submit", "mine")]
    running = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=cluster,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    said = [process.communicate(timeout=SECONDS)[0] for process in running]
    kept = Path(cluster["HOME"], "espalier-results", "mine")
    ends = sorted(process.returncode for process in running)
    whole = "\n----\n".join(said)
    assert all("submitted successfully" in text for text in said), whole
    assert ends in ([0, 0], [0, 1]), whole
    assert all(f"written to {kept} on " in text for text in said), said
    if ends == [0, 1]:
        assert any(f"{kept} is in use by pid" in text for text in said), said
    assert holds_every_pair(kept)
    assert set(rows(kept, "grafts").values()) == {1}
    assert not Sweep(kept).plan().tasks
    assert [path.name for path in (folder / "mine").iterdir()] == ["sweep.toml"]


def test_a_node_that_hangs_is_named_in_time_and_the_rest_judged(folder, cluster):
    """It comes last: a raylet that was stopped for long is given up by the head."""
    raylets = [pid for pid in descendants(os.getpid()) if "raylet/raylet" in title(pid)]
    os.kill(raylets[-1], signal.SIGSTOP)
    try:
        begun = time.monotonic()
        answer = subprocess.run(
            [sys.executable, "-m", "espalier", "doctor", "--address", "auto"],
            cwd=folder,
            env=cluster,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        took = time.monotonic() - begun
    finally:
        os.kill(raylets[-1], signal.SIGCONT)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert answer.stdout.count("no answer in time") == 1
    assert "ok    versions: " in answer.stdout
    assert took < 30  # ten seconds on a machine that does nothing else
