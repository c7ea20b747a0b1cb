import errno
import os
import platform
import shutil
from importlib import metadata

import pytest

from espalier.cluster.on_ray import auth_token, node_facts

MIB = 2**20

SMI = """#!/bin/sh
echo "NVIDIA A100-SXM4-40GB, 40960, 40000, 550.54.15"
echo "NVIDIA A10G, 23028, [N/A], 550.54.15"
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a token, in an environment that says nothing of one."""
    for name in (auth_token.MODE, auth_token.TOKEN, auth_token.TOKEN_PATH):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_facts_are_those_of_this_machine(home, tmp_path):
    found = node_facts.facts(folder=str(tmp_path / "not" / "there"))
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["ray"] == metadata.version("ray")
    assert found["disk"]["size"] == shutil.disk_usage(tmp_path).total
    assert 0 < found["disk"]["free"] <= found["disk"]["size"]
    assert found["memory"] > 100 * MIB
    assert len(found["code"]) == 12
    assert found["token"] == {"mode": "", "token": "", "open": ""}


def test_gpus_are_read_from_nvidias_tool(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert node_facts.gpus() == [
        {"name": "NVIDIA A100-SXM4-40GB", "memory": 40960 * MIB, "free": 40000 * MIB, "driver": "550.54.15"},
        {"name": "NVIDIA A10G", "memory": 23028 * MIB, "free": 0, "driver": "550.54.15"},
    ]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert node_facts.gpus() == []


def test_a_token_that_others_can_read_is_told_and_guarded(home):
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("secret")
    file.chmod(0o644)
    assert auth_token.described({}) == {"mode": "", "token": str(file), "open": "644"}
    auth_token.guard(file)
    assert auth_token.described({})["open"] == ""
    assert auth_token.described({auth_token.TOKEN: "x"})["token"] == "variable"
    assert str(auth_token.token_file({auth_token.TOKEN_PATH: "/run/token"})) == "/run/token"
    auth_token.guard(home / "none")


def test_a_token_that_cannot_be_guarded_is_left(monkeypatch):
    """As on a disk that is mounted read-only."""

    class Secret:
        def stat(self):
            return os.stat_result((0o100644, *[0] * 9))

        def chmod(self, mode):
            raise OSError(errno.EROFS, "Read-only file system")

    auth_token.guard(Secret())


def test_a_file_is_seen_with_its_text_alone(tmp_path):
    (tmp_path / "mark").write_text("a", encoding="utf-8")
    assert node_facts.sees(str(tmp_path / "mark"), "a")
    assert not node_facts.sees(str(tmp_path / "mark"), "b")
    assert not node_facts.sees(str(tmp_path / "none"), "a")


def test_a_change_of_the_source_is_another_digest(monkeypatch, tmp_path):
    before = node_facts._code()
    copy = tmp_path / "espalier" / "cluster" / "on_ray" / "node_facts.py"
    copy.parent.mkdir(parents=True)
    copy.write_text("x = 1\n")
    monkeypatch.setattr(node_facts, "__file__", str(copy))
    one = node_facts._code()
    copy.write_text("x = 2\n")
    assert len({before, one, node_facts._code()}) == 3
