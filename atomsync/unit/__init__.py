"""The unit of work: what should change, gathered until it is committed whole.

state  the life of a unit as a table
books  what is pending: path → change (new, dirty, removed)
view   the destination as the unit will leave it
spool  a file a caller writes into the stage
work   ``UnitOfWork``: the verbs, flush, commit, rollback

The pattern is Martin Fowler's; the manners (flush, commit, rollback, context manager, pending
rollback after a failure) are those of SQLAlchemy's Session.
"""
