"""In what two entries of one path differ, as words. Pure."""

from __future__ import annotations

from atomsync.tree.entry import DIR, Entry

LEFT_AS_IT_IS = -1
"""An owner nobody asked for."""


def differences(known: Entry, found: Entry) -> tuple[str, ...]:
    """Of ``kind``, ``size``, ``time``, ``target``, ``mode``, ``owner`` and ``attributes`` (the extended ones,
    where both were asked for) those in which they differ.

    The time of a directory is left out: it moves with the names in it, which are looked at themselves.
    """
    if known.kind != found.kind:
        return ("kind",)
    words = []
    if known.size != found.size:
        words.append("size")
    if known.mtime_ns != found.mtime_ns and known.kind != DIR:
        words.append("time")
    if known.target != found.target:
        words.append("target")
    if known.mode != found.mode:
        words.append("mode")
    owners = ((known.uid, found.uid), (known.gid, found.gid))
    if any(one != other and LEFT_AS_IT_IS not in (one, other) for one, other in owners):
        words.append("owner")
    if known.xattrs != found.xattrs and known.xattrs and found.xattrs:
        words.append("attributes")
    return tuple(words)
