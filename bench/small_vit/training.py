"""Train the network on drawn textures with labels, or on photographs with another network's features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from bench.small_vit.network import PATCH, SIDE, WIDTH, untrained
from pipeline.data.demo_textures import TEXTURES, draw_texture
from pipeline.images.decode import decode_original
from pipeline.layers.choose import choose_layers
from pipeline.networks.network import load_network
from viz.passes.watch import Watch

DRAWN = 96
"""Side of the drawn textures, of which crops are trained on."""

BATCH = 64
TEACHER = "efficientnet_lite0"
DENSE, POOLED = "blocks.4.2", "blocks.6.0"
"""Layers of the teacher: one is learnt position by position, one averaged over positions."""

SHARES = (0.4, 1.0)
"""Smallest and largest side of a crop, as a share of the photograph's shorter side."""

SEEN = 224
"""Pixels to a side of what the teacher is shown of a crop; the network gets `SIDE`."""


def textures(each: int, seed: int, side: int) -> tuple[Tensor, Tensor]:
    """(image, channel, y, x) uint8 and their labels."""
    pictures, labels = [], []
    for number in range(each):
        for label, name in enumerate(TEXTURES):
            rng = np.random.default_rng([seed, number, label])
            pictures.append(torch.from_numpy(draw_texture(name, rng, side)).permute(2, 0, 1))
            labels.append(label)
    return torch.stack(pictures), torch.tensor(labels)


def learn_textures(each: int, steps: int, seed: int) -> tuple[nn.Module, str]:
    """Train on crops of drawn textures.

    Args:
        each: textures of each kind.
        steps: of the optimiser.
        seed: of the initial weights and of the order.

    Returns:
        The network, and how well it does on other textures.
    """
    module = untrained("textures", seed)
    pictures, labels = textures(each, 0, DRAWN)

    def loss(generator: Generator) -> Tensor:
        chosen = torch.randint(0, len(pictures), (BATCH,), generator=generator)
        top, left = torch.randint(0, DRAWN - SIDE + 1, (2,), generator=generator).tolist()
        batch = pictures[chosen, :, top : top + SIDE, left : left + SIDE].float()
        if torch.rand((), generator=generator) < 0.5:
            batch = batch.flip(3)
        found: Tensor = module(_normalised(batch))
        return F.cross_entropy(found, labels[chosen], label_smoothing=0.1)

    _fit([*module.parameters()], loss, steps, seed)
    tested, wanted = textures(12, 1, SIDE)
    with torch.no_grad():
        found = module.eval()(_normalised(tested.float())).argmax(1)
    return module, f"{float((found == wanted).float().mean()):.0%} of other textures named rightly"


def learn_photographs(
    taught: Sequence[Path], other: Sequence[Path], crops: int, steps: int, seed: int
) -> tuple[nn.Module, str]:
    """Train to predict a teacher's features of crops of photographs.

    Args:
        taught: photographs.
        other: photographs to test with.
        crops: of a photograph.
        steps: of the optimiser.
        seed: of the initial weights and of the order; the crops are the same for all.

    Returns:
        The network, and how well it does on the other photographs.
    """
    module, dense_head = untrained("photographs", seed), _dense_head(seed)
    pictures, dense, pooled = _lessons(taught, crops, 0)
    scales = [
        (each.mean((0, 2, 3), keepdim=True), each.std((0, 2, 3), keepdim=True)) for each in (dense, pooled)
    ]
    dense, pooled = ((each - mean) / sd for each, (mean, sd) in zip((dense, pooled), scales, strict=True))

    def losses(batch: Tensor, chosen: Tensor, of: tuple[Tensor, Tensor], flip: bool) -> tuple[Tensor, Tensor]:
        tokens = module.forward_features(_normalised(batch.flip(3) if flip else batch))  # type: ignore[operator]
        maps = dense_head(tokens).transpose(1, 2).unflatten(2, (SIDE // PATCH, SIDE // PATCH))
        wanted = of[0][chosen].flip(3) if flip else of[0][chosen]
        pool = module.forward_head(tokens)  # type: ignore[operator]
        return F.mse_loss(maps, wanted), F.mse_loss(pool, of[1][chosen].flatten(1))

    def loss(generator: Generator) -> Tensor:
        chosen = torch.randint(0, len(pictures), (BATCH,), generator=generator)
        flip = bool(torch.rand((), generator=generator) < 0.5)
        near, whole = losses(pictures[chosen].float(), chosen, (dense, pooled), flip)
        return near + whole

    _fit([*module.parameters(), *dense_head.parameters()], loss, steps, seed)
    module.eval()
    tested, *wanted = _lessons(other, 1, 1)
    near, whole = ((each - mean) / sd for each, (mean, sd) in zip(wanted, scales, strict=True))
    with torch.no_grad():
        left = losses(tested.float(), torch.arange(len(tested)), (near, whole), False)
    shares = [
        1 - float(error / each.square().mean()) for error, each in zip(left, (near, whole), strict=True)
    ]
    return module, (
        f"{shares[0]:.0%} of the variance of {DENSE} and {shares[1]:.0%} of that of {POOLED}, averaged, "
        f"explained on {len(other)} other photographs"
    )


def _dense_head(seed: int) -> nn.Module:
    """From tokens to the teacher's channels at the same place; only for training."""
    head = nn.Linear(WIDTH, 112)
    nn.init.trunc_normal_(head.weight, std=0.02, generator=Generator().manual_seed(seed + 1))
    nn.init.zeros_(head.bias)
    return nn.Sequential(nn.LayerNorm(WIDTH), head)


def _lessons(files: Sequence[Path], crops: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Crops (image, 3, y, x) uint8, and the teacher's features of them, dense and averaged."""
    teacher = load_network(TEACHER)
    layers = choose_layers(teacher, [DENSE, POOLED], receptive_fields=False)
    generator = Generator().manual_seed(seed)
    pictures, dense, pooled = [], [], []
    for file in files:
        large = _crops(decode_original(file.read_bytes()), crops, generator)
        with torch.no_grad(), Watch(teacher, layers, None) as watch:
            views = watch(large)
        dense.append(F.adaptive_avg_pool2d(views[DENSE].values.float(), SIDE // PATCH))
        pooled.append(views[POOLED].values.float().mean((2, 3), keepdim=True))
        pictures.append(_resized(large, SIDE))
    return torch.cat(pictures), torch.cat(dense), torch.cat(pooled)


def _crops(photograph: Tensor, count: int, generator: Generator) -> Tensor:
    """Square crops at random places, of `SEEN` pixels, (image, channel, y, x) uint8."""
    height, width = photograph.shape[1:]
    found = []
    for _ in range(count):
        share, down, right = torch.rand(3, generator=generator).tolist()
        side = round((SHARES[0] + share * (SHARES[1] - SHARES[0])) * min(height, width))
        top, left = round(down * (height - side)), round(right * (width - side))
        found.append(_resized(photograph[None, :, top : top + side, left : left + side], SEEN))
    return torch.cat(found)


def _resized(pictures: Tensor, side: int) -> Tensor:
    resized = F.interpolate(pictures.float(), (side, side), mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def _normalised(pictures: Tensor) -> Tensor:
    return (pictures - 127.5) / 64


def _fit(parameters: list[nn.Parameter], loss: Callable[[Generator], Tensor], steps: int, seed: int) -> None:
    generator = Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(generator).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
