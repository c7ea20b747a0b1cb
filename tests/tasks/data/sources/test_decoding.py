"""What of an encoded image reaches a net: what every viewer shows, without loss, or a refusal by name."""

import contextlib
import io
import random
import warnings
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from espalier.tasks.data.images import DataError, facts, read
from espalier.tasks.data.sources.bit_depth import is_cut
from espalier.tasks.data.sources.decoding import UNDECODABLE, Unsuited, decode, is_turned
from espalier.tasks.data.tensors import load, measure_counts

ORIENTATION = 0x0112
STORED = {  # how a camera with the tag 1..8 stores what a viewer shows upright
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}
UPRIGHT = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
DEEP = np.array([[0, 1, 255], [256, 10280, 65535]], np.uint16)
GREY = np.array([[0, 7, 255], [20, 128, 3]], np.uint8)


def encoded(image, kind="PNG", orientation=None, **options):
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = orientation
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))).save(
        stream, kind, **options
    )
    return stream.getvalue()


def write(folder, train, test, labels=None):
    folder.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split, contents in (("train", train), ("test", test)):
        rows = pa.array([{"bytes": content, "path": None} for content in contents], kind)
        told = labels or [row % 2 for row in range(len(contents))]
        pq.write_table(pa.table({"image": rows, "label": told}), folder / f"{split}.parquet")
    return f"parquet:{folder}"


@pytest.mark.parametrize("orientation", sorted(STORED))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_an_orientation_is_applied_whatever_the_format(orientation, kind):
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(STORED[orientation](UPRIGHT), kind, orientation, **lossless)
    assert np.array_equal(decode(content), UPRIGHT)


@pytest.mark.parametrize("orientation", sorted(STORED))
def test_an_orientation_is_applied_to_each_form_of_pixels_before_sizes_are_compared(orientation, tmp_path):
    halves = np.zeros((8, 16, 3), np.uint8)
    halves[:4] = 200
    shown = decode(encoded(STORED[orientation](halves), "JPEG", orientation))
    assert shown.shape == (8, 16, 3)
    assert shown[:3].min() > 150 > 50 > shown[5:].max()
    assert np.array_equal(decode(encoded(STORED[orientation](DEEP), "PNG", orientation))[..., 0], DEEP)
    turned = encoded(STORED[orientation](UPRIGHT), "PNG", orientation)
    plain = encoded(UPRIGHT)
    raw = read(write(tmp_path / "x", [plain, turned], [turned, plain]))
    assert np.array_equal(raw.x_train, raw.x_test)
    assert raw.x_train.shape == (2, 3, 4, 6)


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0", b"MM\0*\0\0\0\x08\0\xff"])
def test_exif_that_cannot_be_read_turns_nothing(exif):
    assert np.array_equal(decode(encoded(UPRIGHT, exif=exif)), UPRIGHT)


@pytest.mark.parametrize("odd", [0, 9, 77])
def test_an_orientation_that_does_not_exist_turns_nothing(odd):
    assert np.array_equal(decode(encoded(UPRIGHT, orientation=odd)), UPRIGHT)
    assert not is_turned(encoded(UPRIGHT, orientation=odd))


def test_the_content_of_data_says_that_images_were_turned_and_only_then(tmp_path):
    """Rows of before, which saw the images as they are stored, must not serve for these."""
    plain = encoded(UPRIGHT)
    upright = encoded(UPRIGHT, orientation=1)
    turned = encoded(STORED[3](UPRIGHT), orientation=3)
    assert [is_turned(content) for content in (plain, upright, turned)] == [False, False, True]
    told = [
        facts(write(tmp_path / name, [plain, one], [plain, plain])).content.count("orientation")
        for name, one in (("a", plain), ("b", upright), ("c", turned))
    ]
    assert told == [0, 0, 1]
    assert "orientation" in facts(write(tmp_path / "d", [plain, plain], [plain, turned])).content


