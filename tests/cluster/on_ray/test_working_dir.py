import shutil
from pathlib import Path

import pytest
from ray._private import ray_constants
from ray._private.runtime_env.packaging import create_package

from espalier.cluster.on_ray import working_dir

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path):
    """A folder with what Ray leaves out, a link to a folder, an empty folder, and files beyond ASCII."""
    made = tmp_path / "project"
    files = {
        "pyproject.toml": 10, ".git/objects/pack": 5000, ".venv/bin/python": 5000, "venv/x": 5000,
        "code/__pycache__/a.pyc": 5000, "code/a.py": 100, "code/naïve.py": 30, "results/a/checkpoints/x": 400,
        "results/a/sweep.toml": 20, "results/b/big": 3000, "scratch/y": 5000,
    }  # fmt: skip
    for name, size in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(b"x" * size)
    (made / "empty").mkdir()
    (made / "linked").symlink_to("code")
    (made / ".gitignore").write_text("results/**/checkpoints/\n")
    (made / ".rayignore").write_text("/scratch/\n")
    return made


def test_what_would_be_sent_is_what_ray_packs(project, tmp_path):
    archive = tmp_path / "sent.zip"
    excludes = ray_constants.get_runtime_env_default_excludes()
    create_package(str(project), archive, include_gitignore=True, excludes=excludes)
    files = working_dir.shipped(project)
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(archive, unpacked)
    there = [path for path in unpacked.rglob("*") if path.is_file() or not list(path.iterdir())]
    assert {name.rstrip("/") for name in files} == {str(path.relative_to(unpacked)) for path in there}
    assert working_dir.archive_bytes(files) == archive.stat().st_size


def test_too_much_is_refused_with_its_size_its_largest_entries_and_the_cure(project):
    assert "10 files" in working_dir.refuse_too_large(project)
    with pytest.raises(ValueError, match=r"to send, and Ray can send .*results/b .*code/a.py.*\.rayignore"):
        working_dir.refuse_too_large(project, limit=3000)


def test_a_plain_ray_job_submit_refuses_too_by_its_hook(project, monkeypatch):
    working_dir.before_submit(working_dir=str(project), entrypoint=("python", "x.py"))
    working_dir.before_submit(working_dir=None)
    working_dir.before_submit(working_dir="https://example.com/a.zip")
    monkeypatch.setattr(working_dir.refuse_too_large, "__defaults__", (3000,))
    with pytest.raises(SystemExit, match="to send"):
        working_dir.before_submit(working_dir=str(project), entrypoint=("python", "x.py"))


def test_the_checkout_goes_without_tests_and_results():
    files = working_dir.shipped(ROOT)
    assert {"cluster/submit.py", "espalier/cluster/submit.py", "results/demo/sweep.toml"} <= set(files)
    assert not [name for name in files if name.startswith(("tests/", "docs/", ".git/", ".venv/"))]
    assert not [name for name in files if "/tables/" in name and name.startswith("results/")]
    assert working_dir.archive_bytes(files) < 20 * 2**20
