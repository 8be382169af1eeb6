"""What makes renderings of a vision transformer readable? On a small one that is trained here.

    python -m bench.small_vit FOLDER                        # drawn textures
    python -m bench.small_vit FOLDER --photographs DATA

Trains the network of `bench.small_vit.network`, seeded. With photographs, it learns features of
EfficientNet-Lite0 on the second half of DATA, and everything else is measured on the first half, which is
divided and indexed as by `bench.truth --part 0/2`. Without, it learns the labels of the demo's textures, and
others are drawn to be measured on. The network to which renderings should transfer is EfficientNet-Lite0.

Renders hidden neurons of the MLP, before and after the nonlinearity, and channels of the residual stream
with variants of `fourier`, `maco` and `typical`. Prints what `bench.small_vit.measures` says of each and of
the best real images, then the tables of `bench.truth` with its usual judge. The pictures lie side by side in
FOLDER; without one, nothing is kept.
"""

from __future__ import annotations

import argparse
import fnmatch
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from bench.small_vit.measures import (
    ALIKE,
    Twins,
    as_shown,
    find_twins,
    header,
    measure_pictures,
    save_strip,
    table_row,
)
from bench.small_vit.network import LAYERS, SIDE, without_pattern_gradient
from bench.small_vit.training import learn_photographs, learn_textures, textures
from bench.small_vit.variants import Variant, all_variants
from bench.truth.halves import index_halves, list_sources, split
from bench.truth.judges import load_judges
from bench.truth.measure import judge_layer
from pipeline.data.dataset import open_dataset
from pipeline.errors import UsageError
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, load_network
from pipeline.progress import Silent
from pipeline.query.index import Index, open_index
from viz.recipes.base import Recipe
from viz.render.render_index import render_index
from viz.render.table import Rendered
from viz.study.patches import Patches

JUDGE = "efficientnet_lite2"
OTHER, OTHER_LAYERS = (
    "efficientnet_lite0",
    ["blocks.0.0", "blocks.1.1", "blocks.2.1", "blocks.3.2", "blocks.4.2"],
)
"""Network and layers among whose units counterparts are sought."""

