"""Which TCP ports of this machine listen to more than localhost, read from Linux's /proc."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path
from typing import Any

LISTEN = "0A"
RAYS = (
    "gcs_server",
    "raylet",
    "ray::",
    "ray/dashboard",
    "ray/_private",
    "ray/util",
    "ray/scripts",
    "bin/ray ",
)
"""Parts of the command lines of Ray's processes."""


def listening(proc: Path = Path("/proc")) -> list[dict[str, Any]]:
    """Address, port and process of each socket that listens wider than 127.0.0.0/8 and ::1.

    `ray` says whether it is one of Ray's processes. Of other users' processes the name is not known.
    """
    wide = [entry for name in ("tcp", "tcp6") for entry in _table(proc / "net" / name) if _is_wide(entry[0])]
    if not wide:
        return []
    owners = _owners(proc)
    rows = list[dict[str, Any]]()
    for address, port, inode in wide:
        command = owners.get(inode, "")
        is_ray = any(part in command for part in RAYS)
        rows.append({"address": address, "port": port, "process": _short(command), "ray": is_ray})
    return sorted(rows, key=lambda row: (row["port"], row["address"]))


def _table(path: Path) -> list[tuple[str, int, str]]:
    """Address, port and inode of the listening sockets."""
    if not path.exists():
        return []
    rows = [line.split() for line in path.read_text().splitlines()[1:]]
    return [(*local(row[1]), row[9]) for row in rows if row[3] == LISTEN]


def local(cell: str) -> tuple[str, int]:
    """The kernel's way to write an address: hexadecimal words of 32 bits in the machine's order.

    >>> local("0100007F:1F90"), local("00000000:0016")
    (('127.0.0.1', 8080), ('0.0.0.0', 22))
    >>> local("00000000000000000000000001000000:1F90")
    ('::1', 8080)
    """
    digits, port = cell.split(":")
    words = [bytes.fromhex(digits[place : place + 8])[::-1] for place in range(0, len(digits), 8)]
    return str(ipaddress.ip_address(b"".join(words))), int(port, 16)


def _is_wide(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    inner = getattr(ip, "ipv4_mapped", None)
    return not (inner or ip).is_loopback


def _owners(proc: Path) -> dict[str, str]:
    """The command line of the process that has each socket open, by inode."""
    owners = dict[str, str]()
    for folder in proc.iterdir():
        if folder.name.isdigit() and (sockets := _sockets(folder / "fd")):
            with contextlib.suppress(OSError):  # it has ended
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                owners |= dict.fromkeys(sockets, command)
    return owners


def _sockets(descriptors: Path) -> list[str]:
    """The inodes of the sockets among a process's open files; none of another user's process."""
    found = list[str]()
    with contextlib.suppress(OSError):
        for link in descriptors.iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                target = str(link.readlink())
                if target.startswith("socket:["):
                    found.append(target[8:-1])
    return found


def _short(command: str) -> str:
    """What a command line runs: its program, or a Python's script.

    >>> _short("/usr/bin/python3 -u /opt/ray/dashboard/agent.py --node-ip-address=10.0.0.1")
    'agent.py'
    >>> _short("/opt/ray/core/src/ray/raylet/raylet --raylet_socket_name=/tmp/ray/sockets/raylet")
    'raylet'
    """
    words = [word.rpartition("/")[2] for word in command.split() if not word.startswith("-")]
    script = [word for word in words[:3] if word.endswith(".py")]
    return (script or words or [""])[0]
