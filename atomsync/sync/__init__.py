"""Use cases: the only place that wires the rooms together.

roots       SRC and DST as the operator named them, checked against each other
compare     two trees walked side by side into changes
look        the same for some paths, at their cost
settle      compared and staged until the source rests
push        one unit of work that makes DST hold what SRC holds
phases      how long each phase took
watch       DST follows SRC: the loop of one pair
watching    what a watch is told and what it tells
carry       one batch as one unit
attachment  the watcher at work, and what it covers
ground      what SRC and DST stood on, to be known again
rescan      the safety net
trouble     what is wrong, and when to try again
"""
