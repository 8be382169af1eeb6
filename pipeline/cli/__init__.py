"""The command line: flags in, one call into the library, a table or a message out.

The only folder of `pipeline` that prints and reads the environment.
Imports: assignments, check, choices, config, data, directions, encoders, errors, layers, networks, progress,
progress_json, query, remote, runs, version, visible, working_copies.
"""
