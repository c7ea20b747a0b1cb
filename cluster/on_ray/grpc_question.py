"""Whether who speaks HTTP/2 at a port is Ray's head, in one exchange: Ray itself would ask for half a minute.

The frames are those of RFC 9113, the headers of RFC 7541 without Huffman's code, the calls those of gRPC over
HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). Only what gRPC in C++ sends, which
Ray's head is, need be understood of an answer: its headers are plain texts.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client begins (RFC 9113, 3.4): the preface and an empty SETTINGS frame."""
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 1, 4
LARGEST_FRAME = 2**14

CALLS = ("/ray.rpc.NodeInfoGcsService/CheckAlive", "/ray.rpc.InternalKVGcsService/InternalKVGet")
"""Two services of Ray's head; whoever knows neither is none, whatever a version may have renamed."""
UNIMPLEMENTED = b"12"


def begins(link: socket.socket) -> bool:
    """Whether the other side answers a client's beginning as HTTP/2 does.

    Raises:
        TimeoutError: It says nothing.
        EOFError: It hangs up without a word.
    """
    link.sendall(PREFACE)
    head = _exactly(link, 9)
    if not head:
        raise EOFError
    if len(head) < 9 or head[3] != SETTINGS or int.from_bytes(head[:3], "big") > LARGEST_FRAME:
        return False
    _exactly(link, int.from_bytes(head[:3], "big"))
    return True


def knows_ray(link: socket.socket, seconds: float) -> bool:
    """Whether the other side has a service of Ray's head.

    Who says nothing within the time is not taken for another: a head may be busy.

    Raises:
        EOFError: It hangs up in between.
    """
    link.sendall(frame(SETTINGS, 1) + b"".join(_call(2 * n + 1, path) for n, path in enumerate(CALLS)))
    refused = set[int]()
    for kind, flags, stream, content in _frames(link, time.monotonic() + seconds):
        if kind == GOAWAY:
            return False
        if kind == HEADERS and (status := _status(content)):
            if status != UNIMPLEMENTED:
                return True
            refused.add(stream)
        elif kind == RST_STREAM or (flags & END_STREAM and kind in (HEADERS, DATA)):
            refused.add(stream)  # an answer without gRPC's status is another protocol's
        if len(refused) == len(CALLS):
            return False
    return True


def frame(kind: int, flags: int = 0, stream: int = 0, content: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return len(content).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + content


def _call(stream: int, path: str) -> bytes:
    """A call without arguments; what has a number here is in HPACK's static table."""
    headers = b"\x83\x86" + b"\x04" + _text(path) + b"\x01" + _text("ray")
    headers += b"\x0f\x10" + _text("application/grpc") + b"\x00" + _text("te") + _text("trailers")
    return frame(HEADERS, END_HEADERS, stream, headers) + frame(DATA, END_STREAM, stream, bytes(5))


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def _status(headers: bytes) -> bytes:
    """gRPC's status among headers; nothing if there is none."""
    _, name, rest = headers.partition(b"grpc-status")
    return rest[1 : 1 + rest[0]] if name and rest else b""


def _frames(link: socket.socket, until: float) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and content of what comes until then; no frame at all is told as GOAWAY.

    Raises:
        EOFError: The other side hangs up.
    """
    while (left := until - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            head = _exactly(link, 9)
            if not head:
                raise EOFError
            length = int.from_bytes(head[:3], "big")
            content = _exactly(link, length) if len(head) == 9 and length <= LARGEST_FRAME else None
        except TimeoutError:
            return
        if content is None or len(content) < length:
            yield GOAWAY, 0, 0, b""
            return
        yield head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, content


def _exactly(link: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer if the other side ends, by a farewell or by a reset."""
    found = b""
    try:
        while len(found) < count and (some := link.recv(count - len(found))):
            found += some
    except ConnectionResetError:
        return found
    return found
