"""Settings that must hold before a test module imports torch."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # One process per core already: more threads in each would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
