"""How long does one unit take to render, compared with a baseline and with other libraries?

    python bench/render.py                            GoogLeNet: baseline, torch-lucent, Horama
    python bench/render.py --network efficientnet_lite0 --weights published \\
        --layers blocks.2.1 blocks.3.2 blocks.4.2

The baseline, `plain`, is the same recipe on the full canvas in batches of one, in float32, running every
layer of the network. torch-lucent and Horama are measured if they can be imported. Both render one unit
at a time with their defaults: Lucent a 224 px picture, Horama a 1,280 px picture of which every step
shows 6 crops of 224 px. Everything is measured in one run on one thread, in milliseconds of process time
per unit and step, so that other work on the machine has little influence.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import io
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, load_network
from viz.ascent.loop import ascend
from viz.canvas import whole_canvas
from viz.inputs.batch import Batch
from viz.inputs.inputs import Inputs
from viz.objectives.objective import centre, point
from viz.passes.scorer import Scorer
from viz.passes.watch import Watch
from viz.planning.plan import plan_canvas
from viz.recipes.base import Recipe
from viz.recipes.catalog import get_recipe
from viz.seeds import item_generator


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def ours(network: Network, layer: Layer, recipe: Recipe, units: int) -> float:
    """Measure seconds per unit, rendering as `render_units` does."""
    objectives = [point(layer, unit % layer.units) for unit in range(units)]
    inputs = Inputs(network)
    canvas = recipe.canvas(inputs, layer, objectives[0])

    def work() -> None:
        generators = [item_generator(0, layer.name, unit) for unit in range(units)]
        with Watch(network, [layer], canvas) as watch:
            scorer = Scorer(watch, relu=recipe.relu, relu_steps=recipe.relu_steps, precision="auto")
            ascent = recipe.ascent(Batch(inputs, canvas, objectives, generators))
            ascend(ascent, scorer, objectives, lambda done: None)

    return seconds(work) / units


class Whole:
    """Replaces a scorer: runs the whole network on one picture in float32 and reads one unit."""

    device = torch.device("cpu")

    def __init__(self, network: Network, layer: Layer) -> None:
        self.network, self.layer = network, layer
        self.output = torch.empty(0)
        module = network.module.get_submodule(layer.module)
        self.handle = module.register_forward_hook(self.keep)

    def keep(self, module: object, inputs: object, output: torch.Tensor) -> None:
        self.output = output

    def gradient(self, pictures: torch.Tensor, objectives: list, step: int, images: object = None) -> tuple:
        leaf = pictures.detach().requires_grad_()
        with torch.enable_grad():
            self.network.module(self.network.normalise(leaf))
            y, x = centre(self.layer.grid_h), centre(self.layer.grid_w)
            score = self.output[:, objectives[0].terms[0].unit, y, x]
            (slope,) = torch.autograd.grad(score.sum(), leaf)
        return score.detach(), slope


def plain(network: Network, layer: Layer, recipe: Recipe) -> float:
    """Measure seconds for one unit with the baseline: full canvas, batch 1, whole network."""
    size = network.preprocess.height, network.preprocess.width
    whole = Whole(network, layer)
    try:
        objectives = [point(layer, 0)]
        batch = Batch(Inputs(network), whole_canvas(*size), objectives, [item_generator(0, layer.name, 0)])
        return seconds(lambda: ascend(recipe.ascent(batch), whole, objectives, lambda done: None))
    finally:
        whole.handle.remove()


def lucent(network: Network, layer: Layer, steps: int) -> float:
    """Measure seconds for one unit in torch-lucent with its defaults, at 224 px."""
    from lucent.optvis import objectives, param, render

    module = copy.deepcopy(network.module).requires_grad_(True)
    objective = objectives.neuron(layer.module.replace(".", "_"), 0)
    return seconds(
        lambda: render.render_vis(
            module,
            objective,
            lambda: param.image(224),
            thresholds=(steps,),
            show_image=False,
            progress=False,
        )
    )


def horama(network: Network, layer: Layer, steps: int) -> float:
    """Measure seconds for one unit in Horama with its defaults, without its progress bar.

    If torchvision's compiled operators did not load (see pipeline/vision_libraries.py), Horama's crops
    with `roi_align` would need terabytes of memory; they are then interpolated with `grid_sample`.
    """
    import horama.common
    from horama import fourier

    if not hasattr(torch.ops.torchvision, "roi_align"):
        horama.common.roi_align = crops
    module = copy.deepcopy(network.module).requires_grad_(True)
    seen: list[torch.Tensor] = []
    module.get_submodule(layer.module).register_forward_hook(lambda m, i, o: seen.append(o))

    def objective(images: torch.Tensor) -> torch.Tensor:
        module(images)
        output = seen.pop()
        return output[:, 0, centre(output.shape[2]), centre(output.shape[3])].mean()

    with contextlib.redirect_stderr(io.StringIO()):
        return seconds(lambda: fourier(objective, total_steps=steps, device="cpu"))


def crops(images: torch.Tensor, boxes: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
    """Crop boxes (k, [image, left, top, right, bottom]) from one image and resize them."""
    side = images.shape[-1]
    middle = (boxes[:, 1:3] + boxes[:, 3:5]) / side - 1
    half = (boxes[:, 3:5] - boxes[:, 1:3]) / side
    maps = torch.cat([torch.diag_embed(half), middle[:, :, None]], dim=2)
    grid = functional.affine_grid(maps, [len(boxes), 3, *output_size], align_corners=False)
    repeated = images.expand(len(boxes), -1, -1, -1)
    return functional.grid_sample(repeated, grid, align_corners=False)


def importable(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def measure(network: Network, layer: Layer, recipe: Recipe, options: argparse.Namespace) -> None:
    """Measure one layer and print its row of the table."""
    steps = recipe.total_steps
    window = plan_canvas(network, point(layer, 0)).height
    mine = 1000 * ours(network, layer, recipe, options.units) / steps
    cells = [layer.name, f"{window} px", f"{mine:.2f}"]
    others: list[Callable[[], float] | None] = [
        lambda: plain(network, layer, recipe) / steps,
        (lambda: lucent(network, layer, options.other_steps) / options.other_steps)
        if importable("lucent")
        else None,
        (lambda: horama(network, layer, options.other_steps) / options.other_steps)
        if importable("horama")
        else None,
    ]
    for other in others:
        theirs = None if other is None else 1000 * other()
        cells.append("-" if theirs is None else f"{theirs:.1f} ({theirs / mine:.1f} times)")
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="torchvision:googlenet")
    parser.add_argument("--weights", default="random", help="random, published or a file")
    parser.add_argument("--layers", nargs="+", default=["inception3a", "inception4a", "inception4c"])
    parser.add_argument("--recipe", default="fourier")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--other-steps", type=int, default=12, help="of the other libraries")
    parser.add_argument("--units", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = None if options.weights == "published" else options.weights
    network = load_network(options.network, weights=weights)
    recipe = get_recipe(options.recipe, {"steps": str(options.steps)})
    print(f"{network.name}, {recipe.name}, {options.steps} steps, torch {torch.__version__}, 1 thread")
    print("Milliseconds of process time per unit and step, and how many times as long as maxact takes.")
    print("plain: the same recipe on the full canvas; torch-lucent and Horama: with their defaults.\n")
    print("| layer | window | maxact | plain | torch-lucent | Horama |\n|---|---|---|---|---|---|")
    short = get_recipe(options.recipe, {"steps": "5"})
    for layer in choose_layers(network, options.layers):
        ours(network, layer, short, options.units)
        measure(network, layer, recipe, options)


if __name__ == "__main__":
    main()
