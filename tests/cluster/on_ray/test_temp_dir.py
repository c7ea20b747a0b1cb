"""A Ray of our own starts wherever the system keeps temporary files."""

import os
import subprocess
import sys

import pytest

from espalier.cluster.on_ray.temp_dir import BELOW, LONGEST, ray_folder, usable


@pytest.mark.parametrize("name", ["größe", "ü", "x" * 100])
def test_a_folder_that_ray_cannot_use_is_replaced_by_one_that_it_can(name, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", f"/{name}")
    found = ray_folder()
    assert usable(found)
    assert os.access(os.path.dirname(found), os.W_OK)  # noqa: PTH120
    with pytest.raises(OSError, match="set TMPDIR, or RAY_TMPDIR"):
        ray_folder([str(tmp_path / name), "/ö"])


def test_a_folder_that_ray_can_use_is_left_to_it(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for place in ("/tmp", "/tmp/with space", "/" + "x" * (LONGEST - BELOW - len("//ray"))):
        monkeypatch.setattr("tempfile.tempdir", place)
        assert ray_folder() is None, place
    monkeypatch.setattr("tempfile.tempdir", "/größe")
    monkeypatch.setenv("RAY_TMPDIR", "/chosen")
    assert ray_folder() is None


@pytest.mark.ray
@pytest.mark.timeout(100)
def test_a_ray_of_our_own_starts_below_a_folder_whose_name_it_cannot_write(tmp_path):
    place = tmp_path / "tem por är"
    place.mkdir()
    code = (
        "import ray\nfrom espalier.cluster.on_ray.session import connect\n"
        "assert connect(cpus=1)\nprint(ray.cluster_resources()['CPU'])"
    )
    environment = {**os.environ, "TMPDIR": str(place)}
    environment.pop("RAY_TMPDIR", None)
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=90
    )
    assert answer.stdout == "1.0\n", answer.stderr[-2000:]
