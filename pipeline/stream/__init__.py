"""The dataset loop: shards through a network with probes, into a `Part`.

Goes in: shards, a network, its layers. Comes out: a part for each group of shards.
May import: layers, state, networks, data, images, store, config and below.
"""
