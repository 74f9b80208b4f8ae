"""Real databases: SQLite in a file, and a PostgreSQL of our own, started by the tests that need one."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_INSTALLED = Path("/usr/lib/postgresql")  # Debian has every version apart there, and not on PATH
_PR_SET_PDEATHSIG = 1
_START_S = 30
_SOCKET = ".s.PGSQL.5432"


class Postgres:
    """A server of its own in a new directory, on a socket there and nowhere else, with fsync on."""

    def __init__(self, where: Path) -> None:
        psycopg = pytest.importorskip(
            "psycopg", reason="psycopg is not installed: pip install psycopg[binary]"
        )
        self.where = where
        self._connect, self._error = psycopg.connect, psycopg.OperationalError
        self._numbers = itertools.count()
        bin_dir, user = _bin_dir(), _user()
        options = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        if user is not None:
            os.chown(where, user.pw_uid, user.pw_gid)
        data = where / "data"
        made = subprocess.run(
            [
                bin_dir / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "-N",
            ],
            cwd=where,
            check=False,
            capture_output=True,
            text=True,
            **options,
        )
        assert made.returncode == 0, made.stderr
        settings = {"listen_addresses": "", "unix_socket_directories": str(where), "fsync": "on"}
        with (where / "log").open("wb") as log:
            self._server = subprocess.Popen(
                [
                    bin_dir / "postgres",
                    "-D",
                    data,
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                cwd=where,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
                **options,
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def connection(self, **options: Any) -> Any:
        """As the administrator, who is told apart from those the tests look at. Commits by itself."""
        return self._connect(
            host=str(self.where), user="postgres", dbname="postgres", autocommit=True, **options
        )

    def database(self) -> str:
        """The URL of a schema of its own, which costs less than a database and looks the same."""
        name = f"test{os.getpid()}_{next(self._numbers)}"
        with self.connection() as admin:
            admin.execute(f"CREATE SCHEMA {name}")
        where = f"host={self.where}&application_name={name}&options=-csearch_path%3D{name}"
        return f"postgresql+psycopg://postgres@/postgres?{where}"

    def close(self) -> None:
        if self._server.poll() is None:
            self._server.send_signal(signal.SIGQUIT)  # at once: nobody will ask for the data again
            self._server.wait(_START_S)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while not self._answers():
            told = (self.where / "log").read_text(errors="replace")
            assert self._server.poll() is None, f"PostgreSQL ended at once: {told}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer: {told}"
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            self.connection().close()
        except self._error:
            return False
        return True


class Wire:
    """A socket that leads to the server, and can be cut at the moment a client commits.

    ``cut``: "before" loses the COMMIT itself, "after" carries it out and loses the answer; "" loses nothing.
    From then on nobody gets through until ``mend``.
    """

    def __init__(self, server: Postgres, where: Path) -> None:
        self.where, self.cut = where, ""
        self._server, self._dead = str(server.where / _SOCKET), False
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(where / _SOCKET))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def mend(self) -> None:
        self.cut, self._dead = "", False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                if self._dead:
                    client.close()
                else:
                    threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._server)
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is server:
                        client.sendall(data)
                    elif b"COMMIT" in data and self.cut:
                        self._dead = True
                        if self.cut == "after":
                            server.sendall(data)
                            server.recv(1 << 16)  # it is done; nobody will hear of it
                        return
                    else:
                        server.sendall(data)


def _bin_dir() -> Path:
    """Where the newest server's programs are, or a skip that says what is missing."""
    found = sorted(_INSTALLED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    return (found[-1] if found else Path(os.path.realpath(str(on_path)))).parent


def _user() -> pwd.struct_passwd | None:
    """Whom it may run as, which is never root; None if we are somebody else anyway."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no user to run it as")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    where = Path(tempfile.mkdtemp(prefix="atomsync-pg-", dir="/tmp"))  # the path of a socket is to be short
    try:
        server = Postgres(where)
        try:
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(where, ignore_errors=True)


@pytest.fixture
def wire(postgres: Postgres) -> Iterator[Wire]:
    where = Path(tempfile.mkdtemp(prefix="atomsync-wire-", dir="/tmp"))
    wire = Wire(postgres, where)
    yield wire
    wire.close()
    shutil.rmtree(where)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of both kinds in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/rows.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()
