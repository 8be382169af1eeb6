"""Drawing the pictures of an atlas as work for engines: one layer is one item, the files written the result.

One more item is the whole photographs, which layers share.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.engines.engine import Calls, Engine, Place
from pipeline.engines.sameness import identify, refuse_blind, refuse_other
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent, Task
from pipeline.query.index import Index, open_index
from pipeline.store.atlas_record import ATLAS_FOLDER
from pipeline.store.run_file import RUN_FILE
from viz.atlas.content import LayerContent, Photograph
from viz.atlas.files import AtlasFiles, write_file
from viz.atlas.maps import MaskMaker
from viz.atlas.photographs import PictureOptions, Pictures

__all__ = ["AtlasItem", "DrawWork", "draw_spread"]

Written = tuple[tuple[str, str, int], ...]
"""Name, key and size of every file that was written."""


@dataclass(frozen=True, slots=True)
class AtlasItem:
    """Some pictures of an atlas.

    Args:
        title: of the layer, or of the photographs.
        contents: one layer with the units to draw; none for whole photographs.
        known: the images that are read.
    """

    title: str
    contents: tuple[LayerContent, ...]
    known: Mapping[int, Photograph]


class _Loose:
    """The files of an item: written, and listed for the process that keeps the record.

    Args:
        out: folder of the index.
        whole: whether whole photographs are to be written; they are there already otherwise.
    """

    def __init__(self, out: Path, *, whole: bool) -> None:
        self.folder = out / ATLAS_FOLDER
        self.written: list[tuple[str, str, int]] = []
        self._out, self._whole, self._made = out, whole, set[Path]()

    def has(self, name: str, key: str) -> bool:
        """Pictures of units are asked for only where they are missing."""
        return not self._whole and name.startswith("photographs/")

    def write(self, name: str, key: str, data: bytes) -> None:
        """Write a file and list it."""
        write_file(self._out, name, data, self._made)
        self.written.append((name, key, len(data)))


@dataclass(frozen=True, slots=True)
class DrawWork:
    """Draw pictures of an atlas in another process.

    Args:
        out: folder of the index.
        data: where its dataset is, as for `open_index`.
        trust: whether what the index names is used.
        options: how pictures are saved.
        network: that makes masks; None for no masks.
        layers: of the atlas, in forward order.
        identity: see `pipeline.engines.sameness`; empty without a network.
    """

    out: Path
    data: tuple[str, ...]
    trust: bool
    options: PictureOptions
    network: Network | None
    layers: tuple[Layer, ...]
    identity: Mapping[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def open(self, place: Place) -> Iterator[Calls[AtlasItem, Written]]:
        """The index, and what makes masks.

        Raises:
            EngineError: when this process has other code or weights, or does not see OUT.
        """
        refuse_blind((self.out / RUN_FILE,), place.node)
        maker = None
        if self.network is not None:
            refuse_other(self.identity, identify(self.network.module, place.device), place.node)
            maker = MaskMaker(self.network, self.layers)
        with open_index(self.out, data=self.data, trust=self.trust) as index:

            def run(items: Sequence[AtlasItem], task: Task) -> Iterator[Written]:
                for item in items:
                    yield self._draw(index, maker, item)
                    task.advance()

            yield run

    def label(self, item: AtlasItem) -> str:
        """The layer."""
        return item.title

    def _draw(self, index: Index, maker: MaskMaker | None, item: AtlasItem) -> Written:
        files = _Loose(self.out, whole=not item.contents)
        Pictures(index, files, self.options, maker).draw(item.contents, item.known, Silent())
        return tuple(files.written)


def draw_spread(
    engine: Engine,
    work: DrawWork,
    pictures: Pictures,
    files: AtlasFiles,
    contents: Sequence[LayerContent],
    known: Mapping[int, Photograph],
    reporter: Reporter,
) -> int:
    """Draw what is missing on an engine; returns the number of units that were drawn.

    Args:
        engine: runs the items.
        work: what is done with each.
        pictures: know what is missing.
        files: of the atlas; the files that are written are recorded there.
        contents: of all layers.
        known: the images that are shown, by image_id.
        reporter: shows the layers that are done.
    """
    missing = pictures.missing(contents)
    whole = {image_id: known[image_id] for image_id in sorted(pictures.missing_photographs(known))}
    items = [AtlasItem("whole photographs", (), whole)] if whole else []
    for content in missing:
        shown = {patch.image_id: known[patch.image_id] for unit in content.units for patch in unit.patches}
        items.append(AtlasItem(content.layer.name, (content,), shown))
    with (
        reporter.task("drawing pictures", len(items), "layers") as task,
        contextlib.closing(engine.map(work, items, task)) as results,
    ):
        for _, written in results:
            for entry in written:
                files.record(*entry)
    return sum(len(content.units) for content in missing)
