"""Tables on disk: schemas, Parquet files written atomically, `run.json`, its signature, and the lock on a folder.

Goes in: arrays and records. Comes out: files, and the same arrays read back.
Imports: choices, errors, progress.
"""
