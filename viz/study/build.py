"""Build a study of an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_network import index_network
from pipeline.query.selection import ALL_UNITS, Patterns, Units
from pipeline.version import installed_version
from pipeline.working_copies import pull
from viz.recipes.base import Recipe
from viz.study.collect import SPARE, Chosen, Collector
from viz.study.conditions import Condition, choose_conditions
from viz.study.content import encode_study
from viz.study.orders import Plan, plan_orders, plan_practice
from viz.study.page import refuse_folder, write_page
from viz.study.pictures import Pictures
from viz.study.renderings import require_renderings, study_renderings

__all__ = ["StudySummary", "build_study"]

MAX_UNITS = 256
"""Units of a study: all pictures are in one page."""


@dataclass(frozen=True, slots=True)
class StudySummary:
    """The result of a build.

    Args:
        page: the HTML file.
        units: that are asked about.
        trials: of a participant, without practice and catch trials.
        catches: catch trials of a participant.
        size: of the page, in bytes.
    """

    page: Path
    units: int
    trials: int
    catches: int
    size: int


def build_study(
    index: Index,
    folder: Path,
    recipe: Recipe,
    *,
    layers: Patterns = (),
    units: Units = ALL_UNITS,
    references: Sequence[str] = ("synthetic", "real"),
    trials: int | None = None,
    seed: int = 0,
    asking: Index | None = None,
    network: Network | str | None = None,
    weights: str | Path | None = None,
    reporter: Reporter | None = None,
) -> StudySummary:
    """Write a page that asks people which of two photographs drives a unit more.

    The task is that of Borowski et al. 2021 ("Exemplary Natural Images Explain CNN Activations Better
    than State-of-the-Art Feature Visualization"), the questions those of `python -m bench.truth`.

    Args:
        index: open; the references are from it.
        folder: for the page; created if it does not exist.
        recipe: of the renderings, which must be there.
        layers, units: see `pipeline.query.index.Index.choose`.
        references: conditions, from `viz.study.conditions.CONDITIONS`.
        trials: of a participant; None: every unit in every condition.
        seed: of the orders.
        asking: index of other photographs with the same network, to ask about; None: the questions
            are about photographs of `index` that are not among the references.
        network, weights: see `pipeline.query.indexed_network.index_network`.
        reporter: shown progress.

    Raises:
        LayerError: if the index has no such layer.
        StoreError: if an image or a rendering cannot be read, or the page cannot be written.
        UsageError: if renderings or photographs are missing, or an option cannot be used.
    """
    reporter = reporter or Silent()
    for each in (index, asking or index):
        refuse_folder(folder, each.out)
    pull(index.out, "renders/*")
    conditions = choose_conditions(references, recipe)
    chosen = index.choose(layers, units)
    _check(chosen, len(conditions), trials)
    if asking is not None:
        _refuse_other_network(index, asking, chosen)
    renderings = study_renderings(index, recipe)
    if any(condition.patches is None for condition in conditions):
        require_renderings(index, chosen, renderings, recipe)
    loaded = index_network(index, network=network, weights=weights)
    pictures = Pictures()
    collector = Collector(index, asking or index, loaded, recipe, renderings, pictures)
    studied, spare = collector.units(chosen, conditions, reporter)
    plan = Plan(len(studied), len(conditions), len(spare), trials, seed)
    study = encode_study(
        _about(index, asking or index, conditions, seed),
        studied,
        spare,
        plan_practice(plan),
        plan_orders(plan),
        pictures,
    )
    page = write_page(folder, study)
    asked = plan.rounds * len(conditions)
    return StudySummary(page, len(studied), asked, plan.catches, page.stat().st_size)


def _check(chosen: Chosen, conditions: int, trials: int | None) -> None:
    """Refuse numbers of units and trials that cannot be right, before pictures are cut."""
    count = sum(len(units) for _, units in chosen)
    if count > MAX_UNITS:
        raise UsageError(f"a study has at most {MAX_UNITS} units, got {count}; give fewer (--units)")
    _ = Plan(count, conditions, SPARE, trials).rounds


def _refuse_other_network(index: Index, asking: Index, chosen: Chosen) -> None:
    """Refuse to ask about an index of another network, or without the layers."""
    if asking.run["network"]["digest"] != index.run["network"]["digest"]:
        raise UsageError(
            f"{asking.out} was made with other weights than {index.out}; give an index of the same network"
        )
    for layer, _ in chosen:
        asking.layer(layer.name)


def _about(index: Index, asking: Index, conditions: Sequence[Condition], seed: int) -> dict[str, Any]:
    """What the answers repeat about the study."""
    return {
        "maxact": installed_version() or "",
        "network": str(index.run["network"]["name"]),
        "dataset": str(index.run["dataset"]["name"]),
        "index": str(index.run["fingerprint"]),
        "asking": str(asking.run["fingerprint"]),
        "images": int(asking.run["counts"]["images"]),
        "conditions": [condition.name for condition in conditions],
        "seed": seed,
    }