MEASURED_TEXTURES = 40
"""Textures of each kind that are drawn to be indexed."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, index, render and measure.

    Args:
        arguments: of the command line; by default those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="for what is made; by default one that is removed"
    )
    parser.add_argument("--photographs", metavar="DATA", help="a folder of photographs; by default textures")
    parser.add_argument("--steps", type=int, default=900, help="of training")
    parser.add_argument("--each", type=int, help="crops of a photograph (16), or textures of a kind (80)")
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    parser.add_argument("--units", type=int, default=24)
    parser.add_argument("--first-unit", type=int, default=0)
    parser.add_argument("--variants", default="*", help="glob of the rows' titles, several with |")
    parser.add_argument("--no-judge", action="store_true", help="leave out the tables of bench.truth")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        given.folder = given.folder or Path(temporary)
        given.folder.mkdir(parents=True, exist_ok=True)
        _measure_all(given)


def _measure_all(given: argparse.Namespace) -> None:
    """Train, index, render, measure and judge as the options say."""
    kind = "photographs" if given.photographs else "textures"
    network = _network(given, kind)
    patterns = given.variants.split("|")
    variants = [each for each in all_variants() if any(fnmatch.fnmatch(each.title, p) for p in patterns)]
    options = _truth_options(given, kind)
    first, second = index_halves(options, Silent())
    print(header())
    with open_index(first) as explaining, open_index(second) as asking:
        notes: list[str] = []
        rendered = {
            name: _measure(explaining, asking, name, variants, network, given, notes) for name in given.layers
        }
        print("", *notes, sep="\n")
        if given.no_judge:
            return
        judges = load_judges([JUDGE], options.network, options.out)
        for name, rows in rendered.items():
            units = range(given.first_unit, given.first_unit + given.units)
            judge_layer(explaining, asking, explaining.layer(name), rows, units, judges, options)


def _network(given: argparse.Namespace, kind: str) -> Network:
    """The trained network; weights that are there already are read."""
    file = _weights(given)
    if not file.exists():
        if kind == "textures":
            module, told = learn_textures(given.each or 80, given.steps, 0)
        else:
            other, taught = _photographs(given.photographs)
            module, told = learn_photographs(taught, other, given.each or 16, given.steps, 0)
        print(f"{told}\n", flush=True)
        torch.save(module.state_dict(), file)
    return load_network(f"bench.small_vit.network:of_{kind}", weights=file)


def _weights(given: argparse.Namespace) -> Path:
    return Path(given.folder) / "vit.pt"


def _photographs(data: str) -> tuple[list[Path], list[Path]]:
    """Those that are measured on, and those that are learnt from."""
    sources = list(list_sources(open_dataset((data,))))
    parts = [[each.file for half in split(sources, part, 2) for each in half] for part in (0, 1)]
    files = [[file for file in part if file is not None] for part in parts]
    if not all(files):
        raise UsageError(f"--photographs {data}: expected a folder of image files")
    return files[0], files[1]


def _truth_options(given: argparse.Namespace, kind: str) -> argparse.Namespace:
    """The options that `bench.truth` would be given."""
    data = given.photographs or str(given.folder / "textures")
    if kind == "textures" and not Path(data).exists():
        Path(data).mkdir()
        for number, picture in enumerate(textures(MEASURED_TEXTURES, 2, SIDE)[0]):
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(Path(data) / f"{number:04}.png")
    return argparse.Namespace(
        data=data,
        part=(0, 2) if given.photographs else (0, 1),
        images=None,
        network=f"bench.small_vit.network:of_{kind}",
        weights=str(_weights(given)),
        layers=LAYERS,
        out=given.folder / "truth",
        seed=0,
        swap=False,
        beside=False,
        strip=False,
    )


def _measure(
    explaining: Index,
    asking: Index,
    name: str,
    variants: Sequence[Variant],
    network: Network,
    given: argparse.Namespace,
    notes: list[str],
) -> dict[Recipe, list[Rendered]]:
    """Render and measure the variants in one layer, and print a row for each; returns the renderings.

    A line for below the table is added to `notes`.
    """
    layer = explaining.layer(name)
    units = range(given.first_unit, given.first_unit + given.units)
    images = [
        picture
        for index in (explaining, asking)
        for picture in Patches(index, network, layer, layer).pictures(_all_images(index)).values()
    ]
    other = load_network(OTHER)
    others = choose_layers(other, OTHER_LAYERS, receptive_fields=False)
    twins = find_twins(network, layer, other, others, images)
    notes.append(_print_real(explaining, network, layer, units, twins, given.folder))
    found = {}
    for variant in variants:
        rows = render_index(
            explaining,
            variant.recipe,
            layers=name,
            units=f"{units[0]}-{units[-1]}",
            objective=variant.objective,
            network=_changed(network) if variant.constant_pattern else network,
            precision="fp32",
            path=False,
        )
        shown = {row.unit: as_shown(explaining, network, variant.recipe, layer, row) for row in rows}
        best = {row.unit: row.best_real or float("nan") for row in rows}
        numbers = measure_pictures(network, layer, shown, best, twins)
        statuses = [row.status for row in rows]
        print(table_row(name, variant.title, numbers, statuses), flush=True)
        save_strip(shown, given.folder / f"{name}-{variant.recipe.name}.png")
        found[variant.recipe] = rows
    return found


def _all_images(index: Index) -> list[int]:
    """Numbers of all indexed images."""
    return [row[0] for row in index.sql("SELECT image_id FROM images ORDER BY image_id").rows]


def _changed(network: Network) -> Network:
    """The same network without gradients through attention patterns."""
    kind = network.name
    module = load_network(kind, weights=network.weights).module
    return Network.from_module(
        without_pattern_gradient(module), network.preprocess, name=kind, weights=network.weights
    )


def _print_real(
    index: Index, network: Network, layer: Layer, units: range, twins: Twins, folder: Path
) -> str:
    """Print the row of the best real image of each unit; returns a line on the units' counterparts."""
    patches = Patches(index, network, layer, layer)
    tops = {unit: patches.strongest(unit, 9) for unit in units}
    pictures = patches.pictures([image.image_id for top in tops.values() for image in top])
    best = {unit: pictures[top[0].image_id] for unit, top in tops.items()}
    highest = {unit: top[0].activation for unit, top in tops.items()}
    print(table_row(layer.name, "best real image", measure_pictures(network, layer, best, highest, twins)))
    alike = twins.r[list(units)]
    count = int((alike >= ALIKE).sum())
    save_strip(best, folder / f"{layer.name}-real.png")
    return f"{layer.name}: {count} of {len(units)} units have a counterpart; median r {alike.median():.2f}."


if __name__ == "__main__":
    main()
