"""What makes renderings of a vision transformer readable? On a small one that is trained here.

    python -m bench.small_vit FOLDER

Trains a vision transformer on the demo's textures (4 blocks of 96 channels, 64 pixels, patches of 8; seeded,
a few minutes on one core), indexes drawn textures, and renders hidden neurons of an MLP and channels of the
residual stream with variants of `fourier`, `maco` and `typical`. Prints for each the median of three numbers,
and writes the pictures side by side to FOLDER to be looked at:

- ratio: activation over that of the best texture;
- moved: the activation averaged over shifts by 0, 2, 4 and 6 pixels both ways, over the unmoved: what does
  not depend on where the patches are;
- grid: mean difference of neighbouring pixels across the borders of patches, over that within patches.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import RunConfig
from pipeline.data.demo_textures import TEXTURES, draw_texture
from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.vision_libraries import timm
from viz.canvas import whole_canvas
from viz.objectives.objective import Objective, point
from viz.recipes.base import Recipe
from viz.recipes.catalog import get_recipe
from viz.render.measure import measure, open_picture
from viz.render.render_index import render_index
from viz.render.table import Rendered

SIDE, PATCH, WIDTH, BLOCKS = 64, 8, 96, 4
PREPROCESS = Preprocess(SIDE, SIDE, SIDE, mean=(127.5,) * 3, std=(64.0,) * 3)
LAYERS = ("blocks.2.mlp.act", "blocks.2")
UNITS = 8
DRAWN = 96
"""Side of the drawn textures, of which crops are trained on."""

VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "fourier": ("fourier", {}),
    "fourier, no jitter, scale or rotation": (
        "fourier",
        {"jitter": "1:1", "scale": "1:1:0.1", "rotate": "0"},
    ),
    "fourier, jitter only": ("fourier", {"scale": "1:1:0.1", "rotate": "0"}),
    "fourier, jitter 16:8": ("fourier", {"jitter": "16:8"}),
    "fourier, 512 steps, rate 0.02": ("fourier", {"steps": "512", "rate": "0.02"}),
    "fourier, decay 1.5": ("fourier", {"decay": "1.5"}),
    "typical": ("typical", {}),
    "maco": ("maco", {}),
}
ALIGNED = "fourier, jitter by whole patches"


def build() -> nn.Module:
    """The network, not trained; timm's, so that its modules have the usual names."""
    torch.manual_seed(0)
    return timm().models.vision_transformer.VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=BLOCKS,
        num_heads=4,
        num_classes=len(TEXTURES),
        global_pool="avg",
        class_token=False,
    )


def textures(each: int, seed: int, side: int) -> tuple[Tensor, Tensor]:
    """(image, channel, y, x) uint8 and their labels."""
    pictures, labels = [], []
    for number in range(each):
        for label, name in enumerate(TEXTURES):
            rng = np.random.default_rng([seed, number, label])
            pictures.append(torch.from_numpy(draw_texture(name, rng, side)).permute(2, 0, 1))
            labels.append(label)
    return torch.stack(pictures), torch.tensor(labels)


