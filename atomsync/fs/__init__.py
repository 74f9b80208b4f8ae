"""The one door to the disk.

Nothing above this room calls the operating system to read or change a tree. All access goes through
a ``Disk``, whose every verb names an object as *(directory descriptor, single name)*: there is no
path with a slash in it that a planted symbolic link could bend.

disk          the protocol: the verbs a disk must offer, and what each promises
posix         the real one, for Linux (and other POSIX systems in a weaker class)
cursor        the way to a directory: component by component, never through a link
second        a second process, with ``second_main`` (how it is inside) and ``wire`` (what they say)
sharing       work dealt out between us and it
capabilities  what this filesystem can do, found by trying
features      what else it can do, and what a sync costs there
folding       which names it takes for one and the same
identity      a directory, known again
roots         whether an operator's own path leads to a directory
meter         how long a thread has waited for barriers, and read back
mounts        which paths below a directory are mount points
"""
