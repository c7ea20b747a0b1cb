"""A Ray of our own starts wherever the system keeps temporary files."""

import os
from types import SimpleNamespace

import pytest

from espalier.cluster.on_ray import session
from espalier.cluster.on_ray.temp_dir import BELOW, LEAST_BYTES, LONGEST, ray_folder, refuse_full, usable


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


def test_on_a_full_disk_no_ray_is_started_and_one_line_says_where(tmp_path, monkeypatch):
    free = []
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free[-1]))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "made later"))
    monkeypatch.setattr(session.ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    free.append(LEAST_BYTES - 1)
    with pytest.raises(
        OSError, match=r"made later has 16.0 MB free.*full disk: free space there, or set RAY_TMPDIR"
    ):
        session._start(None, None)
    free.append(LEAST_BYTES)
    refuse_full(None)
