"""Making it so: a destination as the object that changes only by whole units.

The path of a unit, numbered here and in the modules that walk it:

 1. access    the control directory is opened, checked, and locked (``control``, ``lock``)
 2. recovery  what a crash left is finished or undone
 3. staging   new content is copied to slots on the destination's filesystem, and read back
 4. seal      the journal is written and synced, the unit gets its place; barrier B1 makes all of it durable
 5. commit    each step swaps its path with its slot; what comes out is checked against the plan
 6. commit    barrier B2 makes the swaps durable
 7. commit    the COMMIT record is written and synced: barrier B3, the commit point
 8. history   the unit retires, with the displaced versions; the manifest follows

A destination that does not exist yet is made beside its place (``sibling``), and takes it behind 8.

What they lean on:

 staging   ``content`` (where it comes from), ``copying`` (one file, hashed and read back), ``blocks``,
           ``streams`` and ``spared`` (large and sparse ones), ``dressing`` (extended attributes), ``pool``
           and ``dealing`` (what the second process stages), ``grafts`` and ``planting`` (new directories,
           one at a time), ``abandoned``, ``writable``, ``scratch``
 sealing   ``looks`` (what is at the paths and in the slots, by two processes), ``journal`` (the codec) with
           ``folders``, ``about``, ``barrier`` (syncs), ``preview`` (the tree as it will be)
 swapping  ``window`` (the renames, made ready), ``opening`` (read-only directories), ``undo`` (taking back,
           by identity), ``decision``, ``conflicts``, ``drift``, ``removal``, ``waste``; between 4 and 5 a
           unit may rest until another party has decided: ``prepared``, and ``forward`` instead of 5
 looking   ``manifest`` (what was committed) with ``ahead`` (by the second process), ``adoption``, ``rows``
           (without its lock), ``status``
           back: ``versions`` (what paths held, by the journals), ``kept`` (where it lies), ``reversal`` (what
           gives it back), ``letting_go``, ``telling``, ``naming``, ``unit_id``
 giving up ``retention`` with ``late`` (who wrote to old versions) and ``leaving`` (by the second process)

``session`` walks the path for one unit, ``progress`` tells how far it is, ``options`` say how; ``store`` is
the face of it all.

A crash before 7 is undone, after 7 it is cleaned up. ``undo`` decides both by looking at which object
is where, never by marks of progress. ``docs/protocol.md`` gives the reasons.
"""
