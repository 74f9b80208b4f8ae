"""Use cases: the only place that wires the rooms together.

roots    SRC and DST as the operator named them, checked against each other; known: and against the last unit
origin   where a push begins: the open source, and what we may give to the destination
compare  two trees walked side by side into changes; links: which of them are one file;
         glancing: the walk where most is alike
rules    what a comparison heeds; grafting: directories that only the source has, read whole
look     the same for some paths, at their cost
drift    what somebody else changed at the destination since the last unit
safety   what a push must not do without being told to
settle   compared and staged until the source rests; touch: the file that is written last
push     one unit of work that makes DST hold what SRC holds; dry_run: its first half; report: what came of it
hooks    commands around a commit; running: one of them, to its end; facts: what they and programs are told
phases   how long each phase took
doctor   what is known of SRC and DST before anything is pushed
survey   a source looked through for that
findings what of it limits atomsync, and what to do about it
saved    a plan on paper; applying: made, and carried out exactly so or not at all
verify   a destination compared with what was committed: examine (a path), judging (what to say of it),
         position (to go on from), throttle, adopting (what was not known), repair (what was found wrong)
difference  where two trees differ
"""
