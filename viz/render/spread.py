"""Rendering as work for engines: units of a layer are one item, the rows of their pictures the result.

Pictures do not depend on what is rendered beside them, so that those of a cluster are those of one machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.engines.engine import Calls, Engine, Place
from pipeline.engines.sameness import identify, refuse_blind, refuse_other
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent, SilentTask, Task
from pipeline.query.index import Index, open_index
from pipeline.store.run_file import RUN_FILE
from viz.inputs.top_images import NoTopImages
from viz.render.table import Rendered

__all__ = ["RenderWork", "Rows", "render_spread"]

Item = tuple[str, tuple[int, ...]]
"""A layer and some of its units; empty for the whole layer."""

ITEMS_PER_SLOT = 4
"""Items for each slot of an engine, at least: the last ones then keep all slots busy."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What an item gives.

    Args:
        rows: of the table, unit by unit.
        notes: what was to be said.
        empty: why there is nothing, if no unit has the top images that the recipe needs.
    """

    rows: tuple[Rendered, ...]
    notes: tuple[str, ...]
    empty: str = ""


class _Notes(Silent):
    """A reporter that keeps the notes, and shows a task at every step that there is one.

    Args:
        shown: the task of all items, which may end this one.
    """

    def __init__(self, shown: Task) -> None:
        self.notes: list[str] = []
        self._shown = shown

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    @contextlib.contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        """A task whose steps are not counted, as units are."""
        yield _Alive(self._shown)


class _Alive(SilentTask):
    def __init__(self, shown: Task) -> None:
        self._shown = shown

    def advance(self, count: int = 1) -> None:
        self._shown.advance(0)


@dataclass(frozen=True, slots=True)
class RenderWork:
    """Render units of an index in another process.

    Args:
        out: folder of the index.
        data: where its dataset is, as for `open_index`.
        trust: whether what the index names is used.
        network: of the index.
        render: as `viz.render.render_index.render_index`, and its options.
        options: of that call, without layers, units, network and device.
        identity: see `pipeline.engines.sameness`.
    """

    out: Path
    data: tuple[str, ...]
    trust: bool
    network: Network
    render: Callable[..., list[Rendered]]
    options: Mapping[str, Any]
    identity: Mapping[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def open(self, place: Place) -> Iterator[Calls[Item, Rows]]:
        """The index and its network, on the device of the place.

        Raises:
            EngineError: when this process has other code or weights, or does not see OUT.
        """
        refuse_other(self.identity, identify(self.network.module, place.device), place.node)
        refuse_blind((self.out / RUN_FILE,), place.node)
        with open_index(self.out, data=self.data, trust=self.trust) as index:

            def run(items: Sequence[Item], task: Task) -> Iterator[Rows]:
                for layer, units in items:
                    yield self._render(index, place, layer, units, task)
                    task.advance(len(units) or 1)

            yield run

    def label(self, item: Item) -> str:
        """The layer and its first and last unit."""
        layer, units = item
        return f"{layer}, units {units[0]} to {units[-1]}" if units else layer

    def _render(self, index: Index, place: Place, layer: str, units: tuple[int, ...], task: Task) -> Rows:
        reporter = _Notes(task)
        try:
            rows = self.render(
                index,
                layers=(layer,),
                units=units or "0",
                network=self.network,
                device=place.device.type,
                reporter=reporter,
                **self.options,
            )
        except NoTopImages as error:
            return Rows((), tuple(reporter.notes), str(error))
        return Rows(tuple(rows), tuple(reporter.notes))


def render_spread(
    engine: Engine,
    work: RenderWork,
    chosen: Sequence[tuple[str, Sequence[int]]],
    size: int,
    reporter: Reporter,
) -> list[Rendered]:
    """Render units of layers on an engine.

    Args:
        engine: runs the items.
        work: what is done with each.
        chosen: layers with their units; none for the whole layer.
        size: units that are rendered together at most.
        reporter: shows the units that are done.

    Returns:
        Their rows, layer by layer and unit by unit.

    Raises:
        NoTopImages: when no unit of any layer has the top images that the recipe needs.
        EngineError: when a process or a node fails for good.
    """
    total = sum(len(units) or 1 for _, units in chosen)
    each = max(1, min(size, total // (ITEMS_PER_SLOT * engine.slots)))
    items: list[Item] = []
    for layer, units in chosen:
        starts = range(0, max(1, len(units)), each)
        items += [(layer, tuple(units[first : first + each])) for first in starts]
    found: dict[int, Rows] = {}
    with (
        reporter.task("rendering", total, "units") as task,
        contextlib.closing(engine.map(work, items, task)) as results,
    ):
        for number, rows in results:
            found[number] = rows
    ordered = [found[number] for number in range(len(items))]
    empty = [each.empty for each in ordered if each.empty]
    rendered = [row for each in ordered for row in each.rows]
    if empty and not rendered:
        raise NoTopImages(empty[0])
    for text in dict.fromkeys((*(note for each in ordered for note in each.notes), *map(_skipped, empty))):
        reporter.note(text)
    return rendered


def _skipped(reason: str) -> str:
    return f"skipped: {reason}"
