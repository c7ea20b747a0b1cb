import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from espalier.cluster.pool import Done, Failed, InProcessPool, Job
from tests.cluster import toys

pytestmark = [pytest.mark.ray, pytest.mark.timeout(100)]

DURABLE = {"a": b"1" * 10, "b": b"2" * 200_000}


class Durable:
    """The durable store, counting its reads."""

    def __init__(self):
        self.reads = Counter()

    def __call__(self, name):
        self.reads[name] += 1
        return DURABLE[name]


@pytest.fixture(scope="module")
def pool(local_ray):
    from espalier.cluster.on_ray.ray_pool import RayPool

    with RayPool("toys:execute", DURABLE.__getitem__, slots=2) as pool:
        yield pool


@pytest.fixture
def durable(pool, monkeypatch):
    store = Durable()
    monkeypatch.setattr(pool._dispatch, "fetch", store)
    pool._dispatch.blobs.drop(list(pool._dispatch.blobs._entries))
    return store


def run(pool, *jobs, attempt=1):
    for job in jobs:
        pool.submit(job, attempt)
    events = []
    limit = time.monotonic() + 60
    while len(events) < len(jobs):
        assert time.monotonic() < limit, events
        events += pool.wait(timeout=5)
    assert Counter(event.key for event in events) == Counter(job.key for job in jobs)
    return {event.key: event for event in events}


def pids(pool):
    """The process of each actor, once all are up."""
    found = set()
    for turn in range(200):
        events = run(pool, *[Job(f"look{turn}.{index}", "look", 0.1) for index in range(pool.slots)])
        found = {event.output.tables["pid"] for event in events.values()}
        if len(found) == pool.slots:
            break
    return found


def test_both_pools_give_the_same_outputs(pool, durable):
    jobs = [Job(f"same{i}", "join", i, inputs=("b", "a")[: i % 3]) for i in range(6)]
    jobs.append(Job("bad", "fail", "luck"))
    events = run(pool, *jobs)
    direct = InProcessPool(toys.execute, DURABLE.__getitem__)
    for job in jobs:
        direct.submit(job, 1)
        [expected] = direct.wait(0)
        event = events[job.key]
        if isinstance(expected, Done):
            assert event.output == expected.output
            assert all(type(blob) is bytes for blob in event.output.blobs.values())
        else:
            assert (event.reason, event.error) == (expected.reason, expected.error)
        assert (event.node, event.device, event.attempt) == (expected.node, expected.device, 1)


def test_a_blob_travels_by_reference_and_a_durable_one_is_read_once(pool, durable):
    run(pool, Job("made", "join", "!", inputs=("a",), gives=2))
    events = run(pool, *[Job(f"use{i}", "join", "", inputs=("made", "b")) for i in range(6)])
    assert all(event.output.blobs[key] == DURABLE["a"] + b"!" + DURABLE["b"] for key, event in events.items())
    assert durable.reads == {"a": 1, "b": 1}


def test_a_folder_is_shared_where_there_are_several_nodes_and_a_url_on_any_cluster(pool, tmp_path):
    (tmp_path / "mark").write_text("text")
    assert pool.spread, "the Ray is not this pool's own"
    assert not pool.shares(str(tmp_path), "mark", "text"), "there is one node"
    assert pool.shares("s3://bucket/sweep", "mark", "text")


def test_actors_are_kept_have_one_thread_and_finish_each_job_once(pool):
    first = pids(pool)
    assert len(first) == pool.slots == 2
    events = run(pool, *[Job(f"many{i}", "look", 0.0) for i in range(100)])
    assert {event.output.tables["pid"] for event in events.values()} <= first
    assert {event.output.tables["threads"] for event in events.values()} == {"1"}


def test_reasons(pool, durable):
    events = run(
        pool,
        Job("error", "fail", "luck"),
        Job("hopeless", "despair", None),
        Job("unread", "join", "", inputs=("gone",)),
        Job("unpicklable", "unpicklable", None),
        Job("unsent", "look", threading.Lock()),
    )
    assert {key: event.reason for key, event in events.items()} == {
        "error": "error",
        "hopeless": "hopeless",
        "unread": "error",
        "unpicklable": "error",
        "unsent": "error",
    }
    assert events["hopeless"].error == "HopelessError: never"
    assert events["unread"].error == "KeyError: 'gone'"


def test_a_job_that_kills_its_worker_is_lost_and_those_behind_it_run(pool, durable):
    before = pids(pool)
    jobs = [Job("die", "die", None, inputs=("a",))] + [Job(f"behind{i}", "look", 0.0) for i in range(6)]
    events = run(pool, *jobs, attempt=2)
    lost = events.pop("die")
    assert isinstance(lost, Failed)
    assert (lost.reason, lost.attempt, lost.device) == ("lost", 2, "cpu")
    assert all(isinstance(event, Done) for event in events.values())
    run(pool, Job("again", "join", "", inputs=("a",)))
    assert durable.reads["a"] == 2  # the retry does not trust the object store
    assert len(pids(pool) - before) == 1


