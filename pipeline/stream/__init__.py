"""The dataset loop: runs shards through a network with probes and returns their `Part`.

Goes in: shards, a network, its layers. Comes out: a part for each group of shards.
Imports: choices, config, data, devices, errors, image_id, images, layers, networks, progress, state, store.
"""
