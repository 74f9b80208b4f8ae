"""The protocol of a disk: what the rest of atomsync may ask of a filesystem.

Descriptors are small integers, of directories or files. Names are single components, as ``str`` with
surrogate escapes for bytes that are not UTF-8. Every verb raises ``OSError`` with the errno a POSIX
system gives; no verb follows a symbolic link in its last component. A verb that changes something has
no effect at all when it raises, except ``write``, which may have written a part, and ``set_meta``, which
may have set the owner but not the mode, or both but not the time.

Nothing is durable before ``fsync`` or ``syncfs`` returned: not the bytes, not the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol


class Stat(Protocol):
    """What ``os.stat_result`` offers, as far as atomsync reads it. Times in ns, blocks of 512 bytes."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_dev(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_blocks(self) -> int:
        """What the file occupies, in units of 512 bytes whatever the filesystem."""

    @property
    def st_rdev(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


class Space(NamedTuple):
    """Free room on a filesystem. ``inodes_free`` is None where inodes are not counted (btrfs)."""

    block_size: int
    bytes_free: int
    inodes_free: int | None
    name_max: int
    read_only: bool


class Disk(Protocol):
    """A filesystem with rename semantics: the real one, or the simulated one of ``atomsync.testing``."""

    # -- descriptors
    def open_root(self, path: str) -> int:
        """Open a directory named by the operator (an ordinary path, links followed)."""

    def open_dir(self, at: int, name: str) -> int:
        """Open directory ``name`` in ``at``; ENOTDIR or ELOOP for a symbolic link. ``..`` is allowed."""

    def open_file(self, at: int, name: str) -> int:
        """Open a regular file for reading; never blocks, also not on a FIFO."""

    def create(self, at: int, name: str) -> int:
        """Create a file that must not exist, mode 0600, open for reading and writing."""

    def open_lock(self, at: int, name: str) -> int:
        """Open for reading and writing the file ``name``, made (0600) if it is missing."""

    def close(self, fd: int) -> None: ...
    def library_path(self, at: int, name: str) -> str:
        """A path by which SQLite, which opens files itself, reaches ``name``; ":memory:" if there is none."""

    # -- looking
    def scandir(self, fd: int) -> list[tuple[str, Stat]]:
        """Names in a directory with their lstat. A name that vanishes meanwhile is left out."""

    def names(self, fd: int) -> list[str]:
        """Those in a directory."""

    def lstat(self, at: int, name: str) -> Stat: ...
    def fstat(self, fd: int) -> Stat: ...
    def readlink(self, at: int, name: str) -> str: ...
    def generation(self, at: int, name: str) -> int:
        """A number that tells an inode from a later one with the same number; 0 if unknown."""

    def deep_lstats(self, at: int, names: Iterable[str]) -> Iterator[tuple[Stat, int] | None]:
        """``lstat`` and ``generation`` of each name, or None where there is nothing."""

    def space(self, fd: int) -> Space: ...
    def may_change_names(self, fd: int) -> bool:
        """Whether we may make and remove names in this directory, as far as owner and mode tell."""

    def pinned(self, at: int, names: Iterable[str]) -> list[str]:
        """Those that bear a flag (immutable, append-only) which forbids to change or rename them. A name that
        is missing is not among them."""

    # -- content
    def pread(self, fd: int, size: int, offset: int, /) -> bytes:
        """Up to ``size`` bytes (fewer only at the end of the file or for the system's own reasons)."""

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""

    def truncate(self, fd: int, size: int, /) -> None: ...
    def clone(self, fd: int, source: int) -> None:
        """Let the open file ``fd`` hold what ``source`` holds, sharing its blocks until either is written to.
        EXDEV or EOPNOTSUPP where files cannot share any."""

    def punch(self, fd: int, offset: int, size: int) -> None:
        """Make a hole of whole blocks, which reads as zeros. EOPNOTSUPP where there are none."""

    def drop_cache(self, fd: int) -> None:
        """Ask that the next read of this file comes from the medium. A hint; never an error."""

    # -- names
    def mkdir(self, at: int, name: str) -> None:
        """Make a directory with mode 0700."""

    def symlink(self, target: str, at: int, name: str) -> None: ...
    def node(self, at: int, name: str, kind: int, device: int) -> None:
        """Make a FIFO, a socket or (``device``: its number) a device node with mode 0600."""

    def link(self, at: int, name: str, to: int, new_name: str) -> None: ...
    def exchange(self, at: int, name: str, to: int, other: str) -> None:
        """Swap two existing names in one step, whatever their types (RENAME_EXCHANGE)."""

    def rename_new(self, at: int, name: str, to: int, new_name: str) -> None:
        """Rename to a name that must not exist (RENAME_NOREPLACE); EEXIST otherwise."""

    def exchange_all(self, at: int, to: int, names: Iterable[tuple[bytes, bytes]]) -> None:
        """``exchange`` for each pair of names, in ``at`` and in ``to``, in order, with as little as possible
        between two. The names are bytes, none of them 0. Those before one that fails are done, and
        behind it nothing was taken from ``names``."""

    def rename_all_new(self, at: int, to: int, names: Iterable[tuple[bytes, bytes]]) -> None:
        """``rename_new`` for each, as ``exchange_all``."""

    def replace(self, at: int, name: str, to: int, other: str) -> None:
        """Plain rename(2), which replaces. Only for disks without ``exchange``, and for our own files."""

    def unlink(self, at: int, name: str) -> None: ...
    def rmdir(self, at: int, name: str) -> None: ...

    # -- metadata: -1 for uid, gid and None for mode, mtime_ns leave that one as it is
    def set_meta(self, fd: int, uid: int, gid: int, mode: int | None, mtime_ns: int | None) -> None:
        """Of an open file or directory; owner first, then mode (chown clears setuid bits)."""

    def set_meta_at(
        self, at: int, name: str, uid: int, gid: int, mode: int | None, mtime_ns: int | None, ino: int = 0
    ) -> None:
        """Of a name, never through a link. ``mode`` must be None for a symbolic link. With ``ino``,
        ESTALE if the name leads to another inode by now: it may be a hard link to anything."""

    # -- extended attributes, POSIX ACLs among them
    def xattr_names(self, at: int, name: str) -> list[str]:
        """Of a name, or of the directory itself as "."; empty where the filesystem has none."""

    def xattr(self, at: int, name: str, attribute: str) -> bytes:
        """The value of one of them; ENODATA if it is not there."""

    def set_xattrs(self, at: int, name: str, changes: Mapping[str, bytes | None], ino: int = 0) -> None:
        """Set each to its value, or remove it if that is None, in order; those before one that fails are
        done, and ``filename`` of the error is its name. ``ino`` as for ``set_meta_at``."""

    # -- durability and exclusion
    def fsync(self, fd: int) -> None:
        """Bytes and attributes of a file, or the names in a directory, are on the medium."""

    def syncfs(self, fd: int) -> None:
        """Everything on the filesystem of ``fd`` that was changed before is on the medium."""

    def syncfs_trusted(self, fd: int) -> bool:
        """Whether this filesystem's syncfs is known to do what it says, and to report errors."""

    def try_lock(self, fd: int) -> bool:
        """Take the exclusive lock of an open file, without waiting; False if another has it."""

    def unlock(self, fd: int) -> None:
        """Give that lock back; nothing if it was not taken."""