def test_a_call_taken_back_before_it_began_ends_in_silence(pool):
    import ray

    from espalier.cluster.on_ray.actors import Call
    from espalier.cluster.on_ray.packing import packed

    pids(pool)  # every slot has started and idles
    taken_back = Call(Job("never", "look", 0.0), 1, ray.put(packed((None, ()))))
    taken_back.moved = True
    pool._slots[0].calls.append(taken_back)
    assert pool.wait(timeout=2) == []
    assert len(pids(pool)) == pool.slots


def test_a_worker_killed_from_outside_is_lost(pool):
    victim = min(pids(pool))
    for index in range(2):
        pool.submit(Job(f"long{index}", "sleep", 2.0), 1)
    assert pool.wait(0.5) == []
    os.kill(victim, signal.SIGKILL)
    events = pool.wait(10) + pool.wait(10)
    assert sorted(getattr(event, "reason", "done") for event in events) == ["done", "lost"]
    lost = next(event for event in events if isinstance(event, Failed))
    assert 0.4 < lost.seconds < 2.0


def test_a_job_does_not_wait_behind_a_long_one_while_a_slot_idles(pool, tmp_path):
    pids(pool)
    end = tmp_path / "end"
    pool.submit(Job("long", "stay", str(end)), 1)
    for index in range(3):
        pool.submit(Job(f"s{index}", "sleep", 0.2), 1)
    short = [event.key for _ in range(3) for event in pool.wait(10)]
    assert sorted(short) == ["s0", "s1", "s2"]
    end.touch()
    assert [event.key for event in pool.wait(10)] == ["long"]
    assert pool.wait(0.5) == []  # the call that was moved is not reported twice


def test_the_cache_of_a_pool_keeps_to_its_budget(pool, durable, monkeypatch):
    from espalier.cluster.on_ray.blob_cache import BlobCache

    monkeypatch.setattr(pool._dispatch, "blobs", BlobCache(budget=450_000))
    for index in range(4):
        run(pool, Job(f"large{index}", "join", "", inputs=("b",)))
    assert 200_000 <= pool._dispatch.blobs.size <= 450_000


def test_the_head_keeps_nothing_of_each_call(pool):
    """By default it keeps some 3 KB, up to 300 MB, for a list of tasks that nobody here reads."""
    import ray

    @ray.remote(num_cpus=0)
    def counted():
        return None

    run(pool, *[Job(f"each{index}", "look", 0.0) for index in range(20)])
    ray.get(counted.remote())
    told, end = set(), time.monotonic() + 30
    while not any("counted" in name for name in told):  # each process tells of its calls once a second
        assert time.monotonic() < end
        time.sleep(0.2)
        told = {event["name"] for event in ray.timeline()}
    assert not [name for name in told if "run" in name], told


def test_more_than_the_cluster_has_is_refused_at_once(local_ray):
    import ray

    from espalier.cluster.on_ray.ray_pool import RayPool

    with pytest.raises(ValueError, match=r"slots=1000 of 1 CPU .*room for \d+\. Ask for 1 to"):
        RayPool("toys:execute", DURABLE.__getitem__, slots=1000)
    with pytest.raises(ValueError, match="64 GPU"):
        RayPool("toys:execute", DURABLE.__getitem__, gpus_per_slot=64)
    assert ray.is_initialized()  # the caller's Ray is left alone


def test_a_worker_that_hangs_is_ended_at_the_jobs_limit_and_its_late_result_is_nobodys(pool, tmp_path):
    pids(pool)
    place = tmp_path / "pid"
    pool.submit(Job("hung", "hang", str(place), limit=1.0), 1)
    pool.submit(Job("other", "sleep", 0.1), 1)
    assert [event.key for event in pool.wait(10)] == ["other"]
    for index in range(pool.slots):  # one of them is queued behind the hanging one, and moved
        pool.submit(Job(f"behind{index}", "look", 0.0), 1)
    events = []
    while len(events) < pool.slots + 1:
        events += pool.wait(0.1)
        assert pool.running().get("hung", 0.0) < 5.0
    late = next(event for event in events if event.key == "hung")
    assert (late.reason, late.attempt, late.node) == ("late", 1, events[0].node)
    assert "no result within 1 s, the job's limit" in late.error
    assert 1.0 <= late.seconds < 5.0
    assert all(isinstance(event, Done) for event in events if event is not late)
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(place.read_text()), signal.SIGCONT)  # it goes on, and answers
    again = run(pool, Job("hung", "look", 0.0), attempt=2)["hung"]
    assert (again.attempt, "late" in again.output.tables) == (2, False)
    assert [event for event in pool.wait(0.5) if event.attempt != 1] == []


