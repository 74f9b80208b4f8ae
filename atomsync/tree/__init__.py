"""What is there: two trees looked at, nothing changed.

path     relative paths: their grammar, and how they are shown to a person
entry    one path's kind, size, times, mode, owner, link target, digest
scan     directories read into entries
filters  which paths are in scope (gitignore patterns)
diff     two listings of one directory compared (pure)
"""
