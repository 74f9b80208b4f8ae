"""What many tests need: the real command, real filesystems, independent judges of two trees.

Helpers are fixtures that return functions, so that every test can ask for them by name. Under CI=true a
skipped test fails: there everything must be able to run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.documented import undocumented

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONTROL = b".atomsync"
NOBODY = 65534
MIB = 1 << 20
_NO_OUTPUT: dict[str, Any] = {"text": True, "encoding": "utf-8", "errors": "surrogateescape"}

# Another user may be unable to reach the interpreter's modules (say, below /root): so they are loaded
# first. PR_SET_DUMPABLE, which an exec would have set: without it /proc/self/fd is closed to us.
_AS_USER = """
import calendar, ctypes, importlib, os, pkgutil, _strptime, sys
import pathspec, rich.progress, atomsync
for _, name, _ in pkgutil.walk_packages(atomsync.__path__, "atomsync."):
    if not name.startswith(("atomsync.testing", "atomsync.__main__")):
        importlib.import_module(name)
uid = int(sys.argv.pop(1))
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
atomsync.cli.main()
"""

Snapshot = dict[bytes, tuple[object, ...]]


# Under nohup it is ignored, by all that is started here, too: no watch would read its file again.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# -- skips
def _fails_when_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"CI=true, where nothing may be skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    _fails_when_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report: Any = yield
    _fails_when_skipped(report)
    return report


@pytest.fixture
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may do this")


def _tool(name: str) -> str:
    """The path of a program, or a skip that names it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


# -- the command
class Cli:
    """The real command in a process of its own. Called, it runs to its end; ``start`` leaves it running.

    ``user`` gives the process another user's rights, ``under`` is a program to run it under.
    """

    def __init__(self, cwd: Path) -> None:
        self._cwd = cwd
        self._running: list[subprocess.Popen[str]] = []

    def __call__(
        self,
        *arguments: object,
        user: int | None = None,
        under: Iterable[str] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*under, *self.line(*arguments, user=user)],
            cwd=cwd or self._cwd,
            env=self._env(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            **_NO_OUTPUT,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if "--json" in arguments and done.stdout.startswith("{"):
            missing = undocumented(done.stdout)
            assert missing == [], f"not documented in docs/json.md: {missing}"
        return done

    def start(self, *arguments: object, under: Iterable[str] = (), **more: Any) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **_NO_OUTPUT, **more}
        process = subprocess.Popen(
            [*under, *self.line(*arguments)],
            cwd=self._cwd,
            env=self._env(None),
            stdin=subprocess.DEVNULL,
            **options,
        )
        self._running.append(process)
        return process

    def line(self, *arguments: object, user: int | None = None) -> list[str | bytes]:
        words = [word if isinstance(word, bytes) else str(word) for word in arguments]
        if user is None:
            return [sys.executable, "-m", "atomsync", *words]
        if os.geteuid() != 0:
            pytest.skip("only root may become another user")
        return [sys.executable, "-c", _AS_USER, str(user), *words]

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.communicate()

    @staticmethod
    def _env(more: Mapping[str, str] | None) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ATOMSYNC_")}
        return {**kept, "PYTHONUTF8": "1", "COLUMNS": "100", **(more or {})}


