"""Where a caller does not care what is there: its changes, told anew of what the commit finds. Pure but for
looking."""

from __future__ import annotations

from atomsync.plan.change import Change
from atomsync.tree.entry import DIR, FILE, Entry, untouched
from atomsync.unit.books import Books
from atomsync.unit.expected import stale
from atomsync.unit.view import View


def rebase(books: Books, view: View) -> bool:
    """Take what is at each path of ``books.forced`` for what the unit found there. Whether there was any.

    Raises StaleEntry where only a mode or a time was to change, of something that is not there any more.
    """
    forced = sorted(books.forced)
    for path in forced:
        change, now = books.changes.get(path), view.look(path)
        if change is None:
            continue
        old, new = change.old, change.new
        if now is not None and now.kind == DIR:
            if old is None and new is not None and new.kind == DIR:
                books.put(path, None)  # what is in it stays, as it would had it been there already
                continue
        elif old == now or (old and now and untouched(old, now)):
            continue
        if old is not None and not change.content:
            books.put(path, _with_attributes(change, now, view))
            continue
        ours = {name: books.changes[name].new for name in books.below(path)}
        books.put(path, (now or new) and change._replace(old=now), books.contents.get(path))
        theirs = view.subtree(path) if now is not None and now.kind == DIR else {}
        for name in {**ours, **theirs}:
            was, wanted = theirs.get(name), ours.get(name)
            books.put(name, (was or wanted) and Change(name, was, wanted), books.contents.get(name))
    return bool(forced)


def _with_attributes(change: Change, now: Entry | None, view: View) -> Change:
    """``change``, of mode or time, for what is there now."""
    old, new = change.old, change.new
    assert old is not None
    assert new is not None
    if now is None or now.kind != old.kind or (now.kind == FILE and view.has_other_names(change.path)):
        raise stale(change.path, "its mode or time was to change, but it is gone, or not what it was")
    wanted = {field: value for field, value in new._asdict().items() if value != getattr(old, field)}
    return change._replace(old=now, new=now._replace(**wanted))
