"""Tables on disk: schemas, Parquet files written atomically, digests, `run.json` with its signature, locks.

Goes in: arrays and records. Comes out: files, and the same arrays read back.
Imports: choices, errors, progress, working_copies.
"""