def test_what_answers_after_all_is_the_event_of_the_try_that_was_given_up(pool, tmp_path, monkeypatch):
    """As from a node that nobody reaches, where no worker can be ended."""
    import ray

    pids(pool)
    with monkeypatch.context() as cut_off:
        cut_off.setattr(ray, "kill", lambda actor: None)
        mark = tmp_path / "go on"
        late = run(pool, Job("slow", "stay", str(mark), limit=0.5))["slow"]
        assert (late.reason, late.attempt) == ("late", 1)
        again = run(pool, Job("slow", "look", 0.0), attempt=2)["slow"]
        assert (type(again), again.attempt) == (Done, 2)
        mark.touch()
        events, end = [], time.monotonic() + 60
        while not events:
            assert time.monotonic() < end
            events = pool.wait(0.5)
    (answer,) = events
    assert (type(answer), answer.key, answer.attempt) == (Done, "slow", 1)


@contextlib.contextmanager
def second_node(pythonpath):
    """Another node of this process's Ray, with one core, whose workers import from other places."""
    from ray._private import worker
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    params = RayParams(
        gcs_address=worker._global_node.gcs_address,
        node_ip_address=worker._global_node.node_ip_address,
        num_cpus=1,
        object_store_memory=80_000_000,
        env_vars={"PYTHONPATH": str(pythonpath)},
    )
    node = Node(params, head=False, shutdown_at_exit=False, spawn_reaper=False)
    try:
        yield node
    finally:
        node.kill_all_processes(check_alive=False, allow_graceful=True)


def test_a_node_whose_workers_do_not_start_is_set_aside_and_tried_again(pool, tmp_path, monkeypatch):
    from espalier.cluster.on_ray import crew, nodes, set_aside
    from espalier.cluster.on_ray.ray_pool import RayPool

    pool.close()  # the last test of the module's pool: its cores are needed from here on
    monkeypatch.setattr(set_aside, "RETRY_SECONDS", 0.5)
    for module in (crew, nodes):
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    project = Path(toys.__file__).parents[2]
    told = []
    with (
        second_node(f"{tmp_path}:{project}") as bad,
        RayPool("toys:execute", DURABLE.__getitem__, slots=3, tell=told.append) as wide,
    ):
        run(wide, *[Job(f"healthy{index}", "look", 0.0) for index in range(6)])
        while not any("set aside" in line for line in told):
            wide.wait(0.2)
        (line,) = (line for line in told if "set aside" in line)
        assert "ModuleNotFoundError: No module named 'toys' (tried again in 0 s)" in line
        assert "is set aside, for workers do not start there" in line
        assert sorted(bool(slot.hello) for slot in wide._slots) == [False, False, True]
        (tmp_path / "toys.py").symlink_to(toys.__file__)  # mended
        while any(slot.hello for slot in wide._slots):
            wide.wait(0.2)
        assert [slot.node for slot in wide._slots].count(bad.node_id) == 1


def test_a_node_that_joins_is_used_and_one_that_is_taken_away_gets_no_more_jobs(pool, tmp_path, monkeypatch):
    from ray._private.worker import global_worker
    from ray.core.generated import autoscaler_pb2

    from espalier.cluster.on_ray import crew, nodes
    from espalier.cluster.on_ray.ray_pool import RayPool

    pool.close()
    for module in (crew, nodes):
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    told, paths = [], f"{Path(toys.__file__).parent}:{Path(toys.__file__).parents[2]}"
    with RayPool("toys:execute", DURABLE.__getitem__, tell=told.append) as growing:
        before = growing.slots
        run(growing, Job("first", "look", 0.0))
        with second_node(paths) as late:
            while late.node_id not in (slot.node for slot in growing._slots):
                growing.wait(0.1)
            assert growing.slots == before + 1
            there = next(slot for slot in growing._slots if slot.node == late.node_id)
            for number in range(3 * growing.slots):
                growing.submit(Job(f"long{number}", "once", (60.0, str(tmp_path))), 1)
                (tmp_path / "slept 60.0").touch()  # no job sleeps but those that come first
            growing.submit(Job("short", "sleep", 0.5), 1)
            reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
            client = global_worker.gcs_client
            asked = client.drain_node(late.node_id, reason, "spot", int(time.time() * 1000) + 60_000)
            assert asked[0], asked
            ended = []
            while there in growing._slots:
                ended += growing.wait(0.1)
            while len(ended) < 3 * before + 4:
                ended += growing.wait(0.5)
        assert {type(event) for event in ended} == {Done}
        while not any(line.endswith("is gone") for line in told):
            growing.wait(0.1)
        assert growing.slots == before
        run(growing, Job("last", "look", 0.0))
    joined, leaving, gone = told
    assert joined.endswith("has joined, with room for 1 slot")
    assert leaving.endswith("is being taken away: it gets no more jobs")
    assert joined.split(" has ")[0] == leaving.split(" is ")[0] == gone.split(" is ")[0]


