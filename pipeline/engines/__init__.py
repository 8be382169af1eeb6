"""Engines: run work over items in this process, in one process for each GPU, or on a Ray cluster.

Goes in: work (such as `IndexWork`: index one group of shards after another) and its items. Comes out: the
results, in any order. Nothing else knows which engine runs.

    engine.py       what work and an engine are; the engine of this process
    open_engine.py  the engine that a configuration asks for
    index_work.py   indexing as work, with committed parts as results
    merge_work.py   merging blocks of units as work
    processes.py    a process for each device of this machine
    ray_engine.py   tasks on a Ray cluster; ray_cluster.py connects, ray_worker.py is what a task runs
    transport.py    work as bytes, for other processes
    sameness.py     refuses a process whose code or weights are others than the run's
Imports: choices, config, data, devices, errors, images, layers, networks, progress, remote, state, store,
stream, version, vision_libraries, working_copies.
"""
