"""The network that made an index, loaded again and compared by its digest."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import StoreError
from pipeline.networks.network import Network, recorded_network
from pipeline.query.index import Index

__all__ = ["index_network"]


def index_network(
    index: Index, *, network: Network | str | None = None, weights: str | Path | None = None
) -> Network:
    """The network that made an index, checked to have the same weights.

    Args:
        index: open.
        network: used instead of the one that the index names; a name is loaded.
        weights: a file, where the one that the index names is no longer there.

    Raises:
        NetworkError: when it cannot be loaded.
        StoreError: when its weights are others than those indexed.
        UntrustedIndex: when the index names code or files, and is not trusted.
    """
    recorded = index.run["network"]
    if not isinstance(network, Network):
        network = recorded_network(
            index.out, index.run, network=network, weights=weights, trusted=index.trusted
        )
    if network.digest != recorded["digest"]:
        raise StoreError(
            f"{index.out} was made with weights {recorded['digest'][:12]} ({recorded['weights']}), "
            f"{network.name} now has {network.digest[:12]} ({network.weights}); "
            "give the weights file that was indexed (--weights), or index again"
        )
    return network
