"""Use cases: the only place that wires the rooms together.

roots    SRC and DST as the operator named them, checked against each other
compare  two trees walked side by side into changes
look     the same for some paths, at their cost
settle   compared and staged until the source rests
push     one unit of work that makes DST hold what SRC holds
phases   how long each phase took
doctor   what is known of SRC and DST before anything is pushed
survey   a source looked through for that
findings what of it limits atomsync, and what to do about it
"""
