"""What the facts mean for atomsync, in plain words, and what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from atomsync.fs.folding import ASCII, FULL, NONE, SIMPLE, Folding
from atomsync.sync.doctor import Destination, Facts, Kept, Origin, Tried
from atomsync.sync.survey import Some, some
from atomsync.tree.amount import counted, size, span
from atomsync.tree.path import shown

OK, NOTE, LIMIT, FAIL = "ok", "note", "limit", "fail"
_SLOW_SYNC_S = 0.05
_FEW_BYTES, _FEW_INODES = 100_000_000, 1_000
_KERNEL = (5, 8)
_LARGE_BYTES = 100_000_000
_CASES = {ASCII: "of ASCII letters", SIMPLE: "of letters", FULL: "of letters, also ß and ss"}


class Finding(NamedTuple):
    """``level``: OK, NOTE (worth knowing), LIMIT (less than on the best filesystem, or something will not
    go), FAIL (no push could succeed). ``value``: the bare fact, for programs. ``hint``: what to do."""

    level: str
    name: str
    text: str
    hint: str = ""
    value: bool | int | float | str | None = None


def findings(facts: Facts) -> tuple[Finding, ...]:
    """Of the system, the destination and the source, in this order."""
    return (
        _kernel(facts),
        *_filesystem(facts.destination),
        *(_tried(facts.destination.tried) if facts.destination.tried else ()),
        *_space(facts),
        *_store(facts.destination),
        *(_source(facts, facts.origin) if facts.origin else ()),
    )


def verdict(found: tuple[Finding, ...]) -> str:
    """The last line."""
    fails = [finding for finding in found if finding.level == FAIL]
    if fails:
        return f"a push cannot work here: {fails[0].text}"
    limits = [finding.name for finding in found if finding.level == LIMIT]
    if limits:
        return (
            f"a push works here, but for {len(limits)} {'limits' if limits[1:] else 'limit'}: "
            + ", ".join(limits)
        )
    return "a push works here, with the full guarantee"


def _kernel(facts: Facts) -> Finding:
    text = f"{facts.system} {facts.release}"
    release = re.match(r"(\d+)\.(\d+)", facts.release)
    if facts.system != "Linux" or release is None:
        why = "not Linux: names are not exchanged in one step, and every file is synced on its own"
        return Finding(LIMIT, "kernel", f"{text}: {why}", "docs/guarantee.md says what holds there.", text)
    if (int(release[1]), int(release[2])) < _KERNEL:
        why = "before 5.8 syncfs hides write errors, so every file is synced on its own"
        return Finding(LIMIT, "kernel", f"{text}: {why}", "A newer kernel is faster here.", text)
    return Finding(OK, "kernel", f"{text}, new enough", value=text)


def _filesystem(found: Destination) -> Iterator[Finding]:
    missing = "" if found.exists else "; DST does not exist yet, this is the directory above it"
    if found.mount is None:
        yield Finding(NOTE, "filesystem", f"its type cannot be told{missing}")
    else:
        kind, point = found.mount.fs_type, found.mount.point
        yield Finding(OK, "filesystem", f"{kind}, mounted at {shown(point)}{missing}", value=kind)
    if found.space.read_only:
        hint = "Remount it read-write; see the system log (dmesg) if nobody mounted it so."
        yield Finding(FAIL, "writable", "the filesystem is mounted read-only", hint, False)
    elif found.fault is not None:
        yield Finding(
            FAIL,
            "writable",
            " ".join(f"{found.fault.what}: {found.fault.why}".split()),
            found.fault.hint,
            False,
        )
    else:
        yield Finding(OK, "writable", "something can be made there", value=True)
    if found.inside:
        yield Finding(
            LIMIT,
            "mounts",
            f"{_first(some(found.inside), 'mount point')} in DST: no rename crosses it",
            "Push each as a DST of its own, and --exclude it here.",
            len(found.inside),
        )
    else:
        yield Finding(OK, "mounts", "no other filesystem is mounted in DST", value=0)


def _tried(found: Tried) -> Iterator[Finding]:
    able, has = found.able, found.features
    if able.exchange:
        yield Finding(OK, "exchange", "two names are exchanged in one step", value="exchange")
    else:
        way = {
            "link+replace": "a replaced file is never missing, but a save in that very instant would be lost",
            "replace": "a path that is replaced is missing for the time of one call",
        }[able.swap_class]
        yield Finding(
            LIMIT,
            "exchange",
            f"no: {way}",
            "ext4, xfs, btrfs and tmpfs can (docs/guarantee.md).",
            able.swap_class,
        )
    yield _either(
        "rename",
        able.rename_new,
        "a rename refuses a name that exists",
        "a rename replaces a name made in that very instant by another writer",
    )
    if has.modes:
        yield Finding(OK, "modes", "kept as they are given", value=True)
    else:
        yield Finding(
            LIMIT,
            "modes",
            "not kept: each push takes files for edited, and gives them their modes again",
            "Format it as ext4, xfs or btrfs, or mount NTFS with -o permissions.",
            False,
        )
    yield _either("hard-links", able.link, "yes", "no", level=NOTE)
    yield _either("symlinks", has.symlinks, "yes", "no: a source with symbolic links cannot be pushed here")
    yield _either(
        "reflinks", has.reflink, "files can share blocks", "no: a changed file is copied whole", level=NOTE
    )
    yield _either(
        "sparse", has.sparse, "holes in files take no space", "no: holes in files take space", level=NOTE
    )
    yield _either("xattrs", has.xattrs, "yes", "no: extended attributes cannot be kept", level=NOTE)
    yield _either("acls", has.acls, "yes", "no: POSIX ACLs cannot be kept", level=NOTE)
    yield _either(
        "locks",
        has.locks,
        "directories can be locked",
        "directories cannot be locked: two pushes with different --state-dir would not notice each other",
    )
    yield _either(
        "generations",
        has.generations,
        "an inode is told from a later one of its number",
        "inodes are known again by their numbers only",
        level=NOTE,
    )
    yield _either(
        "syncfs",
        able.syncfs,
        "trusted: one call makes a unit durable",
        "not trusted here: every file of a unit is synced on its own, which is slower",
        level=NOTE,
    )
    yield _sync_cost(has.fsync_s, has.syncfs_s)
    step = able.time_step_ns
    yield Finding(
        OK if step < 1_000_000 else NOTE,
        "times",
        "kept to the nanosecond" if step == 1 else f"kept in steps of {span(step / 1e9)}",
        "" if step < 1_000_000 else "A push waits that long before it trusts a file that has just changed.",
        step,
    )
    yield _names(found.folding)


def _sync_cost(fsync_s: float, syncfs_s: float | None) -> Finding:
    whole = "" if syncfs_s is None else f", one syncfs {span(syncfs_s)}"
    slow = max(fsync_s, syncfs_s or 0) > _SLOW_SYNC_S
    return Finding(
        NOTE if slow else OK,
        "sync-cost",
        f"one fsync takes {span(fsync_s)}{whole}; a small unit needs about five",
        "--durability none does without, and survives a killed process but no power cut." if slow else "",
        round(fsync_s, 6),
    )


def _names(folding: Folding) -> Finding:
    if not folding.folds:
        return Finding(OK, "names", "every name is one of its own", value="exact")
    same = [f"the case {_CASES[folding.case]}"] if folding.case != NONE else []
    same += ["the Unicode form"] if folding.form else []
    same += ["invisible characters"] if folding.ignorable else []
    same += [f"{folding.trailing!r} at the end"] if folding.trailing else []
    return Finding(
        LIMIT,
        "names",
        f"ignored: {', '.join(same)}; names in SRC that differ in nothing else would collapse",
        "Rename or --exclude one of each pair; with SRC, doctor looks for them.",
        "folding",
    )


def _space(facts: Facts) -> Iterator[Finding]:
    space, survey = facts.destination.space, facts.origin.survey if facts.origin else None
    inodes = "" if space.inodes_free is None else f" and {space.inodes_free:,} inodes"
    few_inodes = space.inodes_free is not None and space.inodes_free < _FEW_INODES
    level, more, hint = OK, "", ""
    if space.bytes_free < _FEW_BYTES or few_inodes:
        level, hint = NOTE, "Free some, or keep fewer old versions (--keep)."
    if survey is not None:
        entries = survey.files + survey.directories + survey.links
        more = f"; SRC has {size(survey.size)} in {entries:,} entries"
        if survey.size > space.bytes_free or (space.inodes_free is not None and entries > space.inodes_free):
            level, hint = (
                LIMIT,
                "A push of everything does not fit; what DST has already needs no room again.",
            )
    yield Finding(level, "space", f"{size(space.bytes_free)}{inodes} free{more}", hint, space.bytes_free)
    yield Finding(
        OK if space.name_max >= 255 else NOTE,
        "longest-name",
        f"{space.name_max} bytes",
        value=space.name_max,
    )


def _store(found: Destination) -> Iterator[Finding]:
    kept: Kept = found.kept
    status = kept.status
    if not status.exists:
        if found.fault is None:
            yield Finding(OK, "store", "none yet; the first push makes it", value=0)
        return
    held = f"{counted(kept.units, 'unit')} kept, taking {size(kept.size)}"
    large = kept.size > max(found.space.bytes_free, _LARGE_BYTES)
    yield Finding(
        NOTE if large else OK,
        "store",
        f"ours; {held}",
        "A smaller --keep gives the oldest up." if large else "",
        kept.size,
    )
    if status.holder:
        yield Finding(
            NOTE, "busy", f"locked by {status.holder}", "A push waits for nobody; try again then.", True
        )
    if status.unfinished:
        yield Finding(NOTE, "unfinished", status.unfinished, "Every push does that first.", True)
    else:
        yield Finding(OK, "unfinished", "none", value=False)
    if status.prepared:
        yield Finding(
            NOTE,
            "prepared",
            f"{len(status.prepared)} prepared, nobody has decided about: their paths are held",
            "atomsync status shows them, atomsync recover decides.",
            len(status.prepared),
        )
    if status.conflicts:
        yield Finding(
            NOTE,
            "conflicts",
            f"versions of other writers are kept, of {counted(len(status.conflicts), 'unit')}",
            "Look into conflicts/ in the control directory, and remove what nobody needs.",
            len(status.conflicts),
        )


def _source(facts: Facts, origin: Origin) -> Iterator[Finding]:
    survey = origin.survey
    kind = origin.mount.fs_type if origin.mount else "unknown"
    same = origin.device == facts.destination.device
    yield Finding(
        OK,
        "source",
        f"{kind}, {'the same filesystem as' if same else 'another filesystem than'} DST; "
        f"{counted(survey.files, 'file')}, {counted(survey.directories, 'directory')}, {size(survey.size)}",
        value=kind,
    )
    for name, found, noun, hint in (
        ("unreadable", survey.unreadable, "may not be read", "Change their modes, or --exclude them."),
        ("too-long", survey.too_long, "have names that DST cannot hold", "Shorten them, or --exclude them."),
        ("collapsing", survey.collapsing, "would collapse at DST", "Rename or --exclude one of each pair."),
    ):
        if found.number:
            yield Finding(LIMIT, name, f"{_first(found, 'path')} {noun}", hint, found.number)
    if survey.special.number:
        yield Finding(
            NOTE,
            "special",
            f"{_first(survey.special, 'special file')}: left out",
            value=survey.special.number,
        )
    if origin.inside:
        mounted = some(origin.inside)
        hint = "What they hold is pushed too; -x leaves it out."
        yield Finding(NOTE, "source-mounts", f"{_first(mounted, 'mount point')} in SRC", hint, mounted.number)
    yield from _watch(facts, origin)


def _watch(facts: Facts, origin: Origin) -> Iterator[Finding]:
    limits, directories = facts.limits, origin.survey.directories + 1
    for path, why in sorted(origin.silent.items()):
        yield Finding(LIMIT, "watch-events", f"{shown(path)}: {why}", "watch polls it; see --poll.", False)
    if limits.watches is None:
        yield Finding(NOTE, "watch", "this system has no inotify; watch uses what it has", value=None)
        return
    told = f"{counted(directories, 'directory')} of {limits.watches:,} allowed"
    if limits.instances is not None and limits.queued_events is not None:
        told += f"; {limits.instances:,} watching processes, {limits.queued_events:,} events in the queue"
    if directories > limits.watches:
        hint = f"sysctl fs.inotify.max_user_watches={2 * directories}; what is over is polled."
        yield Finding(LIMIT, "watch", told, hint, limits.watches)
    elif directories * 2 > limits.watches:
        hint = f"All watches of a user share it: sysctl fs.inotify.max_user_watches={4 * directories}"
        yield Finding(NOTE, "watch", told, hint, limits.watches)
    else:
        yield Finding(OK, "watch", told, value=limits.watches)


def _either(name: str, able: bool, yes: str, no: str, *, level: str = LIMIT) -> Finding:
    return Finding(OK, name, yes, value=True) if able else Finding(level, name, no, value=False)


def _first(found: Some, noun: str) -> str:
    more = f" and {found.number - len(found.texts):,} more" if found.number > len(found.texts) else ""
    return f"{counted(found.number, noun)} ({', '.join(map(shown, found.texts))}{more})"
