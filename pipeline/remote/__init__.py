"""OUT at an address that fsspec writes, such as `s3://bucket/run`, by way of a folder of this machine.

Goes in: the address of an OUT. Comes out: a folder in the cache, in which everything else works as in any
other. Files are fetched into it when they are going to be read, and written to the address when they are
finished: those of a part before its commit file, tables before `run.json`.

    address.py   what addresses are allowed
    attempts.py  repeats requests that fail for a reason that may pass; what errors say
    objects.py   the requests: list, read, fetch, put, remove
    ledger.py    which version of each file the folder holds
    commits.py   of two parts of one name, which counts
    same_run.py  whether the run at the address is still the one that is written
    mirror.py    the working copy: what is fetched, what is written in which order
    local.py     the folder of an address
Imports: data, errors, store, working_copies.
"""
