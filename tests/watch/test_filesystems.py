"""Which filesystems must be polled: by the kernel's table, real and literal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync.fs import mounts as mounts_module
from atomsync.fs.mounts import below, mounts_below
from atomsync.watch.filesystems import gives_no_events, silent_below

ROOT = "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts other mounts than this machine's into the kernel's table."""

    def put(text: str) -> None:
        path = tmp_path / "mountinfo"
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        monkeypatch.setattr(mounts_module, "_TABLE", str(path))

    return put


def test_local_filesystems_tell_everything(tmp_path: Path, mount: Callable[..., Path]) -> None:
    assert gives_no_events(str(mount("tmpfs", tmp_path / "m"))) == ""


def test_what_the_kernel_makes_up_gives_no_events() -> None:
    assert gives_no_events("/proc/self") == "proc gives no events"


def test_an_overlay_may_change_from_beneath(tmp_path: Path, mount: Callable[..., Path]) -> None:
    # On a tmpfs of its own: an overlay needs an upper layer that is no overlay itself.
    layers = mount("tmpfs", tmp_path / "layers")
    for name in ("lower", "upper", "work"):
        (layers / name).mkdir()
    options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    merged = mount("overlay", tmp_path / "src" / "merged", options)
    (merged / "inside").mkdir()
    assert gives_no_events(str(merged / "inside")) == "on overlay, changes made beneath it give no events"
    assert silent_below(str(tmp_path / "src")) == {
        "merged": "on overlay, changes made beneath it give no events"
    }
    assert silent_below(str(merged)) == {}


def test_the_mount_that_shows_counts_and_not_one_hidden_by_it(
    tmp_path: Path, mount: Callable[..., Path]
) -> None:
    inner = mount("proc", tmp_path / "m" / "inner")
    assert gives_no_events(str(inner))
    mount("tmpfs", tmp_path / "m")
    inner.mkdir()
    assert gives_no_events(str(inner)) == ""


def test_a_link_is_followed_to_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")
    assert gives_no_events(str(tmp_path / "link"))


@pytest.mark.parametrize(
    ("kind", "silent"),
    [
        ("nfs4", True),
        ("nfs", True),
        ("cifs", True),
        ("9p", True),
        ("fuse.sshfs", True),
        ("virtiofs", True),
        ("fuseblk", False),
        ("ext4", False),
        ("btrfs", False),
        ("nfsd", False),
    ],
)
def test_shared_filesystems_may_change_elsewhere(
    kind: str, silent: bool, table: Callable[[str], None]
) -> None:
    table(
        ROOT + f"40 21 0:50 / /srv/share rw,relatime shared:7 master:3 - {kind} server:/export rw,addr=::1\n"
    )
    expected = f"on {kind}, changes made elsewhere give no events"
    assert silent_below("/srv") == ({"share": expected} if silent else {})


def test_names_in_the_table_are_decoded(table: Callable[[str], None]) -> None:
    table(
        ROOT
        + "40 21 0:50 / /srv/a\\040b\\134\\012c rw - nfs s:/ rw\n"
        + "41 21 0:51 / /srv/\udcff rw - nfs s:/ rw\n"
    )
    assert set(silent_below("/srv")) == {"a b\\\nc", "\udcff"}
    assert mounts_below("/srv") == {"a b\\\nc", "\udcff"}


def test_of_two_mounts_in_one_place_the_later_counts(table: Callable[[str], None]) -> None:
    table(ROOT + "40 21 0:50 / /srv/m rw - nfs s:/ rw\n41 40 0:51 / /srv/m rw - ext4 /dev/b rw\n")
    assert silent_below("/srv") == {}
    assert below("/srv")["m"].device == os.makedev(0, 51)


def test_only_what_lies_below_is_named(table: Callable[[str], None]) -> None:
    table(
        ROOT
        + "".join(
            f"4{n} 21 0:5{n} / {p} rw - nfs s:/ rw\n" for n, p in enumerate(["/srv", "/srv2", "/srv/x"])
        )
    )
    assert set(silent_below("/srv")) == {"x"}
    assert set(silent_below("/")) == {"srv", "srv2", "srv/x"}


def test_where_there_is_no_table_nothing_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts_module, "_TABLE", str(tmp_path / "missing"))
    assert gives_no_events("/proc") == ""
    assert silent_below("/") == {}
    assert below("/") == {}


def test_a_mount_below_is_there_until_it_is_unmounted(tmp_path: Path, mount: Callable[..., Path]) -> None:
    assert below(str(tmp_path)) == {}
    inner = mount("tmpfs", tmp_path / "a" / "b c")
    (found,) = below(str(tmp_path)).items()
    assert found[0] == "a/b c"
    assert found[1].device == inner.stat().st_dev
    assert below(str(inner)) == {}
    subprocess.run(["umount", inner], check=True)
    assert below(str(tmp_path)) == {}


def test_a_bind_mount_is_a_mount_below(tmp_path: Path, mount: Callable[..., Path]) -> None:
    (tmp_path / "elsewhere").mkdir()
    mount("bind", tmp_path / "src" / "bound", source=tmp_path / "elsewhere")
    (found,) = below(str(tmp_path / "src")).items()
    assert found[0] == "bound"
    assert found[1].device == tmp_path.stat().st_dev
    assert found[1].root.endswith("/elsewhere")