@pytest.mark.parametrize(
    "content",
    [encoded(DEEP), encoded(DEEP, "TIFF"), encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF")],
    ids=["png", "tiff", "tiff of 32 bits that 16 hold"],
)
def test_sixteen_bits_stay_sixteen_bits(content, tmp_path):
    pixels = decode(content)
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[..., 0], DEEP)
    dataset = write(tmp_path / "deep", [content, encoded(DEEP[::-1])], [content] * 2)
    assert "16 bits" in facts(dataset).content
    assert facts(dataset).channels == 1
    x = load(dataset).x_train.double()
    shown = np.stack([DEEP, DEEP[::-1]]).astype(np.float64)
    assert x[:, 0].numpy() == pytest.approx((shown - shown.mean()) / shown.std(), abs=1e-6)


def test_sums_of_many_sixteen_bit_pixels_do_not_overflow():
    counts_V = np.zeros(65536, np.int64)
    counts_V[[0, 65535]] = 3 * 10**9
    assert measure_counts(counts_V) == (32767.5, 32767.5)


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (Image.fromarray(GREY > 100), np.where(GREY > 100, 255, 0)),
        (Image.merge("LA", (Image.fromarray(GREY), Image.new("L", (3, 2), 255))), GREY),
        (Image.fromarray(GREY), GREY),
    ],
    ids=["1", "LA", "L"],
)
def test_grey_modes_are_one_channel(image, wanted, tmp_path):
    pixels = decode(encoded(image))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, wanted[..., None])
    dataset = write(tmp_path / "grey", [encoded(image), encoded(GREY[::-1])], [encoded(GREY)] * 2)
    assert ("grey" in facts(dataset).content) == (image.mode != "L")  # those were three channels before


def palette():
    image = Image.fromarray((GREY // 128).astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 150, 100] + [0] * 762)
    return image


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (Image.fromarray(UPRIGHT).convert("RGBA"), UPRIGHT),
        (palette(), np.array([[10, 20, 30], [200, 150, 100]], np.uint8)[GREY // 128]),
    ],
    ids=["RGBA", "P"],
)
def test_colour_modes_are_three_channels_as_they_were(image, wanted, tmp_path):
    assert np.array_equal(decode(encoded(image)), wanted)
    told = facts(write(tmp_path / "colour", [encoded(image)] * 2, [encoded(image)] * 2))
    assert told.content.endswith(";train and test by file name")


def transparent(mode, alpha=90):
    colours = Image.fromarray(UPRIGHT)
    return Image.merge(
        mode, (*colours.convert("L" if mode == "LA" else "RGB").split(), Image.new("L", (6, 4), alpha))
    )


def sixteen_bit_colours():
    """A PNG that Pillow would cut to 8 bits: it cannot write one."""
    rows = b"".join(b"\0" + np.arange(9, dtype=">u2").tobytes() for _ in range(2))

    def chunk(name, body):
        return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

    header = (3).to_bytes(4, "big") + (2).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def deep_jpeg2000():
    """Colours that say to have 16 bits, in marker SIZ: Pillow reads them as 8, and writes none."""
    content = bytearray(encoded(UPRIGHT, "JPEG2000"))
    first = content.index(b"\xff\x51") + 40  # after the number of components
    content[first : first + 9 : 3] = bytes([15] * 3)
    return bytes(content)


def white_is_zero():
    content = encoded(Image.fromarray(DEEP), "TIFF")
    entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"  # tag 262, one 16-bit number
    assert content.count(entry + b"\x01") == 1
    return content.replace(entry + b"\x01", entry + b"\x00")


def moving(kind):
    """Two frames, of which Pillow shows the first."""
    return encoded(UPRIGHT, kind, save_all=True, append_images=[Image.fromarray(UPRIGHT[::-1].copy())])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (encoded(transparent("LA")), "LA with transparent pixels"),
        (encoded(transparent("RGBA")), "RGBA with transparent pixels"),
        (encoded(palette(), transparency=1), "P with transparent pixels"),
        (encoded(Image.fromarray(GREY), transparency=7), "L with transparent pixels"),
        (encoded(Image.fromarray(UPRIGHT), transparency=tuple(UPRIGHT[0, 0].tolist())), "RGB with transp"),
        (encoded(Image.fromarray(DEEP), transparency=256), "I;16 with transparent pixels"),
        (encoded(Image.new("CMYK", (3, 2)), "JPEG"), "CMYK"),
        (encoded(Image.new("CMYK", (3, 2)), "TIFF"), "CMYK"),
        (encoded(Image.new("F", (3, 2)), "TIFF"), "F "),
        (encoded(Image.fromarray(DEEP.astype(np.int32) * 70000), "TIFF"), "I with values of"),
        (encoded(Image.fromarray(DEEP.astype(np.int32) - 1), "TIFF"), "I with values of -1"),
        (encoded(Image.new("LAB", (3, 2)), "TIFF"), "LAB"),
        (sixteen_bit_colours(), "16 bits in each of several channels"),
        (b"P6 1 1 65535\n" + bytes(6), "16 bits in each of several channels"),
        (deep_jpeg2000(), "more than 8 that Pillow would cut"),
        (encoded(UPRIGHT, "SGI"), "its format is SGI"),
        (encoded(UPRIGHT, "ICO"), "its format is ICO"),
        (white_is_zero(), "count from white"),
        *((moving(kind), "2 frames") for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF")),
    ],
    ids=lambda value: value if isinstance(value, str) else "image",
)
def test_what_cannot_be_had_without_loss_is_refused_by_name_with_the_row(content, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        decode(content)
    whole = encoded(Image.open(io.BytesIO(encoded(UPRIGHT))))
    dataset = write(tmp_path / "x", [whole, content], [whole])
    with pytest.raises(DataError, match=rf"train.parquet, row 1: .*{named}.*: "):
        read(dataset)


def test_an_avif_tells_by_its_configuration_that_it_has_more_than_eight_bits():
    """Pillow writes no such files, and reads none whose parts contradict each other."""
    content = encoded(UPRIGHT, "AVIF")
    opened, deep = Image.open(io.BytesIO(content)), bytearray(content)
    deep[content.index(b"av1C") + 6] |= 0x40  # high_bitdepth
    assert not is_cut(opened, content)
    assert is_cut(opened, bytes(deep))
    assert is_cut(opened, content.replace(b"av1C", b"av1X"))  # what cannot be judged


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "TIFF", "JPEG2000", "GIF"])
def test_whatever_a_broken_image_raises_is_an_error_of_its_row(kind):
    content, choose = encoded(UPRIGHT, kind), random.Random(0)
    for _ in range(60):
        broken = bytearray(content)
        for _ in range(choose.choice((1, 5))):
            broken[choose.randrange(len(broken))] = choose.randrange(256)
        with contextlib.suppress(*UNDECODABLE), warnings.catch_warnings(action="ignore"):
            is_turned(bytes(broken))
            decode(bytes(broken))