@pytest.fixture
def atomsync(tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(tmp_path)
    yield cli
    cli.close()


@pytest.fixture
def strace() -> Callable[..., list[str]]:
    """The words that run a program under strace with these options, its log thrown away."""
    program = _tool("strace")

    def under(*options: str, log: str | Path = os.devnull) -> list[str]:
        return [program, "-f", "-qq", "-o", str(log), *options]

    return under


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Ask ``condition`` until it holds; what it then returned is the result."""

    def wait(condition: Callable[[], Any], timeout_s: float = 20) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {condition}"
            time.sleep(0.002)
        return found

    return wait


# -- places
@pytest.fixture
def public_dir() -> Iterator[Path]:
    """An empty directory that every user can reach, which those of pytest are not."""
    path = Path(tempfile.mkdtemp(prefix="atomsync-test-"))
    path.chmod(0o755)
    yield path
    _remove(path)


@pytest.fixture
def ntfs(needs_root: None, public_dir: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a new NTFS with these options of lowntfs-3g; the path of its root."""
    points: list[Path] = []
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")

    def mounted(*options: str) -> Path:
        image, point = public_dir / "image", public_dir / "point"
        point.mkdir()
        with image.open("wb") as file:
            file.truncate(16 << 20)
        subprocess.run([_tool("mkfs.ntfs"), "-q", "-F", "-f", image], check=True, capture_output=True)
        line = [_tool("lowntfs-3g"), *options, image, point]
        done = subprocess.run(line, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount NTFS here: {done.stderr.strip()}")
        points.append(point)
        return point

    yield mounted
    for point in points:
        subprocess.run(["umount", point], check=True)


class Mounts:
    """Makes small filesystems, and takes them all away again."""

    def __init__(self, where: Path) -> None:
        self._where = where
        self.points: list[Path] = []

    def __call__(self, kind: str = "ext4", size_mib: int = 16, *, inodes: int | None = None) -> Path:
        """An empty filesystem of this size and number of inodes; the path of its root."""
        point = self._where / f"fs{len(self.points)}"
        point.mkdir()
        if kind == "tmpfs":
            return self.tmpfs(point, f"size={size_mib}m" + (f",nr_inodes={inodes}" if inodes else ""))
        self._root()
        image = self._where / f"fs{len(self.points)}.image"
        with image.open("wb") as file:
            file.truncate(size_mib * MIB)
        options = {
            "ext4": ["-q", "-F", "-m", "0", *(["-N", str(inodes)] if inodes else [])],
            "ext4-seconds": ["-q", "-F", "-I", "128"],  # small inodes have no room for nanoseconds
            "xfs": ["-q", "-f"],
            "btrfs": ["-q", "-f"],
        }[kind]
        subprocess.run(
            [_tool(f"mkfs.{kind.partition('-')[0]}"), *options, image], check=True, capture_output=True
        )
        return self._mounted(["-o", "loop", str(image)], point)

    def tmpfs(self, point: Path, options: str = "size=16m") -> Path:
        """A tmpfs on an existing directory."""
        return self._mounted(["-t", "tmpfs", "-o", options, "none"], point)

    def bind(self, source: Path, point: Path) -> Path:
        """What is at ``source`` on an existing directory."""
        return self._mounted(["--bind", str(source)], point)

    def overlay(self, upper: Path, point: Path) -> Path:
        """On an existing directory; ``upper`` holds ``lower``, ``upper`` and ``work``."""
        layers = ",".join(f"{name}dir={upper / name}" for name in ("lower", "upper", "work"))
        return self._mounted(["-t", "overlay", "-o", layers, "overlay"], point)

    def unmount(self, point: Path) -> None:
        subprocess.run(["umount", point], check=True)
        self.points.remove(point)

    def remount(self, point: Path, options: str) -> None:
        subprocess.run([_tool("mount"), "-o", f"remount,{options}", point], check=True, capture_output=True)

    def close(self) -> None:
        for point in reversed(self.points):
            if subprocess.run(["umount", point], check=False, capture_output=True).returncode:
                subprocess.run(["umount", "-l", point], check=True, capture_output=True)

    def _mounted(self, options: list[str], point: Path) -> Path:
        self._root()
        done = subprocess.run([_tool("mount"), *options, point], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
        self.points.append(point)
        shutil.rmtree(point / "lost+found", ignore_errors=True)
        return point

    @staticmethod
    def _root() -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may mount")


@pytest.fixture
def small_fs(public_dir: Path) -> Iterator[Mounts]:
    mounts = Mounts(public_dir)
    yield mounts
    mounts.close()


# -- trees
def _plant(root: Path, spec: Mapping[str | bytes, bytes | str | None]) -> Path:
    for path, what in spec.items():
        full = os.path.join(os.fsencode(root), os.fsencode(path))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if what is None:
            os.makedirs(full, exist_ok=True)
        elif isinstance(what, str):
            os.symlink(what, full)
        else:
            with open(full, "wb") as file:
                file.write(what)
    return root


@pytest.fixture
def plant() -> Callable[..., Path]:
    """Make a tree in a directory: bytes are a file, text is a link to it, None is a directory."""
    return _plant


@pytest.fixture(scope="session")
def big_dir() -> Iterator[Path]:
    """For trees that are made once and only read."""
    path = Path(tempfile.mkdtemp(prefix="atomsync-test-"))
    yield path
    _remove(path)


@pytest.fixture(scope="session")
def build_awkward() -> Callable[[str], None]:
    spec = importlib.util.spec_from_file_location("awkward", FIXTURES / "awkward.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def real_tree(big_dir: Path, build_awkward: Callable[[str], None]) -> Callable[[str], Path]:
    """Real input by name: website, config, awkward, stdlib. For reading only."""

    def found(name: str) -> Path:
        if name in ("website", "config"):
            return FIXTURES / name
        path = big_dir / name
        if not path.exists():
            if name == "awkward":
                build_awkward(str(path))
            else:
                left_out = ["site-packages", "__pycache__", "config-*", "ensurepip"]
                patterns = [f"--exclude={pattern}" for pattern in left_out]
                stdlib = sysconfig.get_path("stdlib") + "/"
                subprocess.run([_tool("rsync"), "-a", *patterns, stdlib, path], check=True)
        return path

    return found


def _remove(path: Path) -> None:
    """Also what is too deep for shutil, or has no permission bits."""
    subprocess.run(["chmod", "-R", "u+rwx", path], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", path], check=True)


# -- judges
class Seen(NamedTuple):
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    target: bytes


def _walk(root: bytes, *, control: bool) -> Iterator[tuple[bytes, os.stat_result]]:
    """``(relative path, lstat)`` of everything, the root (``b""``) included."""
    yield b"", os.lstat(root)
    pending = [b""]
    while pending:
        directory = pending.pop()
        for entry in os.scandir(os.path.join(root, directory)):
            if entry.name == CONTROL and not control:
                continue
            path = os.path.join(directory, entry.name)
            yield path, entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)


def _is_special(found: os.stat_result) -> bool:
    return not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode))


def _snapshot(root: Path, *, control: bool = False, ctime: bool = True) -> Snapshot:
    found: Snapshot = {}
    top = os.fsencode(root)
    if not os.path.lexists(top):
        return {}
    for path, status in _walk(top, control=control):
        full = os.path.join(top, path)
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(full)
        elif stat.S_ISREG(status.st_mode):
            with open(full, "rb") as file:
                content = hashlib.blake2b(file.read()).digest()
        found[path] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_ino,
            status.st_nlink,
            0 if stat.S_ISDIR(status.st_mode) else status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns if ctime else 0,
            content,
        )
    return found


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    """Everything lstat tells of every path, and the contents; ``control``: of the control directory too."""
    return _snapshot


@pytest.fixture
def unchanged() -> Callable[..., contextlib.AbstractContextManager[None]]:
    """A ``with`` after which a tree is as it was before, to the inode and the ctime of everything.

    Where there was no control directory, one may be made: of the root only what that changes is left out.
    """

    @contextlib.contextmanager
    def check(root: Path, *, control: bool = False, ctime: bool = True) -> Iterator[None]:
        new = root.is_dir() and not (root / ".atomsync").exists() and not control
        before = _snapshot(root, control=control, ctime=ctime)
        yield
        after = _snapshot(root, control=control, ctime=ctime)
        if new:
            for found in (before, after):
                found[b""] = found[b""][:3] if b"" in found else ()
        assert after == before

    return check


@pytest.fixture
def assert_same_tree() -> Callable[..., None]:
    """Three judges that share no code with atomsync find no difference, special files in SRC left aside."""

    def check(src: Path, dst: Path) -> None:
        left = dict(_walk(os.fsencode(src), control=False))
        right = dict(_walk(os.fsencode(dst), control=False))
        special = {path for path, found in left.items() if _is_special(found)}
        assert left.keys() - special == right.keys()
        differ = [
            (path, _seen(src, path, left[path]), _seen(dst, path, right[path]))
            for path in right
            if _seen(src, path, left[path]) != _seen(dst, path, right[path])
        ]
        assert not differ, differ[:5]
        assert _diff(src, dst, special) == []
        assert _rsync(src, dst) == []

    return check


def _seen(root: Path, path: bytes, found: os.stat_result) -> Seen:
    link = stat.S_ISLNK(found.st_mode)
    return Seen(
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        found.st_size if stat.S_ISREG(found.st_mode) else 0,
        os.readlink(os.path.join(os.fsencode(root), path)) if link else b"",
    )


def _diff(src: Path, dst: Path, special: set[bytes]) -> list[bytes]:
    line = [_tool("diff"), "-r", "--no-dereference", "--exclude=.atomsync", src, dst]
    done = subprocess.run(line, check=False, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode in (0, 1), done.stderr
    expected = set()
    for path in special:
        directory, name = os.path.split(os.path.join(os.fsencode(src), path))
        expected.add(b"Only in %s: %s" % (directory, name))
    return [line for line in done.stdout.splitlines() if line not in expected]


def _rsync(src: Path, dst: Path) -> list[str]:
    line = [_tool("rsync"), "-aniHc", "--no-specials", "--no-devices", "--delete", "--exclude=/.atomsync"]
    done = subprocess.run([*line, f"{src}/", f"{dst}/"], check=False, capture_output=True, **_NO_OUTPUT)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("skipping non-regular file")]


@pytest.fixture
def history() -> Callable[[Path], list[str]]:
    """The ids of the finished units of a destination."""

    def units(dst: Path) -> list[str]:
        found = dst / ".atomsync" / "history"
        return sorted(os.listdir(found)) if found.exists() else []

    return units
