"""One small member of every family, untrained, indexed and rendered with the same calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from pipeline.config import RunConfig
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, load_network
from pipeline.query.index import Index, open_index
from pipeline.query.indexed_network import index_network
from pipeline.runs.run import run_index
from viz.canvas import Canvas
from viz.objectives.objective import point
from viz.passes.watch import Watch
from viz.planning.plan import plan_canvas
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index

IMAGES = 5


FAMILIES = """
alexnet 64 features.4:map:7x7 classifier.6:vector:1x1
vgg11_bn 32 features.6:map:16x16 classifier.6:vector:1x1
resnet18 64 layer2.1:map:8x8 fc:vector:1x1
densenet121 64 features.denseblock1:map:16x16
squeezenet1_1 64 features.6:map:7x7 classifier:map:1x1
googlenet 64 inception3a:map:8x8 fc:vector:1x1
inception_v3 96 Mixed_5b:map:9x9 fc:vector:1x1
mobilenet_v2 64 features.4:map:8x8 classifier.1:vector:1x1
mobilenet_v3_small 64 features.4:map:4x4
efficientnet_b0 64 features.3.1:map:8x8
mnasnet0_5 64 layers.9.0:map:8x8
regnet_x_400mf 64 trunk_output.block2.block2-0:map:8x8
shufflenet_v2_x0_5 64 stage2.0:map:8x8
convnext_tiny 64 features.3.0:map:8x8 classifier.2:vector:1x1
swin_t 64 features.3.1:map_last:8x8 head:vector:1x1
vit_b_32 64 encoder.layers.encoder_layer_1:tokens:2x2
maxvit_t 224 blocks.0.layers.0:map:56x56
timm:mixer_s32_224 224 blocks.2:tokens:7x7 head:vector:1x1
timm:deit_tiny_distilled_patch16_224 64 blocks.3:tokens:4x4
timm:beit_base_patch16_224 64 blocks.1:tokens:4x4
timm:convnextv2_atto 64 stages.1.blocks.0:map:8x8
timm:eva02_tiny_patch14_224 56 blocks.3:tokens:4x4
timm:vit_small_patch14_dinov2 56 blocks.3:tokens:4x4
timm:vit_small_patch16_dinov3 64 blocks.3:tokens:4x4
timm:vit_medium_patch32_clip_224 64 blocks.1:tokens:2x2
timm:resnet50_clip 64 stages.1.0:map:8x8
timm:nfnet_l0 64 stages.1.0:map:8x8
timm:swinv2_cr_tiny_ns_224 224 stages.0.blocks.0:map_last:56x56
timm:tiny_vit_5m_224 64 stages.1.blocks.0:map_last:8x8
googlenet_caffe 64 inception_3a:map:8x8 classifier:vector:1x1
inception_v1 64 mixed3a:map:8x8 softmax2:vector:1x1
"""
"""Network, size of its input, and layers with the kind and grid they must turn out to have; the
first is rendered."""

QUICK = {"resnet18", "mobilenet_v2", "timm:convnextv2_atto", "timm:eva02_tiny_patch14_224", "inception_v1"}
"""Families that are not only run in CI."""

LINES = [
    pytest.param(line, id=line.split()[0], marks=[] if line.split()[0] in QUICK else [pytest.mark.thorough])
    for line in FAMILIES.split("\n")[1:-1]
]


EARLY = {
    "mobilenet_v3_small": "features.0",
    "efficientnet_b0": "features.0",
    "convnext_tiny": "features.1.0",
    "maxvit_t": "stem.1",
    "timm:convnextv2_atto": "stem",
    "timm:nfnet_l0": "stem",
    "timm:tiny_vit_5m_224": "patch_embed",
}
"""An earlier layer of networks whose first layer above sees the whole input."""

SEES_ALL = {
    "swin_t",
    "vit_b_32",
    "timm:mixer_s32_224",
    "timm:deit_tiny_distilled_patch16_224",
    "timm:beit_base_patch16_224",
    "timm:eva02_tiny_patch14_224",
    "timm:vit_small_patch14_dinov2",
    "timm:vit_small_patch16_dinov3",
    "timm:vit_medium_patch32_clip_224",
    "timm:swinv2_cr_tiny_ns_224",
}
"""Networks of patches, which are always shown the whole input."""


GREY = """
import torch
from torch import nn
from pipeline.images.preprocess import Preprocess

def make():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    return module, Preprocess(24, 24, 24, mean=(127.0,), std=(60.0,), channels="grey")
"""
"""A network of one channel, as a user would write it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for label in ("noise", "ramp"):
        (folder / label).mkdir()
        for number in range(IMAGES):
            values = generator.integers(0, 256, (70, 80, 3))
            if label == "ramp":
                values = np.linspace(0, 40 * (number + 1), 80)[None, :, None] + 0 * values
            Image.fromarray(values.astype(np.uint8)).save(folder / label / f"{number}.png")
    return folder


