"""What is no Ray is told within seconds, whatever it is; what is busy is not taken for gone."""

import socket
import threading
import time

import pytest

from espalier.cluster.on_ray import answering
from espalier.cluster.on_ray.answering import LOOK_SECONDS, Watch, nobody_listens, silence


@pytest.fixture
def listener():
    """Listens at a free port of localhost; `said` is what it answers whoever comes, nothing if None."""
    made = []

    def listen(said=None):
        link = socket.create_server(("127.0.0.1", 0))
        made.append(link)

        def serve():
            try:
                visitor, _ = link.accept()
            except OSError:
                return
            with visitor:
                visitor.recv(100)
                visitor.sendall(said)

        if said is not None:
            threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{link.getsockname()[1]}"

    yield listen
    for link in made:
        link.close()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as link:
        return f"127.0.0.1:{link.getsockname()[1]}"


def test_a_speaker_of_grpc_may_be_ray(listener):
    assert silence(listener(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))) == ""


@pytest.mark.parametrize("said", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0"])
def test_whoever_else_listens_is_no_ray(listener, monkeypatch, said):
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 0.1)
    assert silence(listener(said)) == (
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
