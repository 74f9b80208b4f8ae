"""The control socket: one watch a destination, answers for its own user, and no harm from anybody."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from atomsync.daemon import endpoint
from atomsync.daemon.client import ask
from atomsync.daemon.endpoint import Endpoint
from atomsync.daemon.places import own_place, places, socket_names
from atomsync.errors import (
    AccessError,
    AtomSyncError,
    GuardTripped,
    NotWatched,
    StoreLocked,
    TimedOut,
    UsageError,
)
from atomsync.fs.posix import PosixDisk

NOBODY = 65534
HOLD = """
import sys, time
from atomsync.daemon.endpoint import Endpoint
with Endpoint(sys.argv[1], lambda request, listens: {"who": "the first"}):
    print("ready", flush=True)
    sys.stdin.read()
"""

pytestmark = pytest.mark.usefixtures("runtime")


def echo(request: Mapping[str, Any], _listens: Callable[[], bool]) -> Mapping[str, Any]:
    return {"heard": dict(request)}


def connect(runtime: Path, dst: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    here = os.open(runtime, os.O_RDONLY)
    connection.connect(f"/proc/self/fd/{here}/{socket_names(str(dst))[0]}.socket")
    os.close(here)
    connection.settimeout(20)
    return connection


@contextlib.contextmanager
def watch_elsewhere(dst: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the endpoint of ``dst``, and ends on its own at the end."""
    line = [sys.executable, "-c", HOLD, dst]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def answers(dst: Path) -> bool:
    try:
        return bool(ask(str(dst), "status"))
    except NotWatched:
        return False


def said(connection: socket.socket, data: bytes) -> dict[str, Any]:
    """What a connection is answered after it has sent ``data`` and no more."""
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    with connection.makefile("rb") as file:
        found: dict[str, Any] = json.loads(file.read())
    return found


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"


# -- asking
def test_a_watch_answers_what_it_is_asked(dst: Path) -> None:
    with Endpoint(str(dst), echo):
        assert ask(str(dst), "status", more=[1, "\udcff"]) == {
            "heard": {"verb": "status", "more": [1, "\udcff"]}
        }


def test_a_destination_is_found_by_any_of_its_names_also_while_it_is_missing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    with Endpoint(str(tmp_path / "real" / "dst"), echo):
        assert ask(f"{tmp_path}/link/../link/dst/", "status")


def test_a_destination_that_nobody_watches(dst: Path) -> None:
    with pytest.raises(NotWatched, match=str(dst)):
        ask(str(dst), "status")
    with Endpoint(str(dst), echo):
        pass
    with pytest.raises(NotWatched):
        ask(str(dst), "status")


def test_an_error_of_the_watch_is_the_same_error_at_the_asker(dst: Path) -> None:
    def refuses(_request: Mapping[str, Any], _listens: Callable[[], bool]) -> Mapping[str, Any]:
        raise GuardTripped("cannot", "because", "do that")

    with Endpoint(str(dst), refuses), pytest.raises(GuardTripped) as caught:
        ask(str(dst), "status")
    assert (caught.value.what, caught.value.why, caught.value.hint) == ("cannot", "because", "do that")


def test_a_bug_in_the_watch_is_told_and_does_not_end_it(dst: Path) -> None:
    def broken(request: Mapping[str, Any], _listens: Callable[[], bool]) -> Mapping[str, Any]:
        return {"good": 1 / (request["verb"] != "bad")}

    with Endpoint(str(dst), broken):
        with pytest.raises(AtomSyncError, match="ZeroDivisionError"):
            ask(str(dst), "bad")
        assert ask(str(dst), "good") == {"good": 1.0}


def test_an_answer_that_does_not_come_in_time(dst: Path) -> None:
    over = threading.Event()

    def waits(_request: Mapping[str, Any], _listens: Callable[[], bool]) -> Mapping[str, Any]:
        over.wait(20)
        return {}

    with Endpoint(str(dst), waits):
        with pytest.raises(TimedOut, match="does not answer"):
            ask(str(dst), "flush", patience_s=0.05)
        over.set()


def test_a_watch_sees_that_its_asker_has_gone(
    dst: Path, runtime: Path, wait_until: Callable[..., Any]
) -> None:
    seen: list[bool] = []

    def looks(_request: Mapping[str, Any], listens: Callable[[], bool]) -> Mapping[str, Any]:
        while not seen or seen[-1]:
            seen.append(listens())
            time.sleep(0.001)
        return {}

    with Endpoint(str(dst), looks):
        connection = connect(runtime, dst)
        connection.sendall(b'{"verb": "flush"}\n')
        wait_until(lambda: seen and seen[-1])
        connection.close()
        wait_until(lambda: not seen[-1])


