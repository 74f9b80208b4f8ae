"""When to look, and whether we would notice: a watcher says "look at this path", and never what is there.

hint         what a watcher may say
batching     hints gathered until the source rests, or has waited long enough (pure)
moves        what was moved where, composed (pure)
watcher      what every watcher offers
inotify      Linux: one kernel watch a directory
covered      the directories that have one, as a tree of nodes
observer     elsewhere: whatever watchdog has for the platform
limits       how much the kernel lets a user watch
filesystems  which filesystems give no events, and so must be polled
"""
