"""A watcher under test, and one who looks at once wherever it is told to."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from atomsync.watch.hint import NAMES, TREE, Hint

Signature = tuple[int, ...]


def signature(path: str) -> Signature | None:
    """What a change cannot leave as it is; of a directory, its entries apart."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return (found.st_mode, found.st_ino)
    return (found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns)


def look_below(root: str, top: str = "") -> dict[str, Signature]:
    """Every path strictly below ``top`` with its signature."""
    found: dict[str, Signature] = {}
    pending = [top]
    while pending:
        directory = pending.pop()
        with contextlib.suppress(OSError):
            for name in os.listdir(os.path.join(root, directory)):
                path = f"{directory}/{name}" if directory else name
                seen = signature(os.path.join(root, path))
                if seen is not None:
                    found[path] = seen
                    if stat.S_ISDIR(seen[0]):
                        pending.append(path)
    return found


class Listener:
    """Keeps what it hears, and a picture of the tree that only hints bring up to date."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self.picture: dict[str, Signature] = {}
        self.hints: list[Hint] = []

    def hear(self, hint: Hint) -> None:
        self.hints.append(hint)
        self.look(hint)

    def look(self, hint: Hint) -> None:
        path = hint.path
        seen = signature(os.path.join(self._root, path))
        if path and (hint.reach == TREE or seen is None or not stat.S_ISDIR(seen[0])):
            self._forget_below(path)
        if path and seen is None:
            self.picture.pop(path, None)
        elif path and seen is not None:
            self.picture[path] = seen
        if hint.reach == TREE:
            if not path:
                self.picture.clear()
            self.picture.update(look_below(self._root, path))
        assert hint.reach != NAMES

    def _forget_below(self, path: str) -> None:
        for gone in [known for known in self.picture if known.startswith(path + "/")]:
            del self.picture[gone]


@pytest.fixture
def mount(needs_root: None) -> Iterator[Callable[..., Path]]:
    """Mounts a filesystem (a type of the kernel's, or "bind") for the time of the test."""
    done: list[Path] = []

    def put(kind: str, point: Path, options: str = "", source: Path | str = "none") -> Path:
        point.mkdir(parents=True, exist_ok=True)
        how = ["--bind"] if kind == "bind" else ["-t", kind, "-o", options or "rw"]
        result = subprocess.run(["mount", *how, source, point], check=False, capture_output=True, text=True)
        if result.returncode != 0:
            pytest.skip(f"cannot mount {kind}: {result.stderr.strip()}")
        done.append(point)
        return point

    yield put
    for point in reversed(done):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)


@pytest.fixture
def watch() -> Iterator[Callable[..., tuple[InotifyWatcher, Listener]]]:
    """Starts a watcher of a directory; what it says is heard by the listener, which has seen everything."""
    started: list[InotifyWatcher] = []

    def start(root: Path, **options: Any) -> tuple[InotifyWatcher, Listener]:
        listener = Listener(root)
        watcher = InotifyWatcher(str(root), listener.hear, **options)
        started.append(watcher)
        watcher.start()
        listener.look(EVERYWHERE)
        return watcher, listener

    yield start
    for watcher in started:
        watcher.stop()
