"""Units of work together with other libraries; each module needs its own extra.

sqlalchemy  files and a database, committed together
"""
