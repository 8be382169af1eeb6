"""Explain photographs in one call.

with open_index("out/demo") as index:
    for photograph in explain_photographs(index, ["cat.jpg"], layers="blocks.4.2", n=3):
        print(photograph.name, [unit.unit for unit in photograph.layers[0].units])
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.choices import Device
from pipeline.explain.explainer import Explainer, Explanation
from pipeline.explain.photographs import find_photograph, read_photograph
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_network import index_network
from pipeline.query.selection import Patterns

__all__ = ["explain_photographs"]


def explain_photographs(
    index: Index,
    photographs: Iterable[str | Path],
    *,
    layers: Patterns = (),
    n: int = 8,
    maps: bool = False,
    network: Network | str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    reporter: Reporter | None = None,
) -> list[Explanation]:
    """Find the units of each layer that photographs drive most.

    A unit's rank is by the share of the indexed images whose peak is lower; of equal shares, the peak that
    is further from the unit's mean in standard deviations comes first. Units that are the same on all
    images are left out.

    Args:
        index: open.
        photographs: files, URLs, or keys of images of the dataset; a string is one of them.
        layers: names or globs; all layers for none.
        n: units of each layer.
        maps: keep the activation maps of these units.
        network, weights: see `pipeline.query.indexed_network.index_network`.
        device: where the network runs.
        reporter: shown progress.

    Raises:
        SourceError: when a photograph does not exist or cannot be decoded.
        LayerError: for a layer that is not in the index.
        MaxactError: when the network cannot be loaded.
    """
    given = [photographs] if isinstance(photographs, str | Path) else list(photographs)
    for each in given:
        find_photograph(index, each)  # before the network is loaded
    loaded = index_network(index, network=network, weights=weights)
    read = [read_photograph(index, each) for each in given]
    explainer = Explainer(index, loaded, layers=layers, device=device)
    found = []
    with (reporter or Silent()).task("explaining", len(read), "photographs") as task:
        for photograph in read:
            found.append(explainer.explain(photograph, n=n, maps=maps))
            task.advance()
    return found