def test_a_function_may_stand_for_its_name_and_a_bad_name_is_told(pool):
    import ray

    from espalier.cluster.on_ray.ray_pool import RayPool

    pool.close()
    pool.close()
    assert ray.is_initialized()
    prefix = ">"

    def shout(job, blobs):
        return toys.Output({"said": prefix + job.payload})

    ray.cloudpickle.register_pickle_by_value(toys)
    with RayPool(shout, DURABLE.__getitem__, slots=1) as other:
        assert run(other, Job("k", "any", "hello"))["k"].output.tables == {"said": ">hello"}
    ray.cloudpickle.unregister_pickle_by_value(toys)
    with (
        RayPool("no_such_module:execute", DURABLE.__getitem__, slots=1) as other,
        pytest.raises(RuntimeError, match=r"can be imported on every node.*no_such_module"),
    ):
        run(other, Job("k", "any", "hello"))


ALONE = r"""
import contextlib
import os
import re
import signal
import time
from pathlib import Path

from ray._private import worker

from espalier.cluster.pool import Job
from espalier.cluster.on_ray import answering
from espalier.cluster.on_ray.ray_pool import RayPool

answering.LOOK_SECONDS = 0.1
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def family(pid):
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[path.parent] = path.read_text().rsplit(")")[-1].split()[1]
    folders = {Path("/proc", str(pid))}
    while more := {path for path, up in parents.items() if Path("/proc", up) in folders} - folders:
        folders |= more
    return folders


def public_ports(folders):
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).open()]
    listening = {f"socket:[{row[9]}]": row[1].split(":")[0] for row in rows if row[3] == "0A"}
    links = set()
    for link in [link for folder in folders for link in folder.glob("fd/*")]:
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.add(str(link.readlink()))
    hosts = [host for link, host in listening.items() if link in links]
    return len(hosts) > 5, set(hosts) - LOOPBACK


if __name__ == "__main__":
    told = []
    with RayPool(
        "toys:execute", dict.__getitem__, slots=1, object_store_memory=100_000_000, tell=told.append
    ) as pool:
        pool.submit(Job("k", "look", 0.0), 1)
        (event,) = pool.wait(60)
        started = family(os.getpid())
        assert Path("/proc", str(event.output.tables["pid"])) in started
        print(public_ports(started))
        titles = [Path(path, "cmdline").read_text().strip("\0") for path in started if path.exists()]
        print([title for title in titles if re.search(r"monitor\.py|dashboard\.py|IDLE", title)])
        for seconds in (60.0, 0.5, 0.0):
            pool.submit(Job(f"sleep {seconds}", "once", (seconds, str(Path.home()))), 1)
        pool.wait(0.2)
        [raylet] = worker._global_node.all_processes["raylet"]
        os.kill(raylet.process.pid, signal.SIGKILL)
        ended = []
        while len(ended) < 3:
            ended += pool.wait(0.2)
        print([(type(event).__name__, event.attempt) for event in ended])
        print([line.partition(",")[0] for line in told])
        started |= family(os.getpid())
    patience = time.monotonic() + 20  # a busy machine takes a while to reap what was told to end
    while len([path for path in started if path.exists()]) > 1 and time.monotonic() < patience:
        time.sleep(0.2)
    print([path.name for path in started if path.exists()] == [str(os.getpid())])
    print(oct((Path.home() / ".ray" / "auth_token").stat().st_mode & 0o777))
"""


def test_a_ray_of_its_own_listens_on_localhost_survives_its_raylet_and_leaves_nothing(tmp_path):
    here, temporary = Path(__file__).parents[1], tmp_path / "tem por är"  # which Ray cannot write
    temporary.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": f"{here}:{here.parent.parent}"}
    environment |= {"TMPDIR": str(temporary)}
    (tmp_path / "alone.py").write_text(ALONE)
    done = subprocess.run(
        [sys.executable, "alone.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    ports, spared, ended, told, *rest = done.stdout.splitlines()
    assert ports == "(True, set())"
    assert spared == "[]"  # no process that serves nobody
    assert ended == str([("Done", 1)] * 3)  # a machine's fault is not the job's: no attempt is lost
    assert told == '["Ray\'s process on this machine that starts workers (raylet"]'
    assert rest == ["True", "0o600"]
    assert done.stderr == ""
