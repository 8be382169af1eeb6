"""The command line: flags in, one call of the library, a table or a message out.

The only folder of `pipeline` that prints and reads the environment.
May import: every other folder of `pipeline`.
"""
