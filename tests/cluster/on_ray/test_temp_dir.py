"""A Ray of our own starts wherever the system keeps temporary files."""

import os

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
