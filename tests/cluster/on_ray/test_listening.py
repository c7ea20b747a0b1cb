import socket

from espalier.cluster.on_ray.listening import listening

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(address, inode, state="0A"):
    return f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0 0 {inode} 1 0\n"


def process(proc, pid, command, inode):
    (proc / pid / "fd").mkdir(parents=True)
    (proc / pid / "fd" / "3").symlink_to(f"socket:[{inode}]")
    (proc / pid / "cmdline").write_bytes(command.replace(" ", "\0").encode())


def test_what_listens_wider_is_found_with_its_process(tmp_path):
    """From proc(5): addresses as the kernel writes them."""
    (tmp_path / "net").mkdir()
    rows = [
        line("0100007F:1F90", 1),  # 127.0.0.1:8080
        line("00000000:18EB", 2),  # 0.0.0.0:6379
        line("0A00000A:18EC", 3, state="01"),  # a connection
        line("0A00000A:0016", 4),  # 10.0.0.10:22
    ]
    (tmp_path / "net" / "tcp").write_text(HEADER + "".join(rows))
    rows6 = [
        line("00000000000000000000000001000000:1F91", 5),  # ::1
        line("0000000000000000FFFF00000100007F:1F92", 6),  # ::ffff:127.0.0.1
        line("00000000000000000000000000000000:9C41", 7),  # [::]:40001
    ]
    (tmp_path / "net" / "tcp6").write_text(HEADER + "".join(rows6))
    process(tmp_path, "10", "/site/ray/core/src/ray/gcs/gcs_server --port=6379", 2)
    process(tmp_path, "11", "/usr/bin/python3 -u /site/ray/dashboard/agent.py --x", 7)
    assert listening(tmp_path) == [
        {"address": "10.0.0.10", "port": 22, "process": "", "ray": False},
        {"address": "0.0.0.0", "port": 6379, "process": "gcs_server", "ray": True},
        {"address": "::", "port": 40001, "process": "agent.py", "ray": True},
    ]


def test_a_socket_of_this_process_is_seen_only_if_it_is_wide():
    with socket.create_server(("127.0.0.1", 0)) as near, socket.create_server(("0.0.0.0", 0)) as wide:
        ports = [server.getsockname()[1] for server in (near, wide)]
        found = {row["port"]: row["process"] for row in listening()}
    assert [bool(found.get(port)) for port in ports] == [False, True]
