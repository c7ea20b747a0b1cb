"""`ray up` and `ray submit` of the file for machines of one's own; ssh and rsync lead back to this machine.

What Ray's launcher would do on the head is done here, in a home folder of its own, with stubs of Ray and pip.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.cluster import submit
from tests.cluster.test_submit import HIDE, TELL

ROOT = Path(__file__).parents[2]

SSH = """#!/usr/bin/env bash
while [[ $1 != *@* ]]; do shift; done
shift
cd "$HOME" && exec bash -c "$*" 2> >(grep -v "job control\\|terminal process" >&2)
"""
"""As sshd does: the words behind the host are joined, and a shell reads them."""

RSYNC = """#!/usr/bin/env bash
source=${@: -2:1} target=${@: -1}
target=${target#*:} target=${target/#\\~/$HOME}
mkdir -p "$(dirname "$target")"
if [[ -d $source ]]; then cp -r "$source/." "$target"; exit; fi
[[ $source -ef $target ]] || cp -p "$source" "$target"
"""

NOTE = """#!/usr/bin/env bash
echo "$(basename "$0") $* mode=$RAY_AUTH_MODE uv=$RAY_ENABLE_UV_RUN_RUNTIME_ENV" >> "$HOME/noted"
"""


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def launcher(tmp_path):
    """Runs Ray's command line in a project with a sweep; gives what it wrote."""
    home, project = tmp_path / "home", tmp_path / "project"
    executable(tmp_path / "bin" / "ssh", SSH)
    executable(tmp_path / "bin" / "rsync", RSYNC)
    for name in ("ray", "pip"):
        executable(home / "env" / "bin" / name, NOTE)
    # The head's Python has what setup_commands would have installed: the project's package, editable.
    path = f"PYTHONPATH={home}/custom:{home}/espalier"
    executable(home / "env" / "bin" / "python", f'#!/usr/bin/env bash\n{path} exec {sys.executable} "$@"\n')
    executable(home / "custom" / "sitecustomize.py", HIDE)
    for file, text in {".ssh/id_ed25519": "", ".bashrc": "", ".ray/auth_token": "secret"}.items():
        executable(home / file, text)
    executable(project / "espalier" / "__init__.py", "")
    executable(project / "espalier" / "__main__.py", TELL)
    executable(project / "mine" / "sweep.toml", "")
    shutil.copytree(Path(submit.__file__).parent, project / "cluster")
    described = (ROOT / "cluster" / "deploy" / "on-premise.yaml").read_text(encoding="utf-8")
    for given, own in {
        "192.0.2.10": "127.0.0.1",
        "[192.0.2.11, 192.0.2.12]": "[]",
        "ssh_user: EDIT": "ssh_user: me",
    }.items():
        assert given in described
        described = described.replace(given, own)
    (project / "cluster.yaml").write_text(described, encoding="utf-8")
    environment = {
        "HOME": str(home),
        "RAY_TMPDIR": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
    }

    def run(*words):
        answer = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", *words],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return answer.stdout + answer.stderr

    return run, home


def test_the_cluster_goes_up_and_a_sweep_is_submitted_to_it(launcher):
    run, home = launcher
    said = run("up", "cluster.yaml", "--yes", "--disable-usage-stats")
    noted = (home / "noted").read_text().splitlines()
    assert [line.partition(" ")[0] for line in noted] == ["pip", "ray", "ray"], said
    assert "start --head --port=6379 --dashboard-host=127.0.0.1" in noted[2]
    assert noted[2].endswith("mode=token uv=0")
    assert (home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert (home / "espalier" / "mine" / "sweep.toml").exists()
    said = run("submit", "cluster.yaml", "cluster/submit.py", "mine")
    assert f"written to {home}/espalier/mine on {os.uname().nodename}" in said
    told = [line.strip() for line in said.splitlines()]
    place = told.index(f"{home}/espalier")  # the folder that it was started in, then its words
    assert told[place + 1 : place + 5] == ["run", "mine", "--address", "auto"]
    # Ray quotes nothing: two words arrive of one, and are refused.
    assert "got ['two', 'words']" in run("submit", "cluster.yaml", "cluster/submit.py", "two words; true")
