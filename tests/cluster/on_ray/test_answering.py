"""What is no Ray is told within seconds, whatever it is; what is busy is not taken for gone."""

import contextlib
import socket
import struct
import threading
import time

import pytest

from espalier.cluster.on_ray import answering
from espalier.cluster.on_ray.answering import LOOK_SECONDS, Watch, nobody_listens, silence
from espalier.cluster.on_ray.grpc_question import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    frame,
)


def hang_up(link, resets):
    if resets:
        time.sleep(0.1)  # what was said is read first: a reset may overtake it
        with contextlib.suppress(OSError):  # the test is over
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


@pytest.fixture
def listener():
    """Listens at a free port of localhost; `said` is what it answers whoever comes, nothing if None.

    Several texts are answers in turn, each to what comes next; afterwards the link stays open. A single one
    is all that it says before it hangs up; with `resets`, as one does that has not read everything.
    """
    made = []

    def listen(*said, resets=False):
        link = socket.create_server(("127.0.0.1", 0))
        made.append(link)

        def serve():
            try:
                visitor, _ = link.accept()
            except OSError:
                return
            made.append(visitor)
            for each in said:
                visitor.recv(1000)
                visitor.sendall(each)
            if len(said) == 1:
                hang_up(visitor, resets)

        if said != (None,):
            threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{link.getsockname()[1]}"

    yield listen
    for link in made:
        link.close()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as link:
        return f"127.0.0.1:{link.getsockname()[1]}"


BEGIN = frame(SETTINGS)
GRPC = b"\x88@\x0ccontent-type\x10application/grpc@\x0bgrpc-status"
"""How the headers of gRPC's answers begin."""


def answer(stream, headers, kind=HEADERS):
    return frame(kind, END_STREAM, stream, headers)


@pytest.mark.parametrize(
    "said",
    [
        answer(1, GRPC + b"\x0216"),  # without the token
        answer(1, GRPC + b"\x0212") + answer(3, GRPC + b"\x010"),  # another version, with other services
        frame(6, 0, 0, bytes(8)) + frame(HEADERS, 4, 1, b"\x88") + answer(1, GRPC + b"\x010"),
        b"",  # too busy to answer
        answer(1, GRPC + b"\x0212"),
    ],
)
def test_a_head_of_ray_is_known_with_a_token_without_and_when_it_is_busy(listener, monkeypatch, said):
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 0.2)
    assert silence(listener(BEGIN, said)) == ""


@pytest.mark.parametrize(
    "said",
    [
        answer(1, b"\x8d") + answer(3, b"\x8d"),  # 404
        answer(1, GRPC + b"\x0212") + answer(3, b"\x88\xbf\xbe"),  # the same again, by its number
        answer(1, bytes(4), RST_STREAM) + answer(3, bytes(4), RST_STREAM),
        frame(HEADERS, 4, 1, b"\x88") + answer(1, b"hello", DATA) + answer(3, b"", DATA),
        frame(GOAWAY, 0, 0, bytes(8)),
        b"\xff" * 9,
    ],
)
def test_another_speaker_of_http_2_is_told_within_seconds(listener, said):
    begun = time.monotonic()
    assert silence(listener(BEGIN, said)) == "something else than Ray answers"
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("said", [b"", frame(SETTINGS)])
def test_whoever_hangs_up_is_told_as_that_and_not_as_another_speaker(listener, said, resets):
    assert silence(listener(said, resets=resets)).startswith(
        "what listens there hangs up without an answer, as a head"
    )


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("said", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0"])
def test_whoever_else_listens_is_no_ray(listener, monkeypatch, said, resets):
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 0.3)
    assert silence(listener(said, resets=resets)) == (
        "nothing answers" if said is None else "something else than Ray answers"
    )


@pytest.mark.parametrize("address", ["no.such.host.invalid:6379", "127.0.0.1:70000", None])
def test_where_nobody_is_the_reason_is_told_at_once(address):
    begun = time.monotonic()
    assert silence(address or closed_port()) not in ("", "nothing answers")
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port", ""])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError, match=r"is no host:port .*10\.0\.0\.1:6379"):
        silence(address)


def test_a_socket_that_is_gone_is_told_from_a_busy_one(tmp_path, listener):
    host, port = closed_port().split(":")
    assert nobody_listens(socket.AF_INET, (host, int(port)))
    assert nobody_listens(socket.AF_UNIX, str(tmp_path / "never"))
    host, port = listener().split(":")
    assert not nobody_listens(socket.AF_INET, (host, int(port)))
    with socket.socket(socket.AF_UNIX) as link:
        link.bind(str(tmp_path / "s"))
        link.listen()
        assert not nobody_listens(socket.AF_UNIX, str(tmp_path / "s"))
    assert nobody_listens(socket.AF_UNIX, str(tmp_path / "s"))  # the file stays when its process dies


class World:
    def __init__(self):
        self.now, self.missing, self.looks = 0.0, "", 0

    def look(self):
        self.looks += 1
        return self.missing


@pytest.mark.parametrize("patience", [0.0, 15.0])
def test_a_watch_looks_seldom_and_is_patient(patience):
    world = World()
    watch = Watch(world.look, patience, lambda: world.now)

    def told_after(seconds):
        begun = world.now
        while world.now - begun < seconds:
            world.now += 0.1
            if watch.gone():
                return world.now - begun
        return None

    assert told_after(100) is None
    assert world.looks <= 100 / LOOK_SECONDS
    world.missing = "the head"
    if patience:
        assert told_after(patience - LOOK_SECONDS) is None
        assert watch.absent == "the head"
        world.missing = ""  # it was started anew
        assert told_after(100) is None
        world.missing = "the head"
    assert told_after(100) <= patience + 2 * LOOK_SECONDS + 0.1
