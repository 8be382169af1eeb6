"""Image towers of open_clip: blocks, weights and preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pipeline.config import RunConfig
from pipeline.errors import NetworkError
from pipeline.images.decode import to_network
from pipeline.layers.choose import choose_layers
from pipeline.networks.network import load_network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.vision_libraries import open_clip
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index

pytest.importorskip("ftfy", reason="needs the extra `clip` (open_clip_torch)")

TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
TOWERS: dict[str, dict[str, Any]] = {
    "tiny-vit": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64},
    "tiny-resnet": {"layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "image_size": 64},
    "tiny-timm": {
        "timm_model_name": "convnextv2_atto",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 64,
    },
}
BLOCKS = {
    "tiny-vit": ["transformer.resblocks.0", "transformer.resblocks.1"],
    "tiny-resnet": ["layer1.0", "layer2.0", "layer3.0", "layer4.0"],
    "tiny-timm": ["trunk.stages.0.blocks.0", "trunk.stages.3.blocks.1"],
}


@pytest.fixture(scope="module", autouse=True)
def small_models(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("configs")
    for name, tower in TOWERS.items():
        content = {"embed_dim": 16, "vision_cfg": tower, "text_cfg": TEXT}
        (folder / f"{name}.json").write_text(json.dumps(content))
    open_clip().add_model_config(folder)


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Any, Path]:
    """A whole model and the file with its weights."""
    torch.manual_seed(5)
    model = open_clip().create_model("tiny-vit", None)
    save_file({key: tensor.clone() for key, tensor in model.state_dict().items()}, tmp_path / "w.safetensors")
    return model.eval(), tmp_path / "w.safetensors"


@pytest.mark.parametrize("name", TOWERS)
def test_blocks_of_the_image_tower_are_found(name: str) -> None:
    network = load_network(f"open_clip:{name}", weights="random")
    found = [layer.name for layer in choose_layers(network, receptive_fields=False)]
    assert {*BLOCKS[name]} <= {*found}
    assert network.digest == load_network(f"open_clip:{name}", weights="random").digest


def test_weights_come_from_a_file_of_the_whole_model(whole: tuple[Any, Path]) -> None:
    model, file = whole
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.encode_image(batch)
    named = load_network(f"open_clip:tiny-vit/{file}")
    given = load_network("open_clip:tiny-vit", weights=file)
    assert named.digest == given.digest
    for network in (named, given):
        assert torch.allclose(network.module(batch), expected, atol=1e-6)
    larger = load_network(f"open_clip:tiny-vit/{file}", input=["size=96"])
    (layer, *_) = choose_layers(larger, receptive_fields=False)
    assert (layer.grid_h, layer.grid_w) == (6, 6)


@pytest.mark.slow
def test_a_tower_is_indexed_and_rendered(whole: tuple[Any, Path], tmp_path: Path) -> None:
    model, file = whole
    (tmp_path / "images").mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        pixels = generator.integers(0, 256, (80, 70, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    name = f"open_clip:tiny-vit/{file}"
    layer = "transformer.resblocks.1"
    images, out = tmp_path / "images", tmp_path / "out"
    run_index(RunConfig(data=images, out=out, network=name, layers=layer, top=5, compile="off"))
    seen: list[torch.Tensor] = []
    hook = model.visual.get_submodule(layer).register_forward_hook(lambda *call: seen.append(call[2]))
    transform = open_clip().image_transform(
        64, is_train=False, resize_mode="shortest", interpolation="bicubic"
    )
    with torch.no_grad():
        files = sorted((tmp_path / "images").iterdir())
        model.encode_image(torch.stack([transform(Image.open(each)) for each in files]))
    hook.remove()
    expected = seen[0][:, 1:].amax(1)
    with open_index(tmp_path / "out") as index:
        rows = index.sql("SELECT unit, image_id, activation FROM top WHERE side = 'high'").rows
        assert len(rows) > 32
        for unit, image, activation in rows:
            # The library resizes with Pillow: a level of difference here and there.
            assert activation == pytest.approx(float(expected[image, unit]), abs=0.05)
        (row,) = render_index(index, get_recipe("fourier", {"steps": "4"}), units="1")
    assert np.isfinite(row.activation)


@pytest.mark.parametrize("source", ["ViT-B-32/laion2b_s34b_b79k", "ViT-B-16-SigLIP/webli", "RN50/openai"])
def test_preprocessing_is_that_of_the_weights(source: str) -> None:
    from pipeline.networks.open_clip import open_clip_blueprint

    library = open_clip()
    preprocess = open_clip_blueprint(source).preprocess
    given = library.get_pretrained_cfg(*source.split("/"))
    transform = library.image_transform(
        preprocess.height,
        is_train=False,
        mean=given["mean"],
        std=given["std"],
        interpolation=given["interpolation"],
        resize_mode=given["resize_mode"],
    )
    generator = np.random.default_rng(1)
    for width, height in ((300, 410), (500, 375)):
        smooth = Image.fromarray(generator.integers(0, 256, (9, 9, 3)).astype(np.uint8))
        image = smooth.resize((width, height), Image.Resampling.BICUBIC)
        pixels = to_network(torch.from_numpy(np.array(image)).permute(2, 0, 1), preprocess).float()
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (preprocess.mean, preprocess.std))
        expected = transform(image)
        assert expected.shape == pixels.shape
        assert float(((expected - (pixels - mean) / std) * std).abs().max()) <= 2.01


def test_what_is_refused(tmp_path: Path) -> None:
    cases = {
        "open_clip:ViT-B-33": "no model 'ViT-B-33'.*did you mean",
        "open_clip:ViT-B-32/laion2b": "no weights 'laion2b' of ViT-B-32, and there is no such file",
        "open_clip:ViT-B-32": r"give open_clip:ViT-B-32/PRETRAINED \(.*openai.*\) or a file, or --weights",
    }
    for name, message in cases.items():
        with pytest.raises(NetworkError, match=message):
            load_network(name)
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(NetworkError, match=r"could not load open_clip:tiny-vit/.*bad\.pt") as caught:
        load_network(f"open_clip:tiny-vit/{tmp_path / 'bad.pt'}")
    assert "\n" not in str(caught.value)
