"""A source and a destination on a real filesystem, whose push takes every kind of step there is."""

from __future__ import annotations

import os
from pathlib import Path

T = 1_600_000_000_123_456_789  # whole microseconds would hide a filesystem that rounds


class Scenario:
    """``base`` is an existing directory; ``src`` and ``dst`` are made in it, one file at a time.

    ``rich`` takes every kind of step and more than eight entries, so it goes through syncfs;
    ``small`` stays below, so every file of it is synced on its own.
    """

    def __init__(self, base: Path, *, small: bool = False) -> None:
        self.base, self.small = base, small
        self.src, self.dst = base / "src", base / "dst"

    def build(self) -> None:
        """Both trees, with times long ago. The caller makes them durable if it matters."""
        for root in (self.src, self.dst):
            self._file(root / "same", b"same on both sides")
            self._file(root / "deep/a/b/same", b"same")
        self._file(self.dst / "deep/a/b/replaced", b"old version")
        self._file(self.src / "deep/a/b/replaced", b"the new version, and a longer one")
        self._file(self.dst / "mode", b"mode", 0o600)
        self._file(self.src / "mode", b"mode", 0o751)
        self._file(self.dst / "gone", b"gone")
        self._file(self.src / "made", b"made", 0o640)
        if not self.small:
            self._build_rich()
        for number, root in enumerate((self.src, self.dst)):
            for directory, _, _ in os.walk(root, topdown=False):
                when = T + 1000 * number
                os.utime(directory, ns=(when, when))

    def _build_rich(self) -> None:
        src, dst = self.src, self.dst
        os.mkfifo(dst / "gone-fifo")
        self._file(dst / "gone-dir/sub/f", b"gone with its directory", 0o400)
        os.symlink("nowhere", dst / "gone-link")
        self._file(dst / "file-to-dir", b"was a file")
        self._file(src / "file-to-dir/sub/f", b"below what was a file")
        self._file(dst / "dir-to-file/sub/f", b"in what was a directory")
        self._file(src / "dir-to-file", b"was a directory")
        self._file(dst / "dir-to-link/f", b"in what was a directory")
        os.symlink("deep", src / "dir-to-link")
        os.symlink("deep", dst / "link-to-dir")
        self._file(src / "link-to-dir/f", b"in what was a link")
        os.symlink("one", dst / "link")
        os.symlink("two", src / "link")
        self._file(src / "made-dir/sub/f", b"made with its directory")
        os.symlink("f", src / "made-dir/sub/l")
        (src / "made-dir/empty").mkdir(0o750)
        self._file(src / "empty", b"")
        self._file(src / "large", bytes(range(256)) * 1200)
        self._file(dst / "large", b"was small")
        for root in (src, dst):  # directories whose own attributes change, and one nobody may write
            (root / "dir-mode").mkdir()
            self._file(root / "closed/kept", b"kept")
        os.chmod(src / "dir-mode", 0o2711)
        self._file(dst / "closed/changed", b"old")
        self._file(src / "closed/changed", b"newer")
        os.chmod(src / "closed", 0o555)
        os.chmod(dst / "closed", 0o555)
        # Two names of one inode at the destination: one is replaced, the other must keep the old bytes.
        self._file(dst / "hard-a", b"shared old bytes")
        os.link(dst / "hard-a", dst / "hard-b")
        self._file(src / "hard-a", b"a version of its own")
        self._file(src / "hard-b", b"shared old bytes")
        if os.geteuid() == 0:
            self._file(dst / "owner", b"owner")
            self._file(src / "owner", b"owner")
            os.chown(src / "owner", 1234, 2345)
            os.chown(dst / "dir-mode", 12, 34)
        for path in (src / "gone-link", src / "link", src / "dir-to-link", dst / "link", dst / "link-to-dir"):
            if path.is_symlink():
                os.utime(path, ns=(T, T), follow_symlinks=False)

    def _file(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
        os.utime(path, ns=(T, T))