def units_by_activity(index: Index, layer: str) -> tuple[list[int], list[int]]:
    """Units whose list is full, and units that are constant over the dataset."""
    full = "SELECT unit FROM top WHERE layer = $layer AND side = 'high' AND rank = 4 ORDER BY unit"
    same = 'SELECT unit FROM units WHERE layer = $layer AND "min" = "max" ORDER BY unit'
    live, constant = (index.sql(text, layer=layer).rows for text in (full, same))
    return [unit for (unit,) in live], [unit for (unit,) in constant]


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_family_is_indexed_and_rendered(line: str, folder: Path, tmp_path: Path) -> None:
    name, size, *rest = line.split()
    expected = {name: (kind, grid) for name, kind, grid in (item.split(":") for item in rest)}
    config = RunConfig(
        data=(str(folder),),
        out=tmp_path / "out",
        network=name,
        weights="random",
        input=(f"size={size}",),
        layers=tuple(expected),
        top=4,
        batch_size=4,
        compile="off",
    )
    run_index(config)
    with open_index(tmp_path / "out") as index:
        found = {layer.name: (layer.kind, f"{layer.grid_h}x{layer.grid_w}") for layer in index.layers}
        assert found == expected
        for layer in index.layers:
            # Untrained networks have units that are the same on all images; these list nothing.
            live, constant = units_by_activity(index, layer.name)
            for unit in live[-1:]:
                top = index.top(layer.name, unit, n=4)
                assert [image.rank for image in top] == [1, 2, 3, 4]
                assert len({image.image_id for image in top}) == 4
            assert all(index.top(layer.name, unit, n=4) == [] for unit in constant[-1:])
            assert live or constant
        network = index_network(index)
        recipe = get_recipe("fourier", {"steps": "2"})
        early, late = next(iter(expected)), [*expected][-1]
        rows = render_index(index, recipe, layers=[early], units="1", network=network)
        recipe = get_recipe("typical", {"steps": "2", "images": "2", "close_side": "48"})
        live, _ = units_by_activity(index, late)
        rows += render_index(index, recipe, layers=[late], units=live[:1], network=network) if live else []
    for row in rows:
        with Image.open(tmp_path / "out" / row.file) as picture:
            assert min(picture.size) >= 1
        assert np.isfinite(row.activation)


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_canvas_gives_what_the_whole_input_gives(line: str) -> None:
    """For all units at the centre, at two corners and at the middle of a side."""
    name, size, first, *_ = line.split()
    network = load_network(name, weights="random", input=[f"size={size}"])
    (layer,) = choose_layers(network, [EARLY.get(name, first.partition(":")[0])])
    height, width = layer.grid_h - 1, layer.grid_w - 1
    shape = (2, 3, int(size), int(size))
    pictures = 255 * torch.rand(shape, generator=torch.Generator().manual_seed(99))
    for y, x in ((height // 2, width // 2), (0, 0), (height, width), (height // 2, width)):
        canvas = plan_canvas(network, point(layer, 0, y, x))
        assert canvas.is_whole == (name in SEES_ALL) or (y, x) == (height // 2, width // 2)
        expected = units_at(network, layer, None, pictures, y, x)
        assert not torch.allclose(expected[0], expected[1], rtol=0.01), "nothing to tell apart"
        window = pictures[
            :, :, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width
        ]
        found = units_at(network, layer, canvas, window, y, x)
        assert found.shape == expected.shape == (2, layer.units)
        assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def units_at(
    network: Network, layer: Layer, canvas: Canvas | None, pictures: Tensor, y: int, x: int
) -> Tensor:
    """(image, unit) activations at one position of the whole input's grid."""
    with torch.no_grad(), Watch(network, [layer], canvas) as watch:
        view = watch(pictures)[layer.name]
    return view.values[:, :, y - view.top, x - view.left]


@pytest.mark.slow
def test_units_beyond_channels(folder: Path, tmp_path: Path) -> None:
    """Heads of an attention, hidden neurons and directions, of one small transformer."""
    rows = torch.randn(3, 192, generator=torch.Generator().manual_seed(0))
    save_file({"blocks.1": rows}, tmp_path / "sae.safetensors")
    names = ("blocks.1.attn.proj.input", "blocks.1.mlp.act", "blocks.1.sae")
    config = RunConfig(
        data=(str(folder),),
        out=tmp_path / "out",
        network="timm:deit_tiny_patch16_224",
        weights="random",
        input=("size=32",),
        directions=(str(tmp_path / "sae.safetensors"),),
        layers=names,
        top=4,
        compile="off",
    )
    run_index(config)
    with open_index(tmp_path / "out") as index:
        assert {layer.name: layer.units for layer in index.layers} == dict(
            zip(names, (192, 768, 3), strict=True)
        )
        rendered = render_index(index, get_recipe("fourier", {"steps": "2"}), units="2")
        recipe = get_recipe("typical", {"steps": "2", "images": "2"})
        rendered += render_index(index, recipe, units="2")
    assert [row.layer for row in rendered] == [*names, *names]
    assert all(np.isfinite(row.activation) for row in rendered)


def test_a_grey_network_from_a_factory(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "grey.py").write_text(GREY)
    config = RunConfig(data=(str(folder),), out=tmp_path / "out", network=f"{tmp_path}/grey.py:make", top=4)
    run_index(config)
    with open_index(tmp_path / "out") as index:
        assert [layer.name for layer in index.layers] == ["1", "4"]
        (row,) = render_index(index, get_recipe("octaves", {"steps": "5"}), layers=["1"], units="0")
    with Image.open(tmp_path / "out" / row.file) as picture:
        assert picture.mode in ("L", "RGB")
