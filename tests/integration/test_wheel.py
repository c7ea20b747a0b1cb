"""The wheel alone, far from the checkout: what it holds, and a sweep from a template to its report."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = (
    "pyproject.toml", "README.md", "LICENSE", "espalier", "analysis", "orchestrator", "tasks", "cluster",
    "benchmarks", "tests",
)  # fmt: skip
"""What of the checkout a build sees; results and docs are left out, being large and of no matter to it."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def say(*command, cwd):
    """Run a command with nothing of the checkout on the path, and give what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    answer = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=kept | {"COLUMNS": "200"}, capture_output=True,
        text=True, timeout=250,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built offline from a copy of the checkout, links as links."""
    folder = tmp_path_factory.mktemp("build")
    for name in PARTS:
        if (ROOT / name).is_dir():
            leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=leave)
        else:
            shutil.copy(ROOT / name, folder / name)
    say(
        *PIP,
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--wheel-dir",
        "dist",
        ".",
        cwd=folder,
    )
    (made,) = (folder / "dist").glob("espalier-*.whl")
    return made


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory):
    """The folder of programs of a new virtual environment with the wheel.

    Its dependencies are those of the tests' own environment, which is put on the path by a .pth file. Such a
    file is not read there in turn, so the editable install of the checkout is out of sight.
    """
    folder = tmp_path_factory.mktemp("far") / "venv"
    say(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    say(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def test_the_wheel_holds_one_package_of_plain_files_with_its_templates(wheel):
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.infolist()
    names = {entry.filename for entry in entries}
    regular = 0o100000
    assert {entry.external_attr >> 16 & 0o170000 for entry in entries} == {regular}
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"espalier"}
    assert len(tops) == 2
    rooms = {name.split("/")[1] for name in names if name.startswith("espalier/") and name.count("/") > 1}
    assert rooms == {"analysis", "cluster", "orchestrator", "tasks"}


@pytest.mark.parametrize("room", ["analysis", "cluster", "orchestrator", "tasks"])
def test_every_file_of_a_room_that_is_code_or_data_is_in_the_wheel(wheel, room):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = [path for kind in ("py", "toml", "jinja") for path in (ROOT / room).rglob(f"*.{kind}")]
    assert files
    assert {f"espalier/{path.relative_to(ROOT)}" for path in files} <= names


WHERE = """
import importlib.util, sys
import espalier.tasks.spec
print(espalier.__file__, espalier.tasks.spec.__file__, *sys.path, sep="\\n")
rooms = ("tasks", "analysis", "cluster", "orchestrator", "benchmarks")
assert not any(importlib.util.find_spec(name) for name in rooms)
"""


def test_what_is_imported_far_from_the_checkout_comes_from_the_wheel(scripts, tmp_path):
    package, room, *path = say(scripts / "python", "-c", WHERE, cwd=tmp_path).splitlines()
    assert Path(package).is_relative_to(scripts.parent)
    assert Path(room).is_relative_to(scripts.parent)
    assert str(ROOT) not in path


def shrink(place):
    """Make the demo small: 2 widths x 2 seeds, 200 images, 1 epoch."""
    text = place.read_text()
    for field, value in {"widths": "[2, 3]", "seeds": "2", "epochs": "1", "snapshots": "[0, 1]"}.items():
        text, count = re.subn(rf"^{field} = .*$", f"{field} = {value}", text, flags=re.MULTILINE)
        assert count == 1, field
    place.write_text(text.replace("[data]\n", "[data]\nlimit_train = 200\nlimit_test = 80\n"))


def test_a_sweep_goes_from_a_template_to_its_report_by_the_wheel_alone(scripts, tmp_path):
    espalier = scripts / "espalier"
    assert "sweep.toml made from demo" in say(espalier, "new", "mine", "--from", "demo", cwd=tmp_path)
    shrink(tmp_path / "mine" / "sweep.toml")
    assert "8 snapshots" in say(espalier, "run", "mine", "--in-process", cwd=tmp_path)
    assert "report: " in say(espalier, "report", "mine", cwd=tmp_path)
    page = (tmp_path / "mine" / "report" / "index.html").read_text(encoding="utf-8")
    assert "<figure" in page or "<svg" in page or "<img" in page
