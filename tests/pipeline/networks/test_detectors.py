"""Detectors and segmenters of torchvision, and of a library whose modules a factory makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.config import RunConfig
from pipeline.layers.choose import choose_layers
from pipeline.networks.detectors import DetectorTrunk, SegmenterTrunk, detector_names, segmenter_names
from pipeline.networks.hooks import StopForward, add_hooks
from pipeline.networks.network import Network, list_networks, load_network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.vision_libraries import torchvision
from viz.passes.watch import Watch
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index

DETECTORS = {
    "fasterrcnn_mobilenet_v3_large_fpn": ("backbone.body.4", "backbone.fpn.layer_blocks.1", "rpn.head"),
    "retinanet_resnet50_fpn": ("backbone.body.layer2.0", "backbone.fpn.layer_blocks.0", "head"),
    "ssdlite320_mobilenet_v3_large": ("backbone.features.0.4", "head.classification_head.module_list.1.0"),
}
"""Detectors, and layers of theirs of which the last is where their own pass is ended."""


def hooked(module: Any, names: tuple[str, ...], arguments: Any) -> dict[str, Tensor]:
    """The first tensors that some modules output in a pass that ends at the last of them."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        while not isinstance(output, Tensor):
            output = next(iter(output.values() if isinstance(output, dict) else output))
        seen.setdefault(name, output.clone())
        if len(seen) == len(names):
            raise StopForward

    hooks = [
        (module.get_submodule(name), lambda _m, _i, output, name=name: keep(name, output)) for name in names
    ]
    with add_hooks(forward=hooks), torch.no_grad(), pytest.raises(StopForward):
        module(arguments)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_a_trunk_gives_what_the_whole_detector_gives(name: str) -> None:
    """The detector takes a list of images on 0..1 and normalises them itself."""
    side = 320 if "ssd" in name else 128
    size = {} if "ssd" in name else {"min_size": side, "max_size": side}
    options = {"weights": None, "weights_backbone": None, **size}
    detector = torchvision().models.get_model(name, **options).eval()
    blueprint = load_network(f"torchvision:{name}", weights="random", input=[f"size={side}"])
    network = Network.from_module(DetectorTrunk(detector), blueprint.preprocess)
    pixels = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(0))
    expected = hooked(detector, DETECTORS[name], [image / 255 for image in pixels])
    found = hooked(network.module, DETECTORS[name], network.normalise(pixels.to(torch.uint8)))
    assert found.keys() == expected.keys()
    for layer, values in expected.items():
        assert torch.allclose(found[layer], values, rtol=1e-3, atol=1e-4 * float(values.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_a_trunk_gives_what_the_whole_segmenter_gives(name: str) -> None:
    segmenter = torchvision().models.get_model(name, weights=None, weights_backbone=None).eval()
    batch = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        trunk = SegmenterTrunk(segmenter)(batch)
        assert trunk.shape[2] < 96
        enlarged = torch.nn.functional.interpolate(trunk, size=(96, 96), mode="bilinear", align_corners=False)
        assert torch.allclose(enlarged, segmenter(batch)["out"], atol=1e-5)


def test_all_are_listed_and_say_what_is_left_out() -> None:
    names = {row[0] for row in list_networks("torchvision:*")}
    assert {f"torchvision:{name}" for name in (*detector_names(), *segmenter_names())} <= names
    network = load_network("fasterrcnn_mobilenet_v3_large_fpn", weights="random", input=["size=64"])
    assert network.name == "torchvision:fasterrcnn_mobilenet_v3_large_fpn"
    assert "short side of 800 px and its centre is used" in network.notes[0]
    assert "roi_heads is left out: it sees proposals" in network.notes[1]
    found = [layer.name for layer in choose_layers(network, receptive_fields=False)]
    assert {"backbone.body.4", "backbone.fpn.layer_blocks.0", "rpn.head:0.0", "rpn.head:1.2"} <= {*found}


def test_a_head_is_probed_at_every_level() -> None:
    """The runs of its last module are what it outputs, level by level."""
    network = load_network("fasterrcnn_mobilenet_v3_large_fpn", weights="random", input=["size=96"])
    outputs, runs = (
        choose_layers(network, [pattern], receptive_fields=False)
        for pattern in ("rpn.head:0.*", "rpn.head.cls_logits@[0-9]")
    )
    assert [layer.name for layer in outputs] == ["rpn.head:0.0", "rpn.head:0.1", "rpn.head:0.2"]
    assert [layer.name for layer in runs] == [f"rpn.head.cls_logits@{run}" for run in (1, 2, 3)]
    pictures = 255 * torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with Watch(network, outputs, None) as whole, Watch(network, runs, None) as parts:
        expected, found = whole(pictures), parts(pictures)
    for output, run in zip(outputs, runs, strict=True):
        assert torch.equal(found[run.name].values, expected[output.name].values)
    assert [layer.grid_h for layer in runs] == [3, 3, 2]


SMP = """
import segmentation_models_pytorch as smp
import torch
from pipeline.images.preprocess import Preprocess

def unet():
    torch.manual_seed(0)
    return smp.Unet("resnet18", encoder_weights=None, classes=3), Preprocess(64, 64, 64)
"""


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "early", "late"),
    [
        ("torchvision:deeplabv3_mobilenet_v3_large", "backbone.4", "classifier.4"),
        ("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", "backbone.body.4", "rpn.head:0.0"),
        ("smp", "encoder.layer2.0", "segmentation_head.0"),
    ],
)
def test_they_are_indexed_and_rendered(network: str, early: str, late: str, tmp_path: Path) -> None:
    name, weights, size = network, "random", ("size=64",)
    if network == "smp":
        pytest.importorskip("segmentation_models_pytorch", reason="needs segmentation_models_pytorch")
        (tmp_path / "mine.py").write_text(SMP)
        name, weights, size = f"{tmp_path}/mine.py:unet", None, ()  # type: ignore[assignment]
    (tmp_path / "images").mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        pixels = generator.integers(0, 256, (80, 70, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    loaded = load_network(name, weights=weights, input=size)
    assert {early, late} <= {layer.name for layer in choose_layers(loaded, receptive_fields=False)}
    config = RunConfig(
        data=tmp_path / "images",
        out=tmp_path / "out",
        network=name,
        weights=weights,
        input=size,
        layers=(early, late),
        top=4,
        compile="off",
    )
    run_index(config)
    with open_index(tmp_path / "out") as index:
        assert [layer.name for layer in index.layers] == [early, late]
        assert index.sql("SELECT count(*) FROM top").rows[0][0] > 20
        (row,) = render_index(index, get_recipe("fourier", {"steps": "4"}), layers=[early], units="1")
    assert np.isfinite(row.activation)
