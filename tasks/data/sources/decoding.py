"""An encoded image as pixels: what every viewer shows, without loss, or a refusal that names its form.

docs/data.md tells the rule for each of Pillow's modes. Letters of shapes: H rows, W columns, C channels.
"""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageOps

from espalier.tasks.data.sources.bit_depth import DEEP, counts_from_white, is_cut

UNDECODABLE = (
    OSError, ValueError, SyntaxError, EOFError, struct.error, RuntimeError, TypeError, LookupError,
    ArithmeticError, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises of an image that is broken, `Unsuited` among them."""

_MARKS = (
    b"Exif",
    b"eXIf",
    b"EXIF",
    b":Orientation",
    b"Raw profile",
    b"iTXt",
    b"zTXt",
    b"ftypavi",
)
"""An image without any of these bytes has no orientation: Pillow need not open it to tell."""

FORMATS = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
"""Formats of which is known how Pillow reads all that they hold. MPO is a camera's JPEG with further ones."""

_WITHOUT_ALPHA = {"LA": "L", "PA": "RGB", "RGBA": "RGB"}


class Unsuited(ValueError):
    """An image of a form that has no conversion without loss; says which, and what to do."""


def decode(content: bytes) -> np.ndarray:
    """The pixels [H, W, C] of an image as it is to be shown: uint8 of 1 or 3 channels, uint16 of 1.

    Raises:
        Unsuited: Its form is none that is read.
        OSError, ValueError, RuntimeError and others: It is broken (`UNDECODABLE`).
    """
    image = _opened(content)
    _refuse_unsuited(image, content)
    image.load()
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    pixels = _pixels(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def _opened(content: bytes) -> Image.Image:
    """An image whose header is read; one so large that Pillow takes it for an attack is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content))
        except Image.DecompressionBombWarning as error:
            raise Unsuited(f"it is too large ({error}): make the images smaller") from error


def form(pixels_HWC: np.ndarray) -> str:
    """How decoded pixels are called in messages and compared: `L`, `I;16` or `RGB`.

    >>> form(np.zeros((2, 2, 1), np.uint16))
    'I;16'
    """
    grey = "I;16" if pixels_HWC.dtype == np.uint16 else "L"
    return grey if pixels_HWC.shape[2] == 1 else "RGB"


def is_turned(content: bytes) -> bool:
    """Whether an image is shown otherwise than it is stored; False of one that cannot be read."""
    if not any(mark in content for mark in _MARKS):
        return False
    try:
        image = _opened(content)
    except UNDECODABLE:
        return False
    return image.format != "TIFF" and _orientation(image) != 1  # Pillow itself turns a TIFF


def mode_of(content: bytes) -> str:
    """Pillow's mode of an image as it is stored."""
    return Image.open(io.BytesIO(content)).mode


def _orientation(image: Image.Image) -> int:
    """1 to 8, as in EXIF; 1, upright, where there is none, or none that can be read."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of EXIF that is cut off, say
            found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except UNDECODABLE:
        return 1
    return found if found in range(2, 9) else 1


def _refuse_unsuited(image: Image.Image, content: bytes) -> None:
    """Refuse what Pillow would read otherwise than viewers show it, without a word."""
    if image.format not in FORMATS:
        raise Unsuited(f"its format is {image.format}: store it as one of {', '.join(sorted(FORMATS))}")
    if is_cut(image, content):
        raise Unsuited(
            "it has 16 bits in each of several channels, or more than 8 that Pillow would cut: store it with "
            "8, or as grey of 16 in PNG"
        )
    if counts_from_white(image):
        raise Unsuited("its values of 16 bits count from white, which Pillow would show as black: turn them")
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise Unsuited(f"it has {frames} frames or pages: store one image")


def _pixels(image: Image.Image) -> np.ndarray:
    """Pixels [H, W] or [H, W, C] of a loaded image."""
    if _shows_through(image):
        raise Unsuited(
            f"it is {image.mode} with transparent pixels, whose colour is the background's: lay it on one"
        )
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if image.mode in DEEP:
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":
        return _narrowed(np.asarray(image))
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode == "P":
        return np.asarray(image.convert("RGB"))
    if image.mode in _WITHOUT_ALPHA:
        return np.asarray(image.convert(_WITHOUT_ALPHA[image.mode]))
    raise Unsuited(
        f"its mode is {image.mode} and there is no conversion of it without loss: store it as grey or as RGB"
    )


def _shows_through(image: Image.Image) -> bool:
    """Whether a pixel is not opaque, by a channel of alpha or a colour that stands for none."""
    if image.mode in _WITHOUT_ALPHA:
        return _some_clear(image)
    if "transparency" not in image.info:
        return False
    if image.mode in (*DEEP, "I"):
        return bool((np.asarray(image) == image.info["transparency"]).any())
    return image.mode in ("1", "L", "P", "RGB") and _some_clear(image.convert("RGBA"))


def _some_clear(image: Image.Image) -> bool:
    return bool((np.asarray(image.getchannel("A")) < 255).any())


def _narrowed(values_HW: np.ndarray) -> np.ndarray:
    """Whole numbers of 32 bits as 16, if those hold them: some formats have 16 bits read as 32."""
    low, high = int(values_HW.min()), int(values_HW.max())
    if low < 0 or high > 65535:
        raise Unsuited(f"its mode is I with values of {low} to {high}: store it with 16 bits, 0 to 65535")
    return values_HW.astype(np.uint16)