def test_an_image_that_pillow_takes_for_an_attack_is_refused_before_its_pixels_are_made(monkeypatch):
    content = encoded(UPRIGHT)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", UPRIGHT.shape[0] * UPRIGHT.shape[1] - 1)
    with pytest.raises(Unsuited, match="too large"):
        decode(content)


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_colours_of_eight_bits_are_read_from_each_format(kind):
    assert abs(decode(encoded(np.full((8, 8, 3), 90, np.uint8), kind)).astype(int) - 90).max() < 4


def test_grey_of_sixteen_bits_is_read_from_each_format_that_keeps_it():
    for kind in ("PNG", "TIFF", "PPM", "JPEG2000"):
        assert np.array_equal(decode(encoded(DEEP, kind))[..., 0], DEEP)


def test_a_bmp_of_sixteen_bits_a_pixel_has_eight_or_fewer_a_channel():
    header = (14 + 40 + 4).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    size = (40).to_bytes(4, "little") + (1).to_bytes(4, "little") * 2 + b"\x01\x00\x10\x00" + bytes(24)
    assert decode(b"BM" + header + size + b"\xff\x7f\0\0").tolist() == [[[255, 255, 255]]]


def test_pixels_that_no_transparency_touches_are_kept():
    assert np.array_equal(decode(encoded(Image.fromarray(GREY), transparency=99))[..., 0], GREY)
    assert np.array_equal(decode(encoded(Image.fromarray(DEEP), transparency=99))[..., 0], DEEP)


def test_sixteen_and_eight_bits_in_one_set_are_refused_by_row(tmp_path):
    dataset = write(tmp_path / "mixed", [encoded(DEEP), encoded(GREY)], [encoded(DEEP)])
    with pytest.raises(DataError, match=r"row 1: the image is L of 2 x 3, but the first .* I;16 of 2 x 3"):
        read(dataset)
