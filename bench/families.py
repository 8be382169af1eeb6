"""Which networks of torchvision and timm are indexed, placed and rendered right?

    python bench/families.py [--only GLOB] [--smallest-first] [--limit N] [--seconds S] [--timeout S]
                             [--out FILE]

Takes every classification model of torchvision and, of each of timm's modules, the member with the
fewest parameters. Each runs untrained in a process of its own, and a row of the printed table says:
peaks: for the first default layer with a grid and for the last layer, the recorded peak of every unit
on three random images is that of a plain forward hook; fields: a position at a corner and one at the
middle of a side stay as they are when every pixel outside their fields is changed (`all` where no
field is smaller than the input, so that nothing was tested); positions: as found by
`choose_layers`; render: four steps of `fourier` are finite. `--only` is matched against
`torchvision:NAME` and `timm:MODULE`. `--seconds` ends the run after the network that passes it; how many
were not tried is printed. The exit code is 1 when a network fails.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMAGES = 3
COLUMNS = ("network", "layers", "peaks", "fields", "positions", "render", "seconds", "error")


def candidates() -> list[str]:
    """`torchvision:NAME` of every classifier, then `timm:MODULE` of every module with models."""
    from pipeline.vision_libraries import timm, torchvision

    models = torchvision().models
    names = [f"torchvision:{name}" for name in models.list_models(module=models)]
    modules = [name for name in timm().list_modules() if timm().list_models(module=name)]
    return names + [f"timm:{name}" for name in sorted(modules)]


def parameters(name: str) -> float:
    """The number of parameters of a timm model, built without memory; infinite if it cannot be."""
    import torch

    from pipeline.vision_libraries import timm

    try:
        with torch.device("meta"):
            module = timm().create_model(name, pretrained=False)
    except Exception:  # some read values of tensors, which the meta device does not have
        return float("inf")
    return sum(parameter.numel() for parameter in module.parameters())


def smallest(candidate: str) -> tuple[float, str]:
    """Parameters and name of the network to try: of a timm module its smallest member, else itself."""
    from pipeline.vision_libraries import timm, torchvision

    library, _, module = candidate.partition(":")
    if library == "torchvision":
        weights = torchvision().models.get_model_weights(module).DEFAULT
        return float(weights.meta["num_params"]), candidate
    counts = {name: parameters(name) for name in sorted(timm().list_models(module=module))}
    name = min(counts, key=lambda name: (counts[name], len(name)))
    return counts[name], f"timm:{name}"


def write_images(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((300, 280), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png")


def by_hook(network, layer, batch):
    """(image, unit, y, x) of a layer by a hook on the plain module."""
    import torch

    from pipeline.layers.layer import unit_view

    seen = []
    hook = network.module.get_submodule(layer.module).register_forward_hook(
        lambda module, inputs, output: seen.append(output)
    )
    with torch.no_grad():
        network.module(batch)
    hook.remove()
    return unit_view(layer, seen[layer.run - 1]).clone()


def peaks_agree(index, layer, values) -> bool:
    """Whether the lists hold the maxima of the hook's values, at a place that has them.

    A unit that is the same on all images lists nothing. The head of torchvision's untrained ViT is
    all zeros, for instance, so that a layer of only such units agrees when its lists are empty.
    """
    rows = index.sql(
        "SELECT unit, key, activation, y, x FROM top JOIN images USING (image_id) "
        "WHERE layer = $layer AND side = 'high'",
        layer=layer.name,
    ).rows
    changing = (values.amax((2, 3)).amax(0) > values.amax((2, 3)).amin(0)).sum()
    tolerance = 1e-4 * float(values.abs().max()) + 1e-6
    good = len({row[0] for row in rows}) >= int(changing)
    for unit, key, activation, y, x in rows:
        at = values[int(Path(key).stem), unit]
        good &= abs(activation - float(at.max())) <= tolerance
        good &= abs(activation - float(at[y, x])) <= tolerance
    return bool(good)


def fields_hold(network, layer, batch) -> bool | None:
    """Whether pixels outside the fields of two positions leave them alone; None: all are inside."""
    import torch

    before, tested = by_hook(network, layer, batch), None
    other = 3 * torch.randn(batch.shape, generator=torch.Generator().manual_seed(2))
    for y, x in ((0, 0), (layer.grid_h - 1, layer.grid_w // 2)):
        box = layer.box(y, x)
        inside = torch.zeros(batch.shape[2:], dtype=torch.bool)
        inside[max(int(box.top), 0) : int(box.bottom), max(int(box.left), 0) : int(box.right)] = True
        if inside.all():
            continue
        after = by_hook(network, layer, torch.where(inside, batch, other))
        change = float((after - before)[:, :, y, x].abs().max())
        tested = tested is not False and change <= 1e-5 * max(float(before.abs().max()), 1.0)
    return tested


def try_network(name: str) -> dict[str, object]:
    """Index, compare, perturb and render one network; the row of the table."""
    import torch

    from pipeline.config import RunConfig
    from pipeline.images.decode import decode
    from pipeline.layers.choose import choose_layers
    from pipeline.networks.network import load_network
    from pipeline.query.index import open_index
    from pipeline.runs.run import run_index
    from viz.recipes.catalog import get_recipe
    from viz.render.render_index import render_index

    network = load_network(name, weights="random")
    found = choose_layers(network, receptive_fields=False)
    early = next((layer for layer in found if layer.grid_h * layer.grid_w > 1), found[0])
    chosen = tuple(dict.fromkeys((early.name, found[-1].name)))
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "images", Path(folder) / "out"
        data.mkdir()
        write_images(data)
        config = RunConfig(
            data=(str(data),),
            out=out,
            network=name,
            weights="random",
            layers=chosen,
            top=IMAGES,
            memory_format="contiguous",
            compile="off",
            cache=Path(folder),
        )
        run_index(config)
        files = sorted(data.iterdir())
        images = torch.stack([decode(file.read_bytes(), network.preprocess) for file in files])
        batch = network.normalise(images).contiguous()
        with open_index(out) as index:
            layers = index.layers
            peaks = all(peaks_agree(index, layer, by_hook(network, layer, batch)) for layer in layers)
            fields = [fields_hold(network, layer, batch[:1]) for layer in layers]
            first = next(layer for layer in layers if layer.name == early.name)
            recipe = get_recipe("fourier", {"steps": "4"})
            (row,) = render_index(index, recipe, layers=[early.name], units="0")
            finite = bool(torch.tensor(row.activation).isfinite()) and (out / row.file).is_file()
    held = "NO" if False in fields else "yes" if True in fields else "all"
    return {
        "layers": ", ".join(f"`{layer}`" for layer in chosen),
        "peaks": "yes" if peaks else "NO",
        "fields": held,
        "positions": first.positions,
        "render": "yes" if finite else "NO",
    }


def in_child(candidate: str, timeout: float) -> dict[str, object]:
    """The row of one candidate, tried in a process group that is ended at the time limit."""
    started = time.monotonic()
    words = [sys.executable, __file__, "--child", candidate]
    child = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    row: dict[str, object] = {"network": candidate}
    try:
        shown, errors = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        row["error"] = f"over {timeout:.0f} s"
    else:
        lines = [line for line in shown.splitlines() if line.startswith("{")]
        for line in lines:
            row |= json.loads(line)
        if child.returncode:
            last = (errors.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
            row["error"] = last.replace("|", "/")[:160]
    row["seconds"] = f"{time.monotonic() - started:.0f}"
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="*", help="glob over torchvision:NAME and timm:MODULE")
    parser.add_argument("--limit", type=int, help="try so many at most")
    parser.add_argument("--smallest-first", action="store_true", help="order them by their parameters")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no network after so many")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one network")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(try_network(arguments.child)))
        return 0
    names = [name for name in candidates() if fnmatch.fnmatchcase(name, arguments.only)]
    if not names:
        parser.error(f"--only {arguments.only} matches no network, such as torchvision:resnet18 or timm:vgg")
    tried = map(smallest, names)
    if arguments.smallest_first:
        tried = iter(sorted(tried))
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    print(*lines, sep="\n", flush=True)
    failed, started = 0, time.monotonic()
    for _, name in itertools.islice(tried, arguments.limit):
        if time.monotonic() - started > arguments.seconds:
            break
        row = in_child(name, arguments.timeout)
        failed += "error" in row or "NO" in row.values()
        lines.append("| " + " | ".join(str(row.get(column, "")) for column in COLUMNS) + " |")
        print(lines[-1], flush=True)
    count = len(lines) - 2
    lines += ["", f"{count - failed} of {count} pass, {len(names) - count} were not tried."]
    print(*lines[-2:], sep="\n")
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(failed > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
