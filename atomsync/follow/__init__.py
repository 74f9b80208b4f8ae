"""One pair followed: DST comes to hold what SRC holds, batch by batch, for as long as it is let.

follower    the loop: wait, look, commit; mend what breaks
desk        what other threads may ask of it
carry       one batch as one unit
attachment  the watcher at work, and what it covers
ground      what SRC and DST stood on, to be known again
rescan      the safety net
trouble     what is wrong, and when to try again (pure)
watching    what a watch is told and what it tells (values)
"""
