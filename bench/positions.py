"""Are positions found true, on networks that the thresholds of their test were not tuned on?

    python bench/positions.py [--only GLOB] [--timeout S] [--out FILE]

The thresholds of `pipeline/layers/positions.py` were chosen on members of ViT, DeiT, Hiera, LeViT, Swin,
HRNet and CrossViT. The networks here are of other families of timm and transformers; each runs untrained
in a process of its own. Of its default layers with a grid, those whose positions had to be tested (at
most 4) are compared with a check that shares nothing with that test: single cells of the grid are
inverted in random pictures, and every position's change is divided by its mean over the cells. A cell
counts as in place if the position that then changes most is its own or one of the 8 around it.

A row has the layers found as `grid`, `reordered` and `unknown`, the share of cells in place of each
layer, and the contradictions: `false grid` where at most a quarter of the cells are in place, and
`false unknown` where at least three quarters are, in plain order. In between nothing is said. Places at
random would have a share of 9 / cells, which is printed too.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMM = {
    "cait_xxs24_224": 128,
    "coat_tiny": 128,
    "convit_tiny": 128,
    "davit_tiny": 224,
    "edgenext_xx_small": 128,
    "efficientformer_l1": 224,
    "efficientvit_m0": 224,
    "eva02_tiny_patch14_224": 112,
    "fastvit_t8": 128,
    "focalnet_tiny_srf": 224,
    "gcvit_xxtiny": 224,
    "gmixer_12_224": 224,
    "gmlp_ti16_224": 224,
    "maxvit_rmlp_pico_rw_256": 128,
    "mixer_s32_224": 224,
    "mobilevit_xxs": 128,
    "mvitv2_tiny": 128,
    "nest_tiny": 224,
    "poolformer_s12": 128,
    "pvt_v2_b0": 160,
    "resmlp_12_224": 224,
    "swiftformer_xs": 128,
    "swinv2_tiny_window8_256": 256,
    "tiny_vit_5m_224": 224,
    "tnt_s_legacy_patch16_224": 224,
    "twins_svt_small": 224,
    "visformer_tiny": 224,
    "xcit_nano_12_p16_224": 128,
}
"""Models of timm, and the side of their input in pixels."""

TRANSFORMERS = (
    "beit",
    "dinov3",
    "hiera",
    "ijepa",
    "mobilevit",
    "pvt_v2",
    "segformer",
    "swiftformer",
    "swinv2",
)
"""Families of the tests' small models, see tests/fixtures/huggingface.py."""

LAYERS = 4
CELLS = 12
PICTURES = 4
FALSE, TRUE = 0.25, 0.75
COLUMNS = (
    "network",
    "grid",
    "reordered",
    "unknown",
    "cells in place",
    "at random",
    "contradicted",
    "seconds",
)


def candidates() -> list[str]:
    return [f"timm:{name}" for name in TIMM] + [f"hf:{name}" for name in TRANSFORMERS]


def build(candidate: str, folder: Path):
    """The network, untrained."""
    from pipeline.networks.network import load_network

    library, _, name = candidate.partition(":")
    if library == "timm":
        return load_network(candidate, weights="random", input=[f"size={TIMM[name]}"])
    from tests.fixtures.huggingface import save_model

    save_model(name, folder)
    return load_network(f"hf:{folder}")


