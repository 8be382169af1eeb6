"""A run from its configuration to its tables: plan, resume, index missing shards, merge.

Goes in: `RunConfig`. Comes out: the Parquet tables and `run.json` of an output folder.
Imports: choices, config, data, devices, dissection, encoders, engines, errors, image_id, images, layers,
naming, networks, progress, query, remote, state, store, stream, working_copies.
"""