# -- what must not hurt
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\x00\xff\xfe\n",
        b"[]\n",
        b"7\n",
        b'{"verb": 7}\n',
        b'{"verb": "status"',
        b"[" * 60_000 + b"\n",
        b"9" * 60_000 + b"\n",
    ],
    ids=["nothing", "empty", "bytes", "list", "number", "verb", "cut", "deep", "digits"],
)
def test_garbage_is_answered_as_such(data: bytes, dst: Path, runtime: Path) -> None:
    with Endpoint(str(dst), echo):
        with connect(runtime, dst) as connection:
            found = said(connection, data)
        assert found["error"]["code"] == UsageError.code
        assert ask(str(dst), "status")


def test_a_request_without_end_is_cut_off(dst: Path, runtime: Path) -> None:
    with Endpoint(str(dst), echo):
        with connect(runtime, dst) as connection, pytest.raises(ConnectionError):
            connection.sendall(b"x" * (16 << 20))
        assert ask(str(dst), "status")


def test_slow_and_silent_askers_keep_nobody_else_waiting_and_are_cut_off(
    dst: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_REQUEST_S", 0.5)
    with Endpoint(str(dst), echo):
        slow = [connect(runtime, dst) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"{")
        began = time.monotonic()
        assert ask(str(dst), "status")
        assert time.monotonic() - began < 0.4
        for connection in slow:
            assert connection.recv(1) == b""
            connection.close()


def test_more_connections_than_there_is_room_for_are_told_so_and_the_room_comes_back(
    dst: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(endpoint, "_CONNECTIONS_MAX", 3)

    def has_room() -> bool:
        with contextlib.suppress(TimedOut):
            return bool(ask(str(dst), "status"))
        return False

    with Endpoint(str(dst), echo):
        idle = [connect(runtime, dst) for _ in range(3)]
        for _ in range(100):  # whether it is refused before it has sent its request, or after
            with pytest.raises(TimedOut, match="too many ask it at once"):
                ask(str(dst), "status")
        for connection in idle:
            connection.close()
        wait_until(has_room)


def test_flushes_that_wait_leave_room_for_other_questions(
    dst: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(endpoint, "_CONNECTIONS_MAX", 4)
    monkeypatch.setattr(endpoint, "_FLUSHES_MAX", 2)
    waiting, over = threading.Semaphore(0), threading.Event()

    def waits(request: Mapping[str, Any], _listens: Callable[[], bool]) -> Mapping[str, Any]:
        if request["verb"] == "flush":
            waiting.release()
            over.wait(20)
        return {"heard": request["verb"]}

    with Endpoint(str(dst), waits):
        flushes = [connect(runtime, dst) for _ in range(2)]
        for connection in flushes:
            connection.sendall(b'{"verb": "flush"}\n')
            assert waiting.acquire(timeout=20)
        for _ in range(5):  # those that are refused take no room either
            with pytest.raises(TimedOut, match="too many wait for a flush"):
                ask(str(dst), "flush")
        assert ask(str(dst), "pause") == {"heard": "pause"}
        over.set()
        for connection in flushes:
            assert json.loads(connection.makefile("rb").readline()) == {"heard": "flush"}
            connection.close()
        assert ask(str(dst), "flush") == {"heard": "flush"}, "their room comes back"


def test_neither_an_asker_that_goes_away_before_its_answer_nor_a_watch_leaves_a_thread_behind(
    dst: Path, runtime: Path, wait_until: Callable[..., Any]
) -> None:
    alone = threading.active_count()
    with Endpoint(str(dst), echo):
        before = threading.active_count()
        for _ in range(50):
            with connect(runtime, dst) as connection:
                connection.sendall(b'{"verb": "status"}\n')
        wait_until(lambda: threading.active_count() <= before)
        assert ask(str(dst), "status")
    wait_until(lambda: threading.active_count() <= alone)


# -- one watch a destination
def test_a_second_watch_of_a_destination_is_refused_and_told_of_the_first(dst: Path) -> None:
    with Endpoint(str(dst), echo):
        for name in (str(dst), f"{dst}/"):
            with pytest.raises(StoreLocked, match=f"process {os.getpid()} ") as caught, Endpoint(name, echo):
                pass
            assert str(dst) in caught.value.what
        assert ask(str(dst), "status"), "the first is as it was"
    with Endpoint(str(dst), echo):
        assert ask(str(dst), "status")


def test_a_second_watch_is_refused_also_with_another_runtime_directory(
    dst: Path, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Endpoint(str(dst), echo):
        monkeypatch.setattr("atomsync.daemon.places.places", lambda: [str(tmp_path / "other"), str(runtime)])
        assert own_place(PosixDisk())[0] == str(tmp_path / "other")
        with pytest.raises(StoreLocked, match="process"), Endpoint(str(dst), echo):
            pass


def test_a_watch_keeps_both_names_of_a_link_that_is_flipped(tmp_path: Path) -> None:
    link, one, two = tmp_path / "dst", tmp_path / "one", tmp_path / "two"
    link.symlink_to("one")
    with watch_elsewhere(link) as first:
        link.unlink()
        link.symlink_to("two")
        for name in (link, one):
            assert ask(str(name), "status") == {"who": "the first"}
            with pytest.raises(StoreLocked, match=f"process {first.pid} "), Endpoint(str(name), echo):
                pass
        assert not answers(two), "it was never told of it"
        with Endpoint(str(two), echo):
            assert ask(str(link), "status") == {"who": "the first"}, "the name as given comes first"
    assert not answers(link)
    assert not answers(one)
    for name in (link, one):
        with Endpoint(str(name), echo):
            assert answers(name)


def test_two_destinations_have_a_watch_each(tmp_path: Path) -> None:
    with Endpoint(str(tmp_path / "a"), echo), Endpoint(str(tmp_path / "b"), echo):
        assert ask(str(tmp_path / "a"), "status")
        assert ask(str(tmp_path / "b"), "status")


def test_what_a_killed_watch_left_is_taken_over(dst: Path, runtime: Path) -> None:
    with watch_elsewhere(dst) as first:
        assert ask(str(dst), "status") == {"who": "the first"}
        with pytest.raises(StoreLocked, match=f"process {first.pid} "), Endpoint(str(dst), echo):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (runtime / f"{socket_names(str(dst))[0]}.socket").exists(), "it had no time to tidy up"
    with pytest.raises(NotWatched):
        ask(str(dst), "status")
    with Endpoint(str(dst), echo):
        assert "heard" in ask(str(dst), "status")


# -- where it is
def test_the_socket_is_ours_alone(dst: Path, runtime: Path) -> None:
    with Endpoint(str(dst), echo):
        assert runtime.stat().st_mode & 0o777 == 0o700
        assert (runtime / f"{socket_names(str(dst))[0]}.socket").stat().st_mode & 0o777 == 0o600
    assert [path.suffix for path in runtime.iterdir()] == [".lock"]


def test_a_runtime_directory_with_a_long_path_is_no_trouble(
    tmp_path: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 200) / ("y" * 200)
    deep.parent.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{deep}:/elsewhere")
    with Endpoint(str(dst), echo):
        assert ask(str(dst), "status")
        assert any(deep.iterdir())


@pytest.mark.parametrize("what", ["runtime", "runtime/*", "runtime/*.socket", "runtime/*.lock"])
def test_what_a_cleaner_removed_is_made_anew(
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., Any],
) -> None:
    monkeypatch.setattr(endpoint, "_LOOK_S", 0.05)
    link, one = tmp_path / "dst", tmp_path / "one"
    link.symlink_to("one")
    with Endpoint(str(link), echo):
        files = sorted((tmp_path / "runtime").iterdir())
        assert len(files) == 4
        for path in list(tmp_path.glob(what)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        wait_until(lambda: sorted((tmp_path / "runtime").glob("*")) == files)
        wait_until(lambda: answers(link) and answers(one))
        with pytest.raises(StoreLocked, match=f"process {os.getpid()} "), Endpoint(str(one), echo):
            pass
    assert not answers(link)


def test_a_watch_that_cannot_be_reached_again_goes_on_and_is_found_when_it_can(
    dst: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(endpoint, "_LOOK_S", 0.05)
    monkeypatch.setattr("atomsync.daemon.places.places", lambda: [str(runtime)])
    before = threading.active_count()
    with Endpoint(str(dst), echo):
        shutil.rmtree(runtime)
        runtime.write_bytes(b"in the way")
        wait_until(lambda: threading.active_count() == before + 1)  # it has given up the old door
        runtime.unlink()
        wait_until(lambda: answers(dst))
        shutil.rmtree(runtime)
        runtime.write_bytes(b"in the way")
        wait_until(lambda: threading.active_count() == before + 1)
    wait_until(lambda: threading.active_count() == before)


def test_a_watch_that_came_in_between_is_left_alone(
    dst: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(endpoint, "_LOOK_S", 0.05)
    other, before = runtime.with_name("other"), threading.active_count()
    with contextlib.ExitStack() as stack:
        with Endpoint(str(dst), echo):
            monkeypatch.setenv("RUNTIME_DIRECTORY", str(other))
            stack.enter_context(watch_elsewhere(dst))
            for suffix in ("lock", "socket"):
                file = f"{socket_names(str(dst))[0]}.{suffix}"
                (other / file).rename(runtime / file)  # as if the first one's had been removed before
            monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
            wait_until(lambda: threading.active_count() == before + 1)  # it has given up its door
            assert ask(str(dst), "status") == {"who": "the first"}
        assert ask(str(dst), "status") == {"who": "the first"}


def test_its_files_look_used_to_a_cleaner(
    dst: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(endpoint, "_LOOK_S", 0.05)
    with Endpoint(str(dst), echo):
        for path in runtime.iterdir():
            os.utime(path, (0, 0))
        wait_until(lambda: all(min(s.st_atime, s.st_mtime) for s in map(os.stat, runtime.iterdir())))


def test_root_does_not_look_where_others_could_have_prepared_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/given")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert [os.path.basename(os.path.dirname(place)) for place in places()] == ["run"]
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert places()[0] == "/given/atomsync"
    assert places()[-1] == "/tmp/atomsync-1234"


AS_NOBODY = """
import json, os, socket, sys
import xxhash
from atomsync.daemon.client import ask
from atomsync.daemon.endpoint import Endpoint
from atomsync.daemon.places import own_place
from atomsync.fs.posix import PosixDisk
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
import ctypes; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
try:
    {code}
except Exception as error:
    print(type(error).__name__, error)
"""


def as_nobody(code: str, *words: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY.replace("{code}", code), *map(str, words)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_another_user_is_not_answered(
    public_dir: Path, needs_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(public_dir / "run"))
    dst = public_dir / "dst"
    with Endpoint(str(dst), echo):
        (public_dir / "run").chmod(0o755)
        assert as_nobody("ask(sys.argv[1], 'pause')", dst).startswith("AccessError")
        name = f"{socket_names(str(dst))[0]}.socket"
        (public_dir / "run" / name).chmod(0o666)  # a mode that lets everybody in is not relied on
        assert as_nobody("ask(sys.argv[1], 'pause')", dst).startswith("AccessError cannot answer")
        assert ask(str(dst), "status")


def test_root_may_ask_the_watch_of_another_user(
    public_dir: Path, needs_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = public_dir / "run"
    run.mkdir(mode=0o700)
    os.chown(run, NOBODY, NOBODY)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(run))
    code = (
        "e = Endpoint(sys.argv[1], lambda request, listens: {'user': os.geteuid()}); e.__enter__();"
        " print('ready', flush=True); sys.stdin.read()"
    )
    line = [sys.executable, "-c", AS_NOBODY.replace("{code}", code), str(public_dir / "dst")]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert ask(str(public_dir / "dst"), "status") == {"user": NOBODY}


def test_a_directory_that_somebody_else_prepared_is_neither_used_nor_asked(
    public_dir: Path, needs_root: None
) -> None:
    trap = public_dir / "trap"
    trap.mkdir()
    os.chown(trap, 1, 1)
    trap.chmod(0o777)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        path = trap / f"{socket_names(str(public_dir / 'dst'))[0]}.socket"
        listening.bind(str(path))
        listening.listen()
        path.chmod(0o777)
        given = {"RUNTIME_DIRECTORY": str(trap), "XDG_RUNTIME_DIR": str(public_dir / "none")}
        found = as_nobody("ask(sys.argv[1], 'status')", public_dir / "dst", **given)
        assert found.startswith("NotWatched")
    found = as_nobody("print(own_place(PosixDisk())[0])", **given)
    assert found == f"/tmp/atomsync-{NOBODY}\n"
    os.rmdir(f"/tmp/atomsync-{NOBODY}")


def test_where_no_directory_can_be_ours_it_says_which_were_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setattr("atomsync.daemon.places.places", lambda: [str(tmp_path / "file"), str(open_to_all)])
    with pytest.raises(AccessError, match=r"file: Not a directory; .*open: .* mode 0777"):
        own_place(PosixDisk())
