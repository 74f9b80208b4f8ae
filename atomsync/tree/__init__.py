"""What is there: two trees looked at, nothing changed.

path     relative paths: their grammar, and how they are shown to a person
entry    one path's kind, size, times, mode, owner, link target, digest
xattrs   extended attributes and ACLs as one text; attributes: in what two entries differ (pure)
scan     directories read into entries; ordered: a tree in the order of its paths
graft    a new directory with all below it, packed (pure); packing: read, and looked at again
filters  which paths are in scope (gitignore patterns)
amount   counts, bytes and times as a person reads them (pure)
racy     which time stamps can be trusted to show the next change (pure)
glance   two directories seen to be alike, without entries
diff     two listings of one directory compared (pure)
"""
