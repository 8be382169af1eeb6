"""What does indexing cost compared with a bare forward pass?

    python bench/index.py [--network efficientnet_lite0] [--images 512] [--modes bare,index,...]

Every mode runs on the same decoded images with the same batch size, in a process of its own, on one
thread. Prints process time (user and system, all threads) per image, images/s by that time, the ratio
to the bare eager forward pass in channels-last fp32, and peak resident memory. `bare`, `naive`,
`crp` and `semanticlens` run with the default settings of torch and the system. maxact's modes keep freed
memory, as indexing does (`pipeline.stream.memory`); `bare-kept` is the bare pass with the same setting. The
first batch is not counted (compilation, allocation). Rounds are interleaved and the median is reported.

Modes: bare, bare-kept, index, index-convs, naive (hooks that keep every map and call torch.topk
per layer at the end of a batch), compiled, compiled-convs, bare-bf16, compiled-bf16,
compiled-convs-bf16, crp (zennit-crp's `Maximization` in activation mode on the same forward passes,
without the relevance pass that its own loop adds; `pip install zennit-crp`), semanticlens (its
`ActMaxCache` with maxima over positions; `pip install semanticlens`).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

DEFAULT = "bare,index,index-convs,naive,compiled,compiled-convs,compiled-bf16,compiled-convs-bf16"
K = 16
OPEN = contextlib.ExitStack()
"""Keeps the probes registered until the process ends."""


def load_pixels(network, count: int, data: str | None):
    """Decode `count` images of a dataset, by default the demo; repeat them if there are fewer."""
    from pipeline.data.dataset import Sample, open_dataset
    from pipeline.images.decode import decode

    dataset = open_dataset((data or "demo",), cache=Path("out/cache"))
    pixels = []
    for shard in dataset.shards:
        for sample in shard.samples():
            if isinstance(sample, Sample):
                pixels.append(decode(sample.data, network.preprocess))
            if len(pixels) == count:
                return pixels
    return (pixels * (count // len(pixels) + 1))[:count]


def conv_names(network) -> tuple[str, ...]:
    import torch

    return tuple(
        name for name, module in network.module.named_modules() if isinstance(module, torch.nn.Conv2d)
    )


def prepare(arguments) -> tuple[Callable[[int, int], None], int, int]:
    """Return the step of a mode, called as step(first, last), and the numbers of layers and units."""
    import torch

    from pipeline.config import RunConfig
    from pipeline.data.shard import Sample
    from pipeline.layers.choose import choose_layers
    from pipeline.networks.network import load_network
    from pipeline.stream.accumulator import Accumulator
    from pipeline.stream.loop import open_runner
    from pipeline.stream.memory import keep_memory

    mode = arguments.mode
    network = load_network(arguments.network, weights=arguments.weights)
    patterns = conv_names(network) if "convs" in mode else ()
    layers = choose_layers(network, patterns, receptive_fields=False)
    config = RunConfig(
        data=("bench",),
        out=Path("unused"),
        top=K,
        batch_size=arguments.batch,
        precision="bf16" if mode.endswith("bf16") else "fp32",
    )
    pixels = load_pixels(network, arguments.images, arguments.data)
    if mode == "bare-kept":
        keep_memory()
    if mode.startswith("bare"):
        return bare_step(network, config, pixels), 0, 0
    if mode == "naive":
        step = naive_step(network, config, layers, pixels)
        return step, len(layers), sum(layer.units for layer in layers)
    runner = OPEN.enter_context(
        open_runner(network, layers, config, torch.device("cpu"), compiled=mode.startswith("compiled"))
    )

    accumulator = Accumulator(layers, K, runner.device)

    def step(first: int, last: int) -> None:
        samples = [
            Sample(str(number), str(number % 50), number, 0, b"", shard="bench", image_id=number)
            for number in range(first, last)
        ]
        runner.run(accumulator, samples, pixels[first:last])
        if last == arguments.images:
            accumulator.finish()

    return step, len(layers), sum(layer.units for layer in layers)


def plain_pass(network, config):
    """Return the module and a function that prepares a batch, with torch's default settings."""
    import torch

    from pipeline.stream.loop import Runner, place_module

    module = place_module(network, config.precision, config.memory_format)
    runner = Runner(network, (), config, torch.device("cpu"), None, None)
    return module, runner.prepare


def bare_step(network, config, pixels) -> Callable[[int, int], None]:
    """Return a step that runs only the forward pass."""
    import torch

    module, prepare_batch = plain_pass(network, config)

    def step(first: int, last: int) -> None:
        with torch.inference_mode():
            module(prepare_batch(pixels[first:last]))

    return step


def naive_step(network, config, layers, pixels) -> Callable[[int, int], None]:
    """Return a step of a simple implementation: hooks that keep the maps, then max, cat and topk."""
    import torch

    module, prepare_batch = plain_pass(network, config)
    kept: dict[str, torch.Tensor] = {}
    best: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
    for layer in layers:
        module.get_submodule(layer.name).register_forward_hook(
            lambda _, inputs, output, name=layer.name: kept.__setitem__(name, output.detach())
        )

    def step(first: int, last: int) -> None:
        with torch.inference_mode():
            module(prepare_batch(pixels[first:last]))
        numbers = torch.arange(first, last)
        for name, output in kept.items():
            flat = output.flatten(2) if output.dim() == 4 else output[:, :, None]
            values, places = flat.max(2)
            entry = (values, numbers[:, None].expand_as(values), places)
            if name in best:
                entry = tuple(torch.cat(pair) for pair in zip(best[name], entry, strict=True))
            top = entry[0].topk(min(K, len(entry[0])), dim=0)
            best[name] = (top.values, *(part.gather(0, top.indices) for part in entry[1:]))

    return step


