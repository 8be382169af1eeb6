"""How long one unit takes to render, against the plain way: whole input, whole network, one unit.

    python bench/render.py                            the table of the README
    python bench/render.py --network efficientnet_lite0 --layers blocks.2.1 blocks.4.2

The plain way is the same recipe on the full canvas in batches of one, in float32, with every layer
of the network run. Times are process time on one thread, so that other work on the machine counts
little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from pipeline.layers import Layer, choose_layers
from pipeline.networks import Network, load_network
from viz.ascent import canvas_for, climb
from viz.canvas import whole_canvas
from viz.measure import plan_canvas
from viz.objective import centre, point
from viz.recipe import get_recipe
from viz.recipe_kinds import Recipe
from viz.scorer import Scorer, Watch
from viz.task import Task, item_generator


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def ours(network: Network, layer: Layer, recipe: Recipe, units: int) -> float:
    """Seconds per unit, as `render_units` does it."""
    objectives = [point(layer, unit % layer.units) for unit in range(units)]
    canvas = canvas_for(recipe, plan_canvas(network, objectives[0]))

    def work() -> None:
        generators = [item_generator(0, layer.name, unit) for unit in range(units)]
        with Watch(network, [layer], canvas) as watch:
            scorer = Scorer(watch, relu=recipe.relu, relu_steps=recipe.relu_steps, precision="auto")
            climb(recipe, Task(scorer, canvas, 3, objectives, generators, lambda done: None))

    return seconds(work) / units


class Whole:
    """Stands in for a scorer: the whole network, one picture, float32, and one unit of a layer."""

    device = torch.device("cpu")
    extra = None

    def __init__(self, network: Network, layer: Layer) -> None:
        self.network, self.layer = network, layer
        self.output = torch.empty(0)
        module = network.module.get_submodule(layer.module)
        self.handle = module.register_forward_hook(self.keep)

    def keep(self, module: object, inputs: object, output: torch.Tensor) -> None:
        self.output = output

    def gradient(
        self, pictures: torch.Tensor, objectives: list, step: int, images: object = None
    ) -> tuple:
        leaf = pictures.detach().requires_grad_()
        with torch.enable_grad():
            self.network.module(self.network.normalise(leaf))
            y, x = centre(self.layer.grid_h), centre(self.layer.grid_w)
            score = self.output[:, objectives[0].terms[0].unit, y, x]
            (slope,) = torch.autograd.grad(score.sum(), leaf)
        return score.detach(), slope


def plain(network: Network, layer: Layer, recipe: Recipe) -> float:
    """Seconds for one unit: full canvas, batch 1, whole network."""
    size = network.preprocess.height, network.preprocess.width
    whole = Whole(network, layer)
    try:
        task = Task(
            whole, whole_canvas(*size), 3, [point(layer, 0)],  # type: ignore[arg-type]
            [item_generator(0, layer.name, 0)], lambda done: None,
        )  # fmt: skip
        return seconds(lambda: climb(recipe, task))
    finally:
        whole.handle.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="torchvision:googlenet")
    parser.add_argument("--weights", default="random", help="random, published or a file")
    parser.add_argument(
        "--layers", nargs="+", default=["inception3a", "inception4a", "inception4c"]
    )
    parser.add_argument("--recipe", default="fourier")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--units", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = None if options.weights == "published" else options.weights
    network = load_network(options.network, weights=weights)
    recipe = get_recipe(options.recipe, {"steps": str(options.steps)})
    print(
        f"{network.name}, {recipe.name}, {options.steps} steps, torch {torch.__version__}, 1 thread"
    )
    print(f"{'layer':14} {'window':>8} {'plain s/unit':>13} {'maxact s/unit':>14} {'times':>6}")
    short = get_recipe(options.recipe, {"steps": str(max(5, options.steps // 8))})
    for layer in choose_layers(network, options.layers):
        ours(network, layer, short, options.units), plain(network, layer, short)
        window = plan_canvas(network, point(layer, 0)).height
        slow, quick = plain(network, layer, recipe), ours(network, layer, recipe, options.units)
        print(
            f"{layer.name:14} {window:>5} px {slow:13.2f} {quick:14.3f} {slow / quick:6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
