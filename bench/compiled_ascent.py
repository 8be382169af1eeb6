"""Does torch.compile make the network's part of gradient ascent faster?

    python bench/compiled_ascent.py --layer inception4c

Computes the scores and gradients of one step for 8 pictures with torchvision's GoogLeNet and random
weights: as maxact does; with a copy of the network that has the same crops, folded batch norms and
bf16 autocast; and with that copy compiled. Prints milliseconds of process time per unit and step on
one thread, and the wall time of the first call, which compiles; nothing that was compiled before is used.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.layers.choose import choose_layers
from pipeline.networks.network import Network, load_network
from viz.canvas import Canvas
from viz.objectives.objective import point
from viz.passes.scorer import Scorer
from viz.passes.watch import Watch
from viz.planning.plan import plan_canvas

IMAGES = 8

STAGES = (
    "conv1",
    "maxpool1",
    "conv2",
    "conv3",
    "maxpool2",
    "inception3a",
    "inception3b",
    "maxpool3",
    "inception4a",
    "inception4b",
    "inception4c",
    "inception4d",
)
"""The modules of GoogLeNet in forward order."""


def folded(module: nn.Module) -> nn.Module:
    """Copy a module and fold its batch norms into convolutions."""
    module = copy.deepcopy(module)
    for part in list(module.modules()):
        if isinstance(getattr(part, "bn", None), nn.BatchNorm2d):
            part.conv, part.bn = fuse_conv_bn_eval(part.conv, part.bn), nn.Identity()
    return module.to(memory_format=torch.channels_last)


def scores_of(network: Network, layer: str, canvas: Canvas) -> Callable[[Tensor], Tensor]:
    """Return a function that computes the scores of units 0-7 with a folded copy of the network."""
    module = folded(network.module)
    crops = {crop.module.removesuffix(".conv"): crop for crop in canvas.crops}
    (term,) = point(choose_layers(network, [layer])[0], 0).terms

    def scores(pictures: Tensor) -> Tensor:
        values = network.normalise(pictures)
        if module.transform_input:
            values = module._transform_input(values)
        for name in STAGES[: STAGES.index(layer) + 1]:
            values = module.get_submodule(name)(values)
            if name in crops:
                crop = crops[name]
                values = values[:, :, crop.top : crop.top + crop.height]
                values = values[:, :, :, crop.left : crop.left + crop.width]
        images = torch.arange(IMAGES)
        return values[images, images, term.y - canvas.grid_top, term.x - canvas.grid_left]

    return scores


def timed(work: Callable[[], object], rounds: int) -> float:
    """Measure the process time per image, in milliseconds; the minimum over all rounds."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return 1000 * best / IMAGES


def timed_copy(scores: Callable[[Tensor], Tensor], pictures: Tensor, rounds: int) -> tuple[float, float]:
    """Seconds of the first gradient by the clock, and milliseconds of process time of the best per image."""

    def step() -> Tensor:
        leaf = pictures.contiguous(memory_format=torch.channels_last).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            found = scores(leaf)
        return torch.autograd.grad(found.float().sum(), leaf)[0]

    started = time.perf_counter()
    step()
    return time.perf_counter() - started, timed(step, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layer", default="inception4c", choices=STAGES)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = load_network("torchvision:googlenet", weights="random")
    (layer,) = choose_layers(network, [options.layer])
    canvas = plan_canvas(network, point(layer, 0))
    pictures = 255 * torch.rand(IMAGES, 3, canvas.height, canvas.width)
    objectives = [point(layer, unit) for unit in range(IMAGES)]
    with Watch(network, [layer], canvas) as watch:
        scorer = Scorer(watch, precision="auto")
        ours = timed(lambda: scorer.gradient(pictures, objectives, 0), options.rounds)
    print(f"torchvision:googlenet, {options.layer}, {IMAGES} pictures of {canvas.height} x {canvas.width}\n")
    print("| gradient | ms per unit and step | first call, s |\n|---|---|---|")
    print(f"| maxact | {ours:.2f} | |", flush=True)
    eager = scores_of(network, options.layer, canvas)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        for name, scores in (("eager", eager), ("compiled", torch.compile(eager))):
            first, each = timed_copy(scores, pictures, options.rounds)
            print(f"| a copy with the same crops, {name} | {each:.2f} | {first:.1f} |", flush=True)


if __name__ == "__main__":
    main()
