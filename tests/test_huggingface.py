"""One small member of every family of transformers: loaded from a folder, indexed and rendered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.config import RunConfig
from pipeline.images.decode import decode
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, load_network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.huggingface import SIDE, save_model
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index

pytest.importorskip("transformers", reason="needs the extra `hf` (transformers)")

FAMILIES = """
vit . vit.layers.0:tokens:4x4 vit.layers.1 classifier
deit . deit.layers.0:tokens:4x4 deit.layers.1
beit . beit.layers.0:tokens:4x4 beit.layers.1 classifier
swin . swin.encoder.layers.0.blocks.0:tokens:16x16 swin.encoder.layers.1.blocks.1 classifier
swinv2 . swinv2.encoder.layers.0.blocks.0:tokens:16x16 swinv2.encoder.layers.1.blocks.1 classifier
convnextv2 . convnextv2.encoder.stages.0.layers.0:map:16x16 classifier
dinov2 . dinov2.encoder.layer.0:tokens:4x4 dinov2.encoder.layer.1 classifier
dinov2_registers . encoder.layer.0:tokens:4x4 encoder.layer.1
dinov3 . model.layer.0:tokens:4x4 model.layer.1
clip vision_model encoder.layers.0:tokens:4x4 encoder.layers.1
siglip vision_model encoder.layers.0:tokens:4x4 encoder.layers.1
siglip2 vision_model encoder.layers.0:tokens:4x4 encoder.layers.1
resnet . resnet.encoder.stages.1.layers.0:map:8x8 classifier.1
regnet . regnet.encoder.stages.1.layers.0:map:8x8 classifier.1
mobilevit . mobilevit.encoder.layer.1:map:16x16 classifier
mobilenet_v2 . mobilenet_v2.layer.2:map:8x8 classifier
efficientnet . efficientnet.encoder.blocks.2:map:8x8 classifier
segformer . segformer.stages.0.blocks.0:tokens:16x16 decode_head.classifier
dpt . dpt.encoder.layer.0:tokens:4x4 neck.fusion_stage.layers.3
vit_mae vit layers.0:tokens:4x4 layers.1
hiera . hiera.encoder.stages.1.layers.0:tokens:8x8 classifier
pvt_v2 . pvt_v2.encoder.layers.1.blocks.0:tokens:8x8 classifier
swiftformer . swiftformer.encoder.network.2:map:8x8
detr . model.backbone.model.encoder.stages.1.layers.0:map:8x8 model.encoder.layers.1
yolos . encoder.layer.0:tokens:4x4 encoder.layer.1
ijepa . layers.0:tokens:4x4 layers.1
"""
"""Family, the part of the saved model that is loaded, and some of its default layers; the first with
its kind and grid. The first and the last are indexed, the first is rendered."""

LINES = FAMILIES.split("\n")[1:-1]

UNEVEN = {"hiera", "swin", "swinv2"}
"""Families of which another position may change most: windows, and tokens that are not stored in rows."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(6):
        values = generator.integers(0, 256, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(values).resize((76 + number, 70), Image.Resampling.BICUBIC).save(
            folder / f"{number}.png"
        )
    return folder


def by_plain_hooks(model: Any, part: str, layer: Layer, pixels: Tensor, arguments: Any) -> Tensor:
    """(image, unit, y, x) of a layer, by a hook on the library's own model."""
    seen: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    root = model if part == "." else model.get_submodule(part)
    hook = root.get_submodule(layer.name).register_forward_hook(keep)
    with torch.no_grad():
        positional, keywords = arguments(pixels)
        root(*positional, **keywords)
    hook.remove()
    (values,) = seen
    if layer.kind == "tokens":
        stored = layer.position_order or range(layer.prefix, layer.prefix + layer.grid_h * layer.grid_w)
        values = values[:, list(stored)].transpose(1, 2).unflatten(2, (layer.grid_h, layer.grid_w))
    return values[:, :, None, None] if layer.kind == "vector" else values


def arguments_of(family: str) -> Any:
    """The arguments of the library's call, written without the adapter."""
    if family == "vit_mae":
        return lambda batch: ((batch,), {"noise": torch.arange(16.0).repeat(len(batch), 1)})
    if family != "siglip2":
        return lambda batch: ((batch,), {})

    def naflex(batch: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

        images = [torch.from_numpy(convert_image_to_patches(image.numpy(), 16)) for image in batch]
        count = len(batch)
        return (torch.stack(images), torch.ones(count, 16), torch.tensor([[4, 4]] * count)), {}

    return naflex


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split()[0])
def test_a_family_is_indexed_as_by_plain_hooks_and_rendered(line: str, folder: Path, tmp_path: Path) -> None:
    family, part, first, *others = line.split()
    early, kind, grid = first.split(":")
    model = save_model(family, tmp_path / family)
    if family == "vit_mae":
        model.config.mask_ratio = 0.0
    name = f"hf:{tmp_path / family}"
    network = load_network(name)
    defaults = [layer.name for layer in choose_layers(network, receptive_fields=False)]
    assert {early, *others} <= {*defaults}
    config = RunConfig(
        data=(str(folder),),
        out=tmp_path / "out",
        network=name,
        layers=(early, *others[-1:]),
        top=6,
        batch_size=4,
        memory_format="contiguous",
        compile="off",
        cache=tmp_path,
    )
    run_index(config)
    files = sorted(folder.iterdir())
    images = torch.stack([decode(file.read_bytes(), network.preprocess) for file in files])
    batch = network.normalise(images).contiguous()
    with open_index(tmp_path / "out") as index:
        layers = {layer.name: layer for layer in index.layers}
        found = layers[early]
        assert (found.kind, f"{found.grid_h}x{found.grid_w}") == (kind, grid)
        for layer in index.layers:
            values = by_plain_hooks(model, part, layer, batch, arguments_of(family))
            rows = index.sql(
                "SELECT unit, key, activation, y, x FROM top JOIN images USING (image_id) "
                "WHERE layer = $layer AND side = 'high'",
                layer=layer.name,
            ).rows
            assert len(rows) >= layer.units
            for unit, key, activation, y, x in rows:
                image = [file.stem for file in files].index(Path(key).stem)
                assert activation == pytest.approx(float(values[image, unit].max()), rel=1e-4, abs=1e-5)
                assert float(values[image, unit, y, x]) == pytest.approx(activation, rel=1e-4, abs=1e-5)
        check_fields(network, model, part, family, found, batch[:1])
        (row,) = render_index(index, get_recipe("fourier", {"steps": "4"}), layers=[early], units="1")
    assert np.isfinite(row.activation)
    assert (tmp_path / "out" / row.file).is_file()


def check_fields(network: Network, model: Any, part: str, family: str, layer: Layer, batch: Tensor) -> None:
    """Pixels outside a position's field do not matter; those at its centre matter most to it."""
    arguments = arguments_of(family)
    before = by_plain_hooks(model, part, layer, batch, arguments)
    generator = torch.Generator().manual_seed(2)
    for y, x in ((0, 0), (layer.grid_h - 1, layer.grid_w // 2)):
        box = layer.box(y, x)
        other = 3 * torch.randn(batch.shape, generator=generator)
        inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        inside[max(int(box.top), 0) : int(box.bottom), max(int(box.left), 0) : int(box.right)] = True
        if not inside.all():
            outside = by_plain_hooks(model, part, layer, torch.where(inside, batch, other), arguments)
            assert float((outside - before)[:, :, y, x].abs().max()) < 1e-5
        high, wide = SIDE // layer.grid_h, SIDE // layer.grid_w
        patch = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        patch[y * high : (y + 1) * high, x * wide : (x + 1) * wide] = True
        changed = by_plain_hooks(model, part, layer, torch.where(patch, other, batch), arguments)
        strength = (changed - before).norm(dim=1)[0]
        if family not in UNEVEN:
            near_y, near_x = divmod(int(strength.argmax()), layer.grid_w)
            assert abs(near_y - y) <= 1
            assert abs(near_x - x) <= 1
