"""Whether Pillow would cut an image's channels to 8 bits without a word, from what the image's file says.

Sources: PNG and TIFF by the raw mode that Pillow itself found; JPEG 2000 part 1, A.5.1 (marker SIZ); AV1 in
ISO base media files, 2.3.3 (box `av1C`); Netpbm's `maxval`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageFile

DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
"""Modes of Pillow's that hold 16 bits, of one channel."""
_SIZ, _COMPONENTS = b"\xff\x4f\xff\x51", 38
_AV1, _HIGH_BITDEPTH = b"av1C", 0x40
_WHITE_IS_ZERO, _PHOTOMETRIC, _BITS = 0, 262, 258


def is_cut(image: Image.Image, content: bytes) -> bool:
    """Whether an opened image that is not loaded has more than 8 bits a channel, and Pillow gives 8."""
    if image.format == "AVIF":
        return _avif_is_deep(content)
    if image.mode in (*DEEP, "I", "F"):
        return False
    if image.format == "JPEG2000":
        return _jpeg2000_is_deep(content)
    if image.format == "PPM":
        return any(isinstance(part, int) and part > 255 for part in _told(image))
    if image.format in ("PNG", "TIFF"):
        return any(isinstance(part, str) and ";16" in part for part in _told(image)) or _tiff_is_deep(image)
    return False


def counts_from_white(image: Image.Image) -> bool:
    """Whether a TIFF's values of 16 bits are 0 where white is shown: Pillow turns those of 8 bits alone."""
    tags: Any = getattr(image, "tag_v2", {})
    return image.mode in (*DEEP, "I", "F") and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _told(image: Image.Image) -> Iterator[Any]:
    """What Pillow tells its decoders."""
    for tile in image.tile if isinstance(image, ImageFile.ImageFile) else []:
        yield from tile.args if isinstance(tile.args, tuple) else (tile.args,)


def _tiff_is_deep(image: Image.Image) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    return any(bits > 8 for bits in tags.get(_BITS, ()))


def _jpeg2000_is_deep(content: bytes) -> bool:
    """Whether a component has more than 8 bits: each has a byte of depth - 1 and the sign, and two more."""
    start = content.find(_SIZ) + 2
    length = int.from_bytes(content[start + 2 : start + 4], "big")
    depths = content[start + 2 + _COMPONENTS : start + 2 + length : 3]
    return start < 2 or not depths or any(depth & 127 > 7 for depth in depths)


def _avif_is_deep(content: bytes) -> bool:
    """Whether any image in it has 10 or 12 bits, or none says how many it has."""
    told = [part[2] & _HIGH_BITDEPTH for part in content.split(_AV1)[1:] if len(part) > 2]
    return not told or any(told)