def train(module: nn.Module, each: int, passes: int) -> float:
    """Train on crops of textures; returns the accuracy on other textures."""
    pictures, labels = textures(each, 0, DRAWN)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(module.parameters(), 1e-3, weight_decay=0.05)
    steps = passes * len(pictures) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, steps)
    module.train()
    for _ in range(steps):
        chosen = torch.randint(0, len(pictures), (64,), generator=generator)
        top, left = torch.randint(0, DRAWN - SIDE + 1, (2,), generator=generator).tolist()
        batch = pictures[chosen, :, top : top + SIDE, left : left + SIDE].float()
        if torch.rand((), generator=generator) < 0.5:
            batch = batch.flip(3)
        loss = F.cross_entropy(module((batch - 127.5) / 64), labels[chosen], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    module.eval()
    tested, wanted = textures(12, 1, SIDE)
    with torch.no_grad():
        found = module((tested.float() - 127.5) / 64).argmax(1)
    return float((found == wanted).float().mean())


def aligned() -> Recipe:
    """`fourier` whose only random views are shifts by whole patches."""
    from viz.ascent.loop import Ascent
    from viz.ascent.random_views import AffineViews
    from viz.inputs.batch import Batch
    from viz.recipes.fourier import Fourier

    class Aligned(Fourier):
        __slots__ = ()

        def ascent(self, batch: Batch) -> Ascent:
            plain = Fourier.ascent(self, batch)
            maps = torch.zeros(self.steps, len(batch.generators), 2, 3)
            maps[..., 0, 0] = maps[..., 1, 1] = 1
            for image, generator in enumerate(batch.generators):
                drawn = torch.randint(-1, 2, (self.steps, 2), generator=generator)
                maps[:, image, :, 2] = (PATCH * drawn).float()
            return replace(plain, views=AffineViews(maps.to(batch.device), batch.canvas))

    return Aligned(name="fourier-aligned")


def numbers(
    network: Network, layer: Layer, out: Path, rows: Sequence[Rendered]
) -> tuple[float, float, float]:
    """Medians of ratio, moved and grid."""
    ratios, moved, grids = [], [], []
    for row in rows:
        picture = open_picture(out / row.file, 3)
        whole = _on_input(picture)
        objective: Objective = point(layer, row.unit)
        shifted = [
            whole.roll((down, right), (1, 2)) for down in range(0, PATCH, 2) for right in range(0, PATCH, 2)
        ]
        found = measure(network, shifted, [objective] * len(shifted), whole_canvas(SIDE, SIDE))
        peaks = [each.peak or 0.0 for each in found]
        ratios.append(row.activation / row.best_real if row.best_real else float("nan"))
        moved.append(float(np.mean(peaks)) / max(peaks[0], 1e-6))
        steps = (whole.float()[:, :, 1:] - whole.float()[:, :, :-1]).abs().mean((0, 1))
        border = (torch.arange(SIDE - 1) + 1) % PATCH == 0
        grids.append(float(steps[border].mean() / steps[~border].mean()))
    return float(np.median(ratios)), float(np.median(moved)), float(np.median(grids))


def _on_input(picture: Tensor) -> Tensor:
    """The centre of a picture that may have a margin."""
    top, left = ((side - SIDE) // 2 for side in picture.shape[1:])
    return picture[:, top : top + SIDE, left : left + SIDE] if top >= 0 else picture


def sheet(out: Path, rows: Sequence[Rendered], file: Path) -> None:
    """The pictures of one variant side by side."""
    pictures = [_on_input(open_picture(out / row.file, 3)).permute(1, 2, 0).numpy() for row in rows]
    image = Image.fromarray(np.concatenate(pictures, 1))
    image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=80, help="textures of each kind to train on")
    parser.add_argument("--passes", type=int, default=12, help="over the textures")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    module, weights = build(), given.folder / "vit.pt"
    if weights.exists():
        module.load_state_dict(torch.load(weights, weights_only=True))
    else:
        print(f"accuracy {train(module, given.each, given.passes):.0%} on other textures")
        torch.save(module.state_dict(), weights)
    network = Network.from_module(module.eval(), PREPROCESS, name="small vit", default_layers=LAYERS)
    data, out = given.folder / "data", given.folder / "index"
    if not data.exists():
        data.mkdir()
        for number, picture in enumerate(textures(40, 2, SIDE)[0]):
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(data / f"{number:04}.png")
    run_index(RunConfig(data=(str(data),), out=out, network="vit", top=20), network=network)
    recipes = {ALIGNED: aligned()}
    recipes |= {name: get_recipe(recipe, options) for name, (recipe, options) in VARIANTS.items()}
    print("| layer | recipe | ratio | moved | grid |\n|---|---|---|---|---|")
    with open_index(out) as index:
        for number, (name, recipe) in enumerate(recipes.items()):
            for layer in choose_layers(network, LAYERS):
                rows = render_index(
                    index,
                    recipe,
                    layers=layer.name,
                    units=f"0-{UNITS - 1}",
                    network=network,
                    precision="fp32",
                    path=False,
                )
                ratio, moved, grid = numbers(network, layer, out, rows)
                print(f"| `{layer.name}` | {name} | {ratio:.2f} | {moved:.2f} | {grid:.2f} |", flush=True)
                # The next variant replaces these pictures.
                sheet(out, rows, given.folder / f"{layer.name}-{number}.png")


if __name__ == "__main__":
    main()
