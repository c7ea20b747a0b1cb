"""Damages to the bytes of a file, chosen by a seeded generator: the same seed, the same bytes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

Mutation = Callable[[random.Random, bytearray, Sequence[bytes]], bytearray]
"""Takes the generator, what is to be damaged (and may be changed in place), and other files of its kind."""

MOST = 2**16
"""Bytes that one step may add."""
ODD_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
)
ODD_TEXTS = (
    b"", b"null", b"true", b"-1", b"0", b"1e400", b"-0.0", b"nan", b"99999999999999999999", b"[]", b"{}",
    b'""', b"[[", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[2J", b"../../x", b"[red]",
    b"=", b"\n", b"[" * 3000,
)  # fmt: skip
WORDS = re.compile(rb"[A-Za-z_]+|-?\d+(?:\.\d+)?|[\"'\[\]{}=:,]")


def flip_bits(choose: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """One to eight bits."""
    for _ in range(choose.choice((1, 1, 1, 2, 8))):
        if data:
            bit = choose.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
    return data


def set_bytes(choose: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """A byte to any value."""
    if data:
        data[choose.randrange(len(data))] = choose.randrange(256)
    return data


def set_number(choose: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """A number on the edge of what its width holds, where a length or an offset may stand."""
    width = choose.choice((1, 2, 4, 8))
    if len(data) >= width:
        start = choose.randrange(len(data) - width + 1)
        number = choose.choice(ODD_NUMBERS) % 2 ** (8 * width)
        data[start : start + width] = number.to_bytes(width, choose.choice(("little", "big")))
    return data


def cut(choose: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """The end, or a stretch in the middle, goes."""
    start = choose.randrange(len(data) + 1)
    stop = len(data) if choose.random() < 0.5 else min(len(data), start + choose.randrange(1, 64))
    del data[start:stop]
    return data


def insert(choose: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """Any bytes, zeros, or a text that readers stumble over."""
    place = choose.randrange(len(data) + 1)
    new = choose.choice((choose.randbytes(choose.randrange(1, 16)), bytes(8), choose.choice(ODD_TEXTS)))
    data[place:place] = new
    return data


def repeat(choose: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """A stretch stands there again, somewhere else."""
    start = choose.randrange(len(data) + 1)
    stretch = data[start : start + choose.choice((4, 16, 64, 512))]
    times = choose.choice((1, 1, 1, MOST // max(1, len(stretch))))
    place = choose.randrange(len(data) + 1)
    data[place:place] = stretch * times
    return data


def swap_words(choose: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """A word, a number or a sign becomes another one of the file, or an odd text."""
    words = list(WORDS.finditer(bytes(data[:4096])))
    if words:
        old, other = choose.choice(words), choose.choice(words)
        data[old.start() : old.end()] = choose.choice((other.group(), choose.choice(ODD_TEXTS)))
    return data


def splice(choose: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    """The beginning of this file, and the end of another of its kind."""
    other = choose.choice(others)
    return data[: choose.randrange(len(data) + 1)] + other[choose.randrange(len(other) + 1) :]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, set_bytes, set_number, cut, insert, repeat, swap_words, splice
)  # fmt: skip


def damaged(seed: str, files: Sequence[bytes]) -> bytes:
    """One of the files, damaged one to four times."""
    choose = random.Random(seed)
    data = bytearray(choose.choice(files))
    for _ in range(choose.choice((1, 1, 1, 2, 4))):
        data = choose.choice(MUTATIONS)(choose, data, files)
    return bytes(data)
