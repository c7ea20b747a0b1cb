"""The files that start clusters, against what the installed Ray and KubeRay's reference say of them."""

import copy
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.scripts.scripts import cli as ray_commands

from espalier.analysis.report_cli import app
from espalier.cluster import submit
from tests.cluster.kuberay_schema import RAY_JOB

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "cluster" / "deploy"
CLOUDS = ("aws", "gcp")
LAUNCHED = (*CLOUDS, "on-premise")


def read(name):
    return yaml.safe_load((DEPLOY / f"{name}.yaml").read_text(encoding="utf-8"))


def prepared(config):
    made = prepare_config(copy.deepcopy(config))
    validate_config(made)
    return made


@pytest.mark.parametrize("name", LAUNCHED)
def test_rays_launcher_takes_the_file(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").touch()  # the launcher hashes the key
    config = prepared(read(name))
    workers = {kind: node["min_workers"] for kind, node in config["available_node_types"].items()}
    assert sum(workers.values()) == config["max_workers"] == (2 if name == "on-premise" else 4)
    assert set(AutoscalingConfig(config, skip_content_hash=True).get_node_type_configs()) == set(workers)


@pytest.mark.parametrize("name", LAUNCHED)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config.update(clutser_name="x"),
        lambda config: config["provider"].pop("type"),
        lambda config: config.update(setup_commands="pip install ."),
    ],
)
def test_a_spoilt_file_would_be_refused(name, spoil):
    config = read(name)
    spoil(config)
    with pytest.raises((jsonschema.ValidationError, KeyError, TypeError)):
        prepared(config)


@pytest.mark.parametrize("name", CLOUDS)
def test_resources_and_labels_are_written_out(name):
    nodes = read(name)["available_node_types"]
    assert nodes["head"]["resources"] == {"CPU": 0}
    assert nodes["gpu"]["resources"] == {"CPU": 8, "GPU": 1}
    assert nodes["gpu"]["labels"]["market"] == "spot"
    assert re.search("spot|preemptible", str(nodes["gpu"]["node_config"]))
    assert not re.search("spot|preemptible", str(nodes["head"]["node_config"]))


def test_aws_keeps_no_stopped_machines_whose_disks_cost():
    assert read("aws")["provider"]["cache_stopped_nodes"] is False


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_ray_of_a_launched_cluster_asks_for_the_one_token(name):
    config = read(name)
    starts = [
        line
        for line in (*config["head_start_ray_commands"], *config["worker_start_ray_commands"])
        if "ray start" in line
    ]
    assert len(starts) == 2
    for line in starts:
        assert "RAY_AUTH_MODE=token RAY_ENABLE_UV_RUN_RUNTIME_ENV=0" in line
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    assert any(">> ~/.bashrc" in line and "RAY_AUTH_MODE=token" in line for line in config["setup_commands"])


def commands(name):
    config = read(name)
    return [line for field, lines in config.items() if field.endswith("_commands") for line in lines]


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_commands_are_shell(name):
    for line in commands(name):
        subprocess.run(["bash", "-n", "-c", line], check=True, timeout=10)


def test_the_line_in_bashrc_is_written_once_and_read(tmp_path):
    (line,) = [line for line in commands("aws") if ">> ~/.bashrc" in line]
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    (tmp_path / ".bashrc").touch()
    script = f"{line}\n{line}\n. ~/.bashrc; echo $RAY_AUTH_MODE $RAY_ENABLE_UV_RUN_RUNTIME_ENV; echo $PATH"
    answer = subprocess.run(["bash", "-ec", script], env=home, capture_output=True, text=True, timeout=10)
    mode, path = answer.stdout.splitlines()
    assert mode == "token 0"
    assert path.startswith(f"{tmp_path}/env/bin:")
    assert (tmp_path / ".bashrc").read_text().count("export") == 1


def job():
    return read("kuberay")


