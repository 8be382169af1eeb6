"""The dataset loop: shards through a network with probes, into a `Part`.

Goes in: shards, a network, its layers. Comes out: a part for each group of shards.
Imports: choices, config, data, errors, image_id, images, layers, networks, progress, state, store.
"""
