"""Does a VAE of diffusers serve as the generator of the recipe `prior`?

    python -m venv libraries; libraries/bin/pip install torch torchvision diffusers
    libraries/bin/python bench/vae.py FOLDER --photographs DATA --part 0/2 [--steps 2000]
    libraries/bin/python -m maxact render OUT --layer blocks.4.2 --units 0-3 --recipe prior \\
        --generator bench/vae.py:make --generator-weights FOLDER/vae.safetensors --set step=0.5:0

Weights of a published VAE are a download that is not made here, so a small one is trained: AutoencoderKL with
three stages, 64 pixels and a latent of 4 x 16 x 16, on crops of one part of the photographs, divided as by
`bench.truth --part`. Without photographs it is trained on textures like those of the demo. The loss is
the mean absolute difference of pixels and, with little weight, the divergence of the latents from a normal
distribution. Afterwards the latents are scaled to a standard deviation of 1.

Prints how far reconstructions of other crops are from them, compared with their own mean colours, and whether
maxact loads the file and finds the shape of the codes by itself.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor, nn

from bench.small_vit.training import textures
from bench.truth.choices import read_part
from bench.truth.halves import list_sources, split
from pipeline.data.dataset import open_dataset
from pipeline.vision_libraries import prepare_torchvision
from viz.priors.prior import load_prior
from viz.robust.crops import random_crops

SIDE = 64
BATCH = 16
RATE = 1e-3
DIVERGENCE = 1e-4
"""Weight of the divergence of the latents."""

HELD_OUT = 32
"""Pictures that are not trained on."""

SHOWN = 256
"""Shorter side of the photographs that are cropped, in pixels."""


def make() -> nn.Module:
    """The untrained VAE; maxact gives it the weights."""
    # diffusers imports torchvision, whose operators may not be there.
    prepare_torchvision()
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=SIDE,
        scaling_factor=1.0,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save and load.

    Args:
        arguments: of the command line; by default those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="for vae.safetensors; by default one that is removed"
    )
    parser.add_argument("--photographs", metavar="DATA", help="a folder of photographs; by default textures")
    parser.add_argument("--part", type=read_part, default=(0, 1), metavar="I/N", help="as of bench.truth")
    parser.add_argument("--steps", type=int, default=2000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        _measure(given, folder)


def _measure(given: argparse.Namespace, folder: Path) -> None:
    """Train, save and load, as the options say."""
    pictures = (
        _photographs(given.photographs, *given.part) if given.photographs else list(textures(20, 0, 96)[0])
    )
    module = _train(pictures[HELD_OUT:], given.steps)
    others = _crops(pictures[:HELD_OUT], torch.Generator().manual_seed(1))
    with torch.no_grad():
        latents = module.encode(others).latent_dist.mode()
        found = module.decode(latents).sample
    error, flat = (
        float((each - others).abs().mean())
        for each in (found, others.mean((2, 3), keepdim=True).expand_as(others))
    )
    print(
        f"mean absolute difference of {HELD_OUT} other crops: {error / 2:.3f}, of their means {flat / 2:.3f}"
    )
    print(f"standard deviation of their latents: {float(latents.std()):.2f}")
    file = folder / "vae.safetensors"
    _save(module, file)
    prior = load_prior(f"{__file__}:make", file)
    print(f"codes {prior.code_shape}, {prior.origin}\n{file}")


def _train(pictures: Sequence[Tensor], steps: int) -> nn.Module:
    torch.manual_seed(0)
    module = make()
    adam = torch.optim.Adam(module.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    order = torch.Generator().manual_seed(0)
    for step in range(steps):
        chosen = torch.randint(len(pictures), (BATCH,), generator=order).tolist()
        crops = _crops([pictures[each] for each in chosen], order)
        latents = module.encode(crops).latent_dist
        decoded = module.decode(latents.sample()).sample
        loss = (decoded - crops).abs().mean() + DIVERGENCE * latents.kl().mean() / latents.mean[0].numel()
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1:,} of {steps:,}: loss {float(loss.detach()):.3f}", flush=True)
    module.eval().requires_grad_(False)
    _scale_latents(module, _crops(pictures[:128], order))
    return module


def _scale_latents(module: nn.Module, crops: Tensor) -> None:
    """Scale latents to a standard deviation of 1 by the two layers between encoder and decoder."""
    scale = module.encode(crops).latent_dist.mode().std()
    means = slice(0, module.config.latent_channels)
    module.quant_conv.weight[means] /= scale
    module.quant_conv.bias[means] /= scale
    module.quant_conv.bias[module.config.latent_channels :] -= 2 * scale.log()
    module.post_quant_conv.weight *= scale


def _crops(pictures: Sequence[Tensor], generator: Generator) -> Tensor:
    """(image, channel, y, x) on -1..1."""
    crops = [random_crops(each[None], (SIDE, SIDE), generator) for each in pictures]
    return torch.cat(crops) / 127.5 - 1


def _photographs(data: str, part: int, parts: int) -> list[Tensor]:
    """(channel, y, x) uint8 of one part."""
    halves = split(list(list_sources(open_dataset((data,)))), part, parts)
    pictures = []
    for source in (each for half in halves for each in half):
        if source.file is None:
            raise SystemExit(f"--photographs {data}: expected a folder of image files")
        with Image.open(source.file) as image:
            scale = SHOWN / min(image.size)
            sides = (round(image.width * scale), round(image.height * scale))
            pixels = np.array(image.convert("RGB").resize(sides, Image.Resampling.BICUBIC))
        pictures.append(torch.from_numpy(pixels).permute(2, 0, 1))
    return pictures


def _save(module: nn.Module, file: Path) -> None:
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, file)


if __name__ == "__main__":
    main()
