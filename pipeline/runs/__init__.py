"""A run from its configuration to its tables: plan, resume, index what is missing, merge.

Goes in: `RunConfig`. Comes out: the Parquet tables and `run.json` of an output folder.
May import: every folder of `pipeline` but cli.
"""
