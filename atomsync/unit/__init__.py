"""The unit of work: what should change, gathered until it is committed whole.

store         ``Store``: a directory that changes only by units; ``open_store``
maker         ``UnitMaker``: units with the same defaults and listeners
work          ``UnitOfWork``: flush, savepoints, prepare, commit, rollback
changing      its verbs: write, put, mkdir, move, remove, …
looking       what it shows: new, dirty, removed, and the destination as it will be
guarded       what every verb goes through
state         the life of a unit as a table
books         what is pending: path → change (new, dirty, removed), and how to take it back
view          the destination as the unit will leave it
spool         files being written into the stage
expected      compare and swap: a digest, ABSENT, ANY
rebase        what ANY means at the commit
savepoint     a part that can be taken back by itself
sealed        what is told of it between its seal and its commit
events        who wants to hear of it
compensation  what must be taken back elsewhere
reverting     undo and restore
turn          its visit to the store

The pattern is Martin Fowler's; the manners (flush, commit, rollback, context manager, pending
rollback after a failure, savepoints, events) are those of SQLAlchemy's Session.
"""