def test_the_ray_job_has_the_fields_of_kuberay():
    jsonschema.validate(job(), RAY_JOB)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(backofLimit=3),
        lambda spec: spec.update(submissionMode="Http"),
        lambda spec: spec["rayClusterSpec"]["authOptions"].update(mode="tokens"),
        lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda spec: spec.update(preRunningDeadlineSeconds=0),
    ],
)
def test_a_spoilt_ray_job_would_be_refused(spoil):
    spoilt = job()
    spoil(spoilt["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, RAY_JOB)


def test_the_ray_job_cleans_up_asks_for_a_token_and_names_the_installed_ray():
    spec = job()["spec"]
    assert spec["shutdownAfterJobFinishes"] is True  # what ttlSecondsAfterFinished needs
    assert "deletionStrategy" not in spec  # which excludes shutdownAfterJobFinishes
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert yaml.safe_load(spec["runtimeEnvYAML"]) == {"env_vars": {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}}
    pinned = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert spec["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_the_entrypoint_of_the_ray_job_is_one_that_submit_takes():
    python, flag, module, *words = shlex.split(job()["spec"]["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "espalier.cluster.submit")
    folder, results = submit.arguments(words)
    mounts = {
        mount["mountPath"]
        for group in pods(job())
        for container in group["containers"]
        for mount in container["volumeMounts"]
    }
    assert folder in mounts
    assert any(results.startswith(f"{mount}/") for mount in mounts)


def pods(described):
    cluster = described["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_every_mount_has_its_volume_and_gpus_are_limits():
    for pod in pods(job()):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert container["resources"]["limits"] == container["resources"]["requests"]
    assert "nvidia.com/gpu" in pods(job())[1]["containers"][0]["resources"]["limits"]


STUB = """#!/usr/bin/env bash
echo "{name} $*" >> "$LOG"
{does}
"""
SRUN = """while [[ $1 == --* ]]; do shift; done
"$@"
"""
RAY = """cat "$RAY_AUTH_TOKEN_PATH" > "$LOG.token"
stat -c %a "$RAY_AUTH_TOKEN_PATH" > "$LOG.mode"
env | grep -E "^RAY_" | sort > "$LOG.env"
exit "${STATUS:-0}"
"""
STUBS = {
    "srun": SRUN,
    "scontrol": 'printf "node1\\nnode2\\n"',
    "hostname": 'echo "10.0.0.1 172.17.0.1"',
    "ray": RAY,
    "espalier": "",
}


@pytest.fixture
def slurm(tmp_path):
    """Runs the script where Slurm and Ray are stubs; gives the process and the folder with what was noted."""
    bin_folder = tmp_path / "env" / "bin"
    bin_folder.mkdir(parents=True)
    for name, does in STUBS.items():
        (bin_folder / name).write_text(STUB.format(name=name, does=does))
        (bin_folder / name).chmod(0o755)
    (bin_folder / "python").symlink_to(shutil.which("python3"))
    environment = {
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "LOG": str(tmp_path / "log"),
        "ESPALIER_ENV": str(tmp_path / "env"),
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
    }

    def run(*words, **more):
        return subprocess.run(
            ["bash", str(DEPLOY / "slurm.sh"), *words],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=20,
        )

    return run, tmp_path


def test_slurm_starts_one_ray_on_all_nodes_with_a_token_of_its_own(slurm):
    run, place = slurm
    answer = run("/shared/sweeps/cifar10")
    assert answer.returncode == 0, answer.stderr
    (line,) = [line for line in (place / "log").read_text().splitlines() if line.startswith("ray ")]
    start, _, entry = line.partition(" -- ")
    assert start == "ray symmetric-run --address 10.0.0.1:22345 --min-nodes 2"
    assert entry == "python -m espalier.cluster.submit /shared/sweeps/cifar10"
    assert re.fullmatch("[0-9a-f]{64}", (place / "log.token").read_text())
    assert (place / "log.mode").read_text().strip() == "600"
    settings = (place / "log.env").read_text()
    for wanted in (
        "AUTH_MODE=token",
        "ENABLE_UV_RUN_RUNTIME_ENV=0",
        "SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300",
    ):
        assert f"RAY_{wanted}\n" in settings
    assert not list(place.glob(".espalier-*"))


def test_slurm_hands_on_how_the_run_ended_and_leaves_no_token(slurm):
    run, place = slurm
    assert run("/shared/sweeps/cifar10", STATUS="2").returncode == 2
    assert not list(place.glob(".espalier-*"))


def test_slurm_refuses_before_anything_starts(slurm, tmp_path):
    run, place = slurm
    assert "usage: sbatch" in run().stderr
    answer = run("/shared/a", ESPALIER_ENV=str(tmp_path / "nowhere"))
    assert answer.returncode == 2
    assert "set ESPALIER_ENV" in answer.stderr
    assert not (place / "log").exists()


def test_slurm_asks_for_nodes_of_its_own():
    """`ray stop` at the end would end the Rays of others."""
    text = (DEPLOY / "slurm.sh").read_text(encoding="utf-8")
    options = re.findall(r"^#SBATCH (\S+)", text, re.MULTILINE)
    assert {"--exclusive", "--ntasks-per-node=1"} <= set(options)
    assert text.index("#SBATCH --output") < text.index("set -euo")  # later lines are not read


def test_the_script_is_shell():
    checks = [["bash", "-n"], *([["shellcheck"]] if shutil.which("shellcheck") else [])]
    for check in checks:
        subprocess.run([*check, str(DEPLOY / "slurm.sh")], check=True, timeout=30)


def test_the_script_may_be_started():
    assert (DEPLOY / "slurm.sh").stat().st_mode & stat.S_IXUSR


PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_the_page_tells_of_each_file_what_it_costs_and_how_it_ends():
    for file in DEPLOY.iterdir():
        assert f"cluster/deploy/{file.name}" in PAGE, file.name
    assert PAGE.count("**What leaving it on costs**") == 5
    for end in (
        "ray down cluster/deploy/aws.yaml",
        "ray down cluster/deploy/gcp.yaml",
        "kubectl delete",
        "scancel",
    ):
        assert end in PAGE


def test_each_command_of_the_page_is_one_that_ray_or_espalier_has():
    lines = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
    used = {tuple(line.split()[:2]) for line in lines if line.startswith(("ray ", "espalier "))}
    ours = {command.name or command.callback.__name__ for command in app.registered_commands}
    known = {"ray": set(ray_commands.commands), "espalier": ours}
    assert len(used) > 10
    assert not [words for words in used if words[1] not in known[words[0]]]


def test_the_image_is_built_of_what_its_commands_read():
    """What .dockerignore leaves out is copied nowhere, so nothing may ask for it."""
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert {".git", ".venv", "results"} <= set(left_out)
    for needed in ("constraints.txt", "pyproject.toml", "README.md", "espalier", "cluster", "LICENSE"):
        assert needed not in left_out
        assert (ROOT / needed).exists()
    assert "--constraints constraints.txt ." in text
    assert "python:3.11" in text
