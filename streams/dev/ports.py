"""Ports of the embedded Kafka: which are free, and whether a broker answers on one."""

from __future__ import annotations

import random
import re
import socket
import struct
from itertools import islice
from pathlib import Path

HOST = "127.0.0.1"


def choose_ports(settings: Path, count: int) -> list[int]:
    """Free ports, those of the broker's earlier settings where they are free still."""
    earlier = re.search(r"^listeners=.*$", settings.read_text() if settings.exists() else "", re.MULTILINE)
    used = re.findall(r":(\d+)(?=,|$)", earlier[0]) if earlier else []
    # Below the range the system hands to clients: there, a client's own socket can take the port between a crash and
    # the restart, or a reconnecting client connect to itself.
    wanted = [*map(int, used), *random.sample(range(20_000, 30_000), 10_000)]
    free = (port for port in dict.fromkeys(wanted) if _is_free(port))
    return list(islice(free, count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Whether the broker names itself in its metadata, which it does once it takes produce and fetch requests."""
    request = struct.pack(">hhihi", 3, 1, 1, -1, 0)
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection, connection.makefile("rb") as answer:
            connection.sendall(struct.pack(">i", len(request)) + request)
            head = answer.read(12)
    except OSError:
        return False
    return len(head) == 12 and int(struct.unpack(">iii", head)[2]) > 0
