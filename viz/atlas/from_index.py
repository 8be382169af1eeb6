"""What an atlas takes from an index besides its tables: renderings, masks, what its pages have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import NetworkError, StoreError
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.query.indexed_network import index_network
from pipeline.version import installed_version
from pipeline.working_copies import address_of
from viz.atlas.maps import MaskMaker
from viz.atlas.pages import Site
from viz.render.table import Rendered, load_renders

__all__ = ["TOP", "Renders", "mask_maker_of", "renders_of", "site_of"]

TOP = 9
"""Top images of a unit that an atlas shows."""

Renders = dict[str, dict[int, list[Rendered]]]
"""Renderings by layer and unit."""


def renders_of(index: Index) -> Renders:
    """The renderings that were made from an index.

    Raises:
        StoreError: when their table is damaged or of another version.
    """
    renders: Renders = {}
    for row in load_renders(index.out):
        if row.index_fingerprint == index.run["fingerprint"]:
            renders.setdefault(row.layer, {}).setdefault(row.unit, []).append(row)
    return renders


def mask_maker_of(
    index: Index,
    layers: Sequence[Layer],
    reporter: Reporter,
    *,
    network: Network | str | None = None,
    weights: str | Path | None = None,
) -> MaskMaker | None:
    """What makes the masks of layers; None, with a note, where the index's network cannot be loaded.

    Args:
        index: open.
        layers: in forward order.
        reporter: told why there are no masks.
        network: used instead of the one that the index names; a name is loaded.
        weights: a file, where the one that the index names is no longer there.

    Raises:
        MaxactError: when a network or a file that was given cannot be used.
    """
    try:
        loaded = index_network(index, network=network, weights=weights)
    except (NetworkError, StoreError) as error:
        if network is not None or weights is not None:
            raise  # what was given for this call is not passed over
        reporter.note(f"activation maps are left out: {error}")
        return None
    return MaskMaker(loaded, layers)


def site_of(index: Index, *, other: str = "", live: int = 0, notice: str = "") -> Site:
    """What all pages of an index's atlas have in common.

    Args:
        index: open.
        other, live, notice: see `viz.atlas.pages.Site`.
    """
    run = index.run
    return Site(
        out=address_of(index.out),
        network=str(run["network"]["name"]),
        dataset=str(run["dataset"]["name"]),
        images=int(run["counts"]["images"]),
        preprocess=index.preprocess,
        colophon=f"maxact {installed_version() or ''}".rstrip(),
        other=other,
        live=live,
        notice=notice,
    )
