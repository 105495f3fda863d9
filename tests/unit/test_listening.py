"""Sockets to listen on: what is in use is left alone, what nobody serves is replaced."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from streams.listening import ListenError, listen
from tests.support.places import Place, unix


def milter_socket(folder: Path) -> Place:
    return unix(folder / "milter.sock")


def connect(path: str | None) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_has_the_permissions_that_were_asked_for(tmp_path: Path) -> None:
    place, before = milter_socket(tmp_path), os.umask(0o022)
    os.umask(before)
    for mode in (0o660, 0o666, 0o600):
        listener = listen(place, mode)
        found = Path(place.path or "").stat().st_mode
        assert (stat.S_ISSOCK(found), stat.S_IMODE(found)) == (True, mode)
        connect(place.path)
        listener.close()
        assert list(tmp_path.iterdir()) == []
    umask = os.umask(before)
    assert umask == before


def test_a_socket_that_nobody_serves_any_more_is_replaced(tmp_path: Path) -> None:
    place = milter_socket(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place.path))
    listener = listen(place)
    connect(place.path)
    listener.close()


def test_a_socket_that_is_served_is_left_alone_also_while_its_process_hangs(tmp_path: Path) -> None:
    place = milter_socket(tmp_path)
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(place.path))
        served.listen(0)
        with pytest.raises(ListenError, match=f"unix:{place.path}: another process listens there"):
            listen(place)
        # Nobody accepts: from here on its queue is full.
        with pytest.raises(ListenError, match="another process listens there"):
            listen(place)
        connection = served.accept()[0]
        connection.close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    place = milter_socket(tmp_path)
    Path(place.path or "").write_text("kept")
    with pytest.raises(ListenError, match=r"unix:.*: is a file that is no socket: remove it, or listen elsewhere"):
        listen(place)
    assert Path(place.path or "").read_text() == "kept"
    with pytest.raises(ListenError, match="is a file that is no socket"):
        listen(Place(str(tmp_path)))


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (Place("/nowhere/at/all.sock"), "unix:/nowhere/at/all.sock: cannot listen there: No such file or directory"),
        (Place("/tmp/" + "x" * 200), "cannot listen there: AF_UNIX path too long"),
        (Place(host="192.0.2.1"), "192.0.2.1:0: cannot listen there: Cannot assign requested address"),
        (Place(host="no such host"), "no such host:0: cannot listen there: "),
    ],
)
def test_an_address_that_cannot_be_had_is_named(place: Place, reason: str) -> None:
    with pytest.raises(ListenError, match=reason):
        listen(place)


def test_a_port_in_use_is_named_and_a_free_one_is_found() -> None:
    listener = listen(Place())
    port = listener.port
    with pytest.raises(ListenError, match=f"127.0.0.1:{port}: cannot listen there: Address already in use"):
        listen(Place(port=port))
    listener.close()
    listen(Place(host="::1")).close()


def test_the_socket_of_a_newer_process_stays(tmp_path: Path) -> None:
    place = milter_socket(tmp_path)
    old = listen(place)
    Path(place.path or "").unlink()
    new = listen(place)
    old.close()
    connect(place.path)
    new.close()
