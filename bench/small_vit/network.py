"""The network: a vision transformer of 4 blocks of 128 channels, 64 pixels, patches of 8.

timm's, so that its modules have the usual names. The functions are what `--network` takes:

    python -m bench.truth DATA --network bench.small_vit.network:of_photographs --weights FOLDER/vit.pt
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.data.demo_textures import TEXTURES
from pipeline.images.preprocess import Preprocess
from pipeline.vision_libraries import timm

SIDE, PATCH, WIDTH, BLOCKS = 64, 8, 128, 4
PREPROCESS = Preprocess(SIDE, SIDE, SIDE, mean=(127.5,) * 3, std=(64.0,) * 3)

NEURONS_BEFORE, NEURONS, RESIDUAL = "blocks.2.mlp.fc1", "blocks.2.mlp.act", "blocks.2"
LAYERS = (NEURONS_BEFORE, NEURONS, RESIDUAL)
"""Of the third block: hidden neurons of the MLP before and after GELU, and the residual stream."""

TAUGHT = 320
"""Outputs of the network of photographs: the channels of EfficientNet-Lite0's last block."""


def of_photographs() -> tuple[nn.Module, Preprocess]:
    """The network that learns another network's features of photographs, not trained."""
    return _build(TAUGHT, seed=0), PREPROCESS


def of_textures() -> tuple[nn.Module, Preprocess]:
    """The network that learns to tell drawn textures apart, not trained."""
    return _build(len(TEXTURES), seed=0), PREPROCESS


def untrained(kind: str, seed: int) -> nn.Module:
    """One of both with other initial weights.

    Args:
        kind: `photographs` or `textures`.
        seed: of the weights.
    """
    return _build({"photographs": TAUGHT, "textures": len(TEXTURES)}[kind], seed)


def _build(outputs: int, seed: int) -> nn.Module:
    module: nn.Module = timm().models.vision_transformer.VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=BLOCKS,
        num_heads=4,
        num_classes=outputs,
        global_pool="avg",
        class_token=False,
    )
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return module


class ConstantPattern(nn.Module):
    """Attention patterns without a gradient: as if the patterns of the present picture were weights."""

    def forward(self, pattern: Tensor) -> Tensor:
        return pattern.detach()


def without_pattern_gradient(module: nn.Module) -> nn.Module:
    """Change a network so that no gradient passes through its attention patterns; outputs stay the same.

    timm calls `attn_drop` on the pattern where its fused attention is off.
    """
    for block in module.blocks:  # type: ignore[union-attr]
        block.attn.fused_attn = False
        block.attn.attn_drop = ConstantPattern()
    return module
