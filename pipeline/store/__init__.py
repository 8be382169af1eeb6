"""Tables on disk: schemas, Parquet files written atomically, `run.json` and the folder's lock.

Goes in: arrays and records. Comes out: files, and the same arrays again.
Imports: errors.
"""
