"""What a process did with its last breath came behind the last moment at which it is said to have lived."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.chaos.lifetime import Lifetime


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def child() -> subprocess.Popen[bytes]:
    """A process that says what it is told, and has threads as a door has."""
    code = "import sys, threading; threading.Thread(target=sys.stdin.buffer.read, daemon=True).start()\n"
    code += "print(end='x', flush=True); threading.Event().wait()"
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def until_seen_alive(life: Lifetime, since: int) -> None:
    while life.alive_at <= since:
        time.sleep(0.001)


@pytest.mark.parametrize("is_reaped_late", [True, False])
def test_the_last_moment_is_before_its_connections_end(child: subprocess.Popen[bytes], is_reaped_late: bool) -> None:
    assert child.stdout is not None
    began = now_ms()
    life = Lifetime(child.pid, began)
    assert child.stdout.read(1) == b"x"
    until_seen_alive(life, now_ms())
    os.kill(child.pid, signal.SIGKILL)
    assert child.stdout.read() == b""
    closed_at = now_ms()
    if not is_reaped_late:
        child.wait()
    life.wait()
    child.wait()
    assert began < life.alive_at <= closed_at


def test_a_process_that_is_gone_lived_when_it_was_started(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    life = Lifetime(child.pid, 5)
    life.wait()
    assert life.alive_at == 5