def crp_step(arguments) -> tuple[Callable[[int, int], None], int, int]:
    """Return a step that runs zennit-crp's `Maximization` on activations of the same batches."""
    import torch
    from crp.concepts import ChannelConcept
    from crp.maximization import Maximization

    from pipeline.layers.choose import choose_layers
    from pipeline.networks.network import load_network

    network = load_network(arguments.network, weights=arguments.weights)
    layers = choose_layers(network, receptive_fields=False)
    pixels = load_pixels(network, arguments.images, arguments.data)
    module = network.module.to(memory_format=torch.channels_last)
    kept: dict[str, torch.Tensor] = {}
    for layer in layers:
        module.get_submodule(layer.name).register_forward_hook(
            lambda _, inputs, output, name=layer.name: kept.__setitem__(name, output.detach())
        )
    folder = tempfile.mkdtemp()
    crp = Maximization(mode="activation", max_target="max", abs_norm=False, path=folder)
    crp.SAMPLE_SIZE = K

    concept = ChannelConcept()

    def step(first: int, last: int) -> None:
        batch = network.normalise(torch.stack(pixels[first:last]))
        with torch.no_grad():
            module(batch.contiguous(memory_format=torch.channels_last))
        indices = torch.arange(first, last).numpy()
        for name, output in kept.items():
            crp.analyze_layer(output, concept, name, indices, [0] * (last - first))

    return step, len(layers), sum(layer.units for layer in layers)


def semanticlens_step(arguments) -> tuple[Callable[[int, int], None], int, int]:
    """Return a step that runs semanticlens' cache of highest activations on the same batches."""
    import torch

    from pipeline.layers.choose import choose_layers
    from pipeline.networks.network import load_network
    from pipeline.vision_libraries import torchvision

    torchvision()  # which semanticlens imports, with the operators that a build without CUDA lacks
    from semanticlens.component_visualization.activation_caching import ActMaxCache

    network = load_network(arguments.network, weights=arguments.weights)
    layers = choose_layers(network, receptive_fields=False)
    pixels = load_pixels(network, arguments.images, arguments.data)
    module = network.module.to(memory_format=torch.channels_last)

    def maxima(output: torch.Tensor) -> torch.Tensor:
        return output.flatten(2).amax(2) if output.dim() == 4 else output

    cache = ActMaxCache([layer.name for layer in layers], n_collect=K, aggregation_fn=maxima)
    OPEN.enter_context(cache.hook_context(module))

    def step(first: int, last: int) -> None:
        batch = network.normalise(torch.stack(pixels[first:last]))
        with torch.no_grad():
            module(batch.contiguous(memory_format=torch.channels_last))

    return step, len(layers), sum(layer.units for layer in layers)


PEERS = {"crp": crp_step, "semanticlens": semanticlens_step}


def run_mode(arguments) -> None:
    """Measure one mode in this process and print a line of JSON."""
    import torch

    torch.set_num_threads(1)
    step, layers, units = PEERS.get(arguments.mode, prepare)(arguments)
    size = arguments.batch
    step(0, size)
    started, wall = time.process_time(), time.monotonic()
    for first in range(size, arguments.images, size):
        step(first, min(first + size, arguments.images))
    spent, wall = time.process_time() - started, time.monotonic() - wall
    counted = arguments.images - size
    print(
        json.dumps(
            {
                "mode": arguments.mode,
                "layers": layers,
                "units": units,
                "ms": 1000 * spent / counted,
                "wall_ms": 1000 * wall / counted,
                "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--weights")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", help="default: the demo dataset")
    parser.add_argument("--modes", default=DEFAULT)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.mode:
        run_mode(arguments)
        return
    modes = arguments.modes.split(",")
    found: dict[str, list[dict]] = {mode: [] for mode in modes}
    for number in range(arguments.rounds):
        for mode in modes:
            print(f"round {number + 1} of {arguments.rounds}: {mode}", file=sys.stderr, flush=True)
            line = subprocess.run(
                [sys.executable, __file__, "--mode", mode, *sys.argv[1:]],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout.splitlines()[-1]
            found[mode].append(json.loads(line))
    report(arguments, found)


def report(arguments, found: dict[str, list[dict]]) -> None:
    """Print the table of results in Markdown."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision", "timm")
    )
    print(f"{arguments.network}, {arguments.images} images, batch {arguments.batch}, one thread, ")
    print(f"{versions}, Python {platform.python_version()}, {processor()}\n")
    print("| mode | layers | units | ms/image | images/s | time / bare | peak RSS, MiB |")
    print("|---|---|---|---|---|---|---|")
    for mode, runs in found.items():
        cost = statistics.median(run["ms"] for run in runs)
        # Rounds are compared with each other pair by pair: the machine's speed drifts.
        ratios = [run["ms"] / bare["ms"] for run, bare in zip(runs, found["bare"], strict=True)]
        print(
            f"| {mode} | {runs[0]['layers']} | {runs[0]['units']} | {cost:.1f} | {1000 / cost:.1f} "
            f"| {statistics.median(ratios):.2f} | {max(run['rss_mib'] for run in runs):.0f} |"
        )


def processor() -> str:
    """Return the processor's name, or its architecture if the system does not provide it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
