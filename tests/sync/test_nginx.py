"""A real nginx whose configuration and content are the destination: what is broken never reaches it."""

from __future__ import annotations

import http.client
import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, _tool

Wait = Callable[..., Any]

CONF = """
{user}
daemon off;
worker_processes 2;
pid {run}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    include maps/*.conf;
    include sites/*.conf;
}}
"""
FIRST = 'map $host $first {{ default "{version}"; }}\n'
SITE = """
map $host $second {{ default "{version}"; }}
server {{
    listen 127.0.0.1:{port};
    root html;
    location = /version {{ return 200 "$first $second"; }}
}}
"""
PAGE = "<p>version {version}</p>"


class Site:
    """The source of a server's tree; ``check`` and ``after`` are what an operator would write."""

    def __init__(self, base: Path) -> None:
        self.src, self.dst, self.run = base / "src", base / "dst", base / "run"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        for directory in (self.run, self.src / "maps", self.src / "sites", self.src / "html"):
            directory.mkdir(parents=True)
        nginx = shlex.quote(_tool("nginx"))
        self.check = f'{nginx} -t -q -e stderr -p "$ATOMSYNC_VIEW" -c nginx.conf'
        self.after = f'{nginx} -s reload -e stderr -p "$ATOMSYNC_DST" -c nginx.conf'
        user = "user root;" if os.geteuid() == 0 else ""
        (self.src / "nginx.conf").write_text(CONF.format(user=user, run=self.run))

    def write(self, version: int) -> None:
        (self.src / "maps" / "first.conf").write_text(FIRST.format(version=version))
        (self.src / "sites" / "site.conf").write_text(SITE.format(version=version, port=self.port))
        (self.src / "html" / "index.html").write_text(PAGE.format(version=version))

    def get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def answers(self, path: str) -> str:
        try:
            return self.get(path)
        except OSError:
            return ""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def serve(site: Site, wait_until: Wait) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start the server on the destination, and wait until it answers."""
    running = []

    def start() -> subprocess.Popen[bytes]:
        line = [_tool("nginx"), "-e", "stderr", "-p", f"{site.dst}/", "-c", "nginx.conf"]
        with open(site.run / "log", "wb") as log:
            running.append(subprocess.Popen(line, stderr=log, stdin=subprocess.DEVNULL))
        wait_until(lambda: site.answers("/version"))
        return running[-1]

    yield start
    for server in running:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


class Client(threading.Thread):
    """Asks without a pause, by a new connection each time."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site, self._over = site, threading.Event()
        self.heard: list[str] = []
        self.errors: list[OSError] = []

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.heard.append(self._site.get("/version"))
            except OSError as error:
                self.errors.append(error)

    def stop(self) -> None:
        self._over.set()
        self.join()


def test_a_broken_configuration_never_reaches_nginx_and_nobody_sees_half_of_a_good_one(
    atomsync: Cli, site: Site, serve: Callable[[], subprocess.Popen[bytes]], wait_until: Wait
) -> None:
    def push(*more: str) -> subprocess.CompletedProcess[str]:
        return atomsync("push", "--delete", "--check", site.check, *more, site.src, site.dst)

    def commit() -> None:
        done = push("--after", site.after)
        assert (done.returncode, done.stderr) == (0, "")

    site.write(1)
    assert push().returncode == 0
    server = serve()
    client = Client(site)
    client.start()
    try:
        for version in (2, 3, 4, 5):
            site.write(version)
            commit()
            wait_until(lambda version=version: site.answers("/version") == f"{version} {version}")
            assert site.get("/index.html") == PAGE.format(version=version)

        site.write(6)
        (site.src / "maps" / "first.conf").write_text('map $host $first { default "6";')
        done = push("--after", site.after)
        assert done.returncode == 43
        said = f'unexpected end of file, expecting "}}" in {site.dst}/.atomsync/view/maps/first.conf:1'
        assert "[emerg]" in done.stderr
        assert said in done.stderr, done.stderr

        site.write(6)
        (site.src / "maps" / "first.conf").unlink()  # each file is well; together they are not
        done = push("--after", site.after)
        assert done.returncode == 43
        assert 'unknown "first" variable' in done.stderr

        assert (site.dst / "html" / "index.html").read_text() == PAGE.format(version=5)
        server.send_signal(signal.SIGHUP)  # whoever reloads it now gets the old
        assert site.get("/version") == "5 5"

        site.write(7)
        commit()
        wait_until(lambda: site.answers("/version") == "7 7")
    finally:
        client.stop()
    assert client.errors == []
    halves = [answer.split() for answer in client.heard]
    assert all(first == second for first, second in halves)
    assert {first for first, _ in halves} <= set("123457")
    assert len(halves) > 20


def test_a_watch_keeps_the_broken_from_nginx_and_goes_on_when_it_is_mended(
    atomsync: Cli, site: Site, serve: Callable[[], subprocess.Popen[bytes]], wait_until: Wait
) -> None:
    site.write(1)
    atomsync("push", site.src, site.dst)
    serve()
    options = ["--delete", "--settle", "50ms", "--check", site.check, "--after", site.after]
    told = site.run / "watch"
    with open(told, "w") as log:
        watch = atomsync.start("watch", "--json", *options, site.src, site.dst, stdout=log, stderr=log)
    wait_until(lambda: "receipt" in told.read_text())
    (site.src / "sites" / "site.conf").write_text("server { listen; }\n")
    wait_until(lambda: "the check failed" in told.read_text())
    assert site.get("/version") == "1 1"
    site.write(2)
    wait_until(lambda: site.answers("/version") == "2 2")
    assert "invalid number of arguments" in told.read_text()
    watch.terminate()
    assert watch.wait(20) == 0