def changes(network, layers, cells):
    """Mean square change of every position, by layer: (cell, position), in the order that the layer has."""
    import torch

    from pipeline.layers.layer import unit_view

    generator = torch.Generator().manual_seed(17)
    _, height, width = network.input_shape
    total = {layer.name: torch.zeros(len(cells), layer.grid_h * layer.grid_w) for layer in layers}
    seen = {}

    def keep(layer):
        return lambda _module, _inputs, output: seen.update({layer.name: unit_view(layer, output).clone()})

    hooks = [
        network.module.get_submodule(layer.module).register_forward_hook(keep(layer)) for layer in layers
    ]
    for _ in range(PICTURES):
        picture = torch.randint(0, 256, (3, -(-height // 4), -(-width // 4)), generator=generator)
        picture = picture.float().repeat_interleave(4, 1).repeat_interleave(4, 2)[None, :, :height, :width]
        batch = picture.repeat(len(cells) + 1, 1, 1, 1)
        for number, (top, left, bottom, right) in enumerate(cells, 1):
            part = batch[number, :, top:bottom, left:right]
            batch[number, :, top:bottom, left:right] = 255 - part
        with torch.no_grad():
            network.module(network.normalise(batch))
        for layer in layers:
            view = seen[layer.name]
            total[layer.name] += (view[1:] - view[:1]).square().mean(1).flatten(1)
    for hook in hooks:
        hook.remove()
    return total


def in_place(network, layer) -> float:
    """Share of some cells in place, see above."""
    import torch

    rows, columns = layer.grid_h, layer.grid_w
    _, height, width = network.input_shape
    generator = torch.Generator().manual_seed(23)
    chosen = torch.randperm(rows * columns, generator=generator)[:CELLS].tolist()
    places = [divmod(number, columns) for number in chosen]
    cells = [
        (
            y * height // rows,
            x * width // columns,
            -(-(y + 1) * height // rows),
            -(-(x + 1) * width // columns),
        )
        for y, x in places
    ]
    change = changes(network, [layer], cells)[layer.name]
    # A position changes as much as it does for the other cells unless this cell is its own.
    relative = change / change.mean(0).clamp(min=1e-20)
    hits = 0
    for (y, x), row in zip(places, relative, strict=True):
        down, along = divmod(int(row.argmax()), columns)
        hits += abs(down - y) <= 1 and abs(along - x) <= 1
    return hits / len(places)


def try_network(candidate: str) -> dict[str, object]:
    """The row of one network."""
    from pipeline.layers.choose import choose_layers

    with tempfile.TemporaryDirectory() as folder:
        network = build(candidate, Path(folder))
    found = choose_layers(network)
    # With 16 positions or fewer, places beside the own one would be more than half of them.
    tested = [
        layer
        for layer in found
        if layer.grid_h * layer.grid_w > 16 and (layer.kind != "map" or layer.stride_y == 0)
    ]
    chosen = [tested[number * len(tested) // LAYERS] for number in range(min(LAYERS, len(tested)))]
    if len(tested) <= LAYERS:
        chosen = tested
    shares = {layer.name: in_place(network, layer) for layer in chosen}
    wrong = []
    for layer in chosen:
        share = shares[layer.name]
        if layer.positions != "unknown" and share <= FALSE:
            wrong.append(f"false {layer.positions}: `{layer.name}`")
        if layer.positions == "unknown" and share >= TRUE:
            wrong.append(f"false unknown: `{layer.name}`")
    random = max((9 / (layer.grid_h * layer.grid_w) for layer in chosen), default=0.0)
    counts = {
        kind: sum(layer.positions == kind for layer in chosen) for kind in ("grid", "reordered", "unknown")
    }
    return {
        **counts,
        "cells in place": ", ".join(f"{layer.positions[0]} {shares[layer.name]:.2f}" for layer in chosen),
        "at random": f"{random:.2f}",
        "contradicted": "; ".join(wrong),
    }


def in_child(candidate: str, timeout: float) -> dict[str, object]:
    """The row of one candidate, tried in a process of its own."""
    started = time.monotonic()
    row: dict[str, object] = {"network": candidate}
    words = [sys.executable, __file__, "--child", candidate]
    try:
        child = subprocess.run(words, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        row["contradicted"] = f"not tried: over {timeout:.0f} s"
    else:
        lines = [line for line in child.stdout.splitlines() if line.startswith("{")]
        if child.returncode or not lines:
            last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
            row["contradicted"] = f"not tried: {last.replace('|', '/')[:120]}"
        else:
            row |= json.loads(lines[-1])
    row["seconds"] = f"{time.monotonic() - started:.0f}"
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="*", help="glob over timm:NAME and hf:FAMILY")
    parser.add_argument("--timeout", type=float, default=150.0, help="seconds for one network")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(try_network(arguments.child)))
        return 0
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    print(*lines, sep="\n", flush=True)
    for candidate in fnmatch.filter(candidates(), arguments.only):
        row = in_child(candidate, arguments.timeout)
        lines.append("| " + " | ".join(str(row.get(column, "")) for column in COLUMNS) + " |")
        print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
