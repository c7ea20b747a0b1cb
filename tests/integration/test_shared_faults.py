"""A fault of the images, which every job reads, ends a run once: one line that says what to mend, exit 1."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from espalier.orchestrator import cli
from espalier.orchestrator.planning.nets import nets
from espalier.orchestrator.running.pool_makers import SharedFault, in_process
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.data.tensors import load
from espalier.tasks.jobs.worker_inputs import Inputs
from tests.integration.conftest import run, write_config

KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def bright(row):
    """An 8 x 8 image of two classes, all different."""
    pixels = np.full((8, 8), row, np.uint8)
    pixels[: 4 if row % 2 else 8, :4] = 200
    return encoded(pixels)


def write(folder, split, contents, labels=None):
    folder.mkdir(exist_ok=True)
    rows = pa.array([{"bytes": content, "path": None} for content in contents], KIND)
    told = labels if labels is not None else [row % 2 for row in range(len(contents))]
    pq.write_table(
        pa.table({"image": rows, "label": told}), folder / f"{split}.parquet", compression=None,
        use_dictionary=False,
    )  # fmt: skip
    return folder / f"{split}.parquet"


@pytest.fixture
def sweep(tmp_path):
    """A sweep of two tiny nets on 20 + 10 images, whose folder of images is beside it."""
    data = tmp_path / "images"
    write(data, "train", [bright(row) for row in range(20)])
    write(data, "test", [bright(row) for row in range(100, 110)])
    return write_config(
        tmp_path / "sweep", data__dataset=f'"parquet:{data}"', data__limit_train=20, data__limit_test=10,
        network__layers="[1]", train__epochs=1, train__snapshots=[0, 1], sweep__widths=[2],
        train__batch_size=4,
    )  # fmt: skip


def cut_image(data):
    write(data, "train", [bright(row)[: 40 if row == 9 else None] for row in range(20)])


def cut_test_image(data):
    write(data, "test", [bright(row)[: 40 if row == 103 else None] for row in range(100, 110)])


def torn_part(data):
    """Bytes in the middle of the column of images, of which Parquet's own page headers are a part."""
    path = data / "train.parquet"
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)


def constant(data):
    write(data, "train", [encoded(np.full((8, 8), 7, np.uint8))] * 20)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut_image, "train.parquet, row 9: the image cannot be decoded"),
        (cut_test_image, "test.parquet, row 3: the image cannot be decoded"),
        (torn_part, "train.parquet is no readable Parquet file"),
        (constant, "channel 1 of 1 is 7 in all pixels of all 20 training images"),
        (lambda data: write(data, "train", [bright(1)] * 20, [0] * 20), "two classes or more"),
        (lambda data: write(data, "train", [bright(1)] * 20, [0.5] * 20), "lacks a column `label`"),
    ],
    ids=["train image", "test image", "torn part", "constant", "one class", "labels"],
)
def test_bad_images_end_a_run_in_one_line(sweep, spoil, told, monkeypatch):
    spoil(sweep.parent / "images")
    answer = CliRunner().invoke(cli.app, ["run", str(sweep), "--in-process"])
    assert answer.exit_code == 1
    said = [line for line in answer.output.splitlines() if told in line]
    assert len(said) == 1, answer.output
    assert "FAILED" not in answer.output
    assert "skipped" not in answer.output


@pytest.mark.parametrize("lost", ["folder", "part"])
def test_images_that_are_gone_on_the_workers_end_a_run_once_and_it_goes_on_when_they_are_back(sweep, lost):
    data = sweep.parent / "images"
    place = data if lost == "folder" else data / "test.parquet"
    away = place.with_name("away")

    def pool(fetch, config, largest):
        place.rename(away)
        return in_process(fetch, config)

    with pytest.raises(SharedFault, match=r"images.*found on"):
        Sweep(sweep).run(pool=pool)
    assert Store(sweep).row_count("nets") == 0
    away.rename(place)
    assert run(sweep).complete


def test_images_that_changed_after_the_plan_end_a_run_once(sweep):
    """Keys of planned rows say which images they are of; a worker may read others by the same name."""

    def pool(fetch, config, largest):
        write(sweep.parent / "images", "train", [bright(row) for row in range(20, 40)])
        return in_process(fetch, config)

    with pytest.raises(SharedFault, match=r"images.*are not those that were planned.*again.*found on"):
        Sweep(sweep).run(pool=pool)
    assert Store(sweep).row_count("nets") == 0
    assert run(sweep).complete


def test_a_process_that_read_the_images_before_they_changed_reads_them_anew(sweep):
    assert run(sweep).complete
    write(sweep.parent / "images", "train", [bright(row) for row in range(20, 40)])
    again = Sweep(sweep)
    spec, dataset = nets(again.config, again.facts)[0].data, again.config.data.dataset
    found, _ = Inputs({}, {"dataset": dataset, "folder": again.folder}).images(spec)
    assert torch.equal(found.x_train, load(dataset).x_train)


def test_test_images_that_were_trained_on_are_counted_once(sweep):
    write(sweep.parent / "images", "test", [bright(row) for row in (3, *range(101, 110))])
    answer = CliRunner().invoke(cli.app, ["run", str(sweep), "--in-process"])
    assert answer.exit_code == 0, answer.output
    said = [line for line in answer.output.splitlines() if "1 of 10 test images equal" in line]
    assert len(said) == 1, answer.output
    assert said[0].startswith("note: ")
