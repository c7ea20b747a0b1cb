"""What a run reads is what its name says, or is put aside, told of and made again: never believed."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch

import espalier.tasks.training.train
from espalier.tasks.networks.sealed_tensors import pack, unpack
from tests.integration.conftest import all_rows, run, smallest_config


@pytest.fixture
def finished(smallest, tmp_path):
    """A copy of the smallest finished sweep."""
    return Path(shutil.copytree(smallest, tmp_path / "finished"))


def without_grafts(folder):
    """The folder with its nets alone, so that every checkpoint is needed."""
    for table in ("grafts", "downstream"):
        for part in folder.glob(f"tables/{table}/*.parquet"):
            part.unlink()
    return folder


def trained(folder, seed=1):
    """The checkpoint of a trained net."""
    nets = pd.read_parquet(folder / "tables" / "nets")
    return folder / "checkpoints" / nets.query(f"seed == {seed} and epoch == 1").checkpoint.item()


def assert_made_again(folder, smallest, *told, count=1):
    summary = run(folder)
    assert summary.complete
    assert len(summary.repaired) == count
    for message in summary.repaired:
        assert ".broken" in message
        assert "computed again" in message
        assert all(word in message for word in told)
    assert all_rows(folder) == all_rows(smallest)
    assert run(folder).repaired == ()


def test_another_activation_in_a_header_is_not_taken_for_the_nets(finished, smallest):
    path = trained(without_grafts(finished))
    path.write_bytes(path.read_bytes().replace(rb"\"relu\"", rb"\"selu\"", 1))
    assert_made_again(finished, smallest, path.name, "seal")


def test_checkpoints_swapped_by_name_are_not_taken_for_each_other(finished, smallest):
    one, other = (trained(finished, seed=seed) for seed in (0, 1))
    without_grafts(finished)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert_made_again(finished, smallest, "its own key", count=2)


def test_checkpoints_from_before_there_were_seals_are_made_again(finished, smallest):
    without_grafts(finished)
    paths = sorted(finished.glob("checkpoints/*"))
    for path in paths:
        data = path.read_bytes()
        meta = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        old = {name: text for name, text in meta.items() if name not in ("seal", "key")} | {"sha256": "1f"}
        path.write_bytes(safetensors.torch.save(safetensors.torch.load(data), old))
    assert_made_again(finished, smallest, "before checkpoints had one", count=len(paths))


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """Two nets with a snapshot on the way, finished."""
    folder = tmp_path_factory.mktemp("longer") / "whole"
    smallest_config(folder, train__epochs=3, train__snapshots=[0, 1, 3])
    assert run(folder).complete
    return folder


def resealed(data):
    """A state that says of itself, under a seal that holds, that it is of epoch 3."""
    tensors, metadata = unpack(data)
    return pack(tensors, metadata | {"epoch": "3"})


@pytest.mark.parametrize(
    "change",
    [lambda data: data.replace(b'"epoch":"1"', b'"epoch":"3"'), resealed],
    ids=["edited", "edited and sealed anew"],
)
def test_a_state_that_is_not_where_training_goes_on_is_made_again(tmp_path, longer, monkeypatch, change):
    folder = tmp_path / "cut"
    folder.mkdir()
    (folder / "sweep.toml").write_bytes((longer / "sweep.toml").read_bytes())
    honest = espalier.tasks.training.train.train

    def train(segment, state, data):
        if segment.snapshot.epoch == 3:
            raise RuntimeError("cut off")
        return honest(segment, state, data)

    with monkeypatch.context() as patch:
        patch.setattr(espalier.tasks.training.train, "train", train)
        assert not run(folder).complete
    state, _ = sorted(folder.glob("checkpoints/*.resume.safetensors"))
    before = state.read_bytes()
    state.write_bytes(change(before))
    assert state.read_bytes() != before
    assert_made_again(folder, longer, state.name)
