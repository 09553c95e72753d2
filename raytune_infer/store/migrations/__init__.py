"""How the tables came to be what they are: a file a revision, run by Alembic when a database is opened.

A change of `store/tables.py` needs a new file here, `revision_N.py`, whose `down_revision` is the last one's, and its
number in `store/upgrade.py`. It spells out what it does to the tables and imports none of ours that change: what it
meets are the tables of its time. A file that has been in a release stays as it is.
"""
