"""Models of transformers: preprocessing, towers, names of classes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.errors import NetworkError, WeightsError
from pipeline.images.decode import to_network
from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.networks.huggingface_preprocess import processor_preprocess
from pipeline.networks.network import Network, load_network
from pipeline.vision_libraries import transformers
from tests.fixtures.huggingface import save_model

pytest.importorskip("transformers", reason="needs the extra `hf` (transformers)")

DEFAULT = Preprocess(224, 224, 224)

SMALL = {"size": {"height": 112, "width": 112}}

PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "squash": ("ViT", {}),
    "squash, bicubic": ("Siglip", {}),
    "squash and crop": ("DeiT", {}),
    "BEiT as published first": ("Beit", {"size": {"height": 256, "width": 256}, "do_center_crop": True}),
    "short side and crop": ("CLIP", {}),
    "odd rest of the crop": ("Bit", {"size": {"shortest_edge": 255}}),
    "ConvNeXT below 384": ("ConvNext", {"size": {"shortest_edge": 224}}),
    "ConvNeXT from 384": ("ConvNext", {}),
    "LeViT": ("Levit", {}),
    "MobileNet": ("MobileNetV2", {}),
    "BGR, not normalised": ("MobileViT", {"size": {"shortest_edge": 288}}),
    "scaled twice": ("EfficientNet", {**SMALL, "rescale_offset": True}),
    "scaled to -1..1 only": ("EfficientNet", {**SMALL, "rescale_offset": True, "include_top": False}),
    "neither scaled nor normalised": ("ViT", {"do_rescale": False, "do_normalize": False}),
    "own mean": ("Segformer", {**SMALL, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]}),
    "DPT": ("DPT", SMALL),
}

SIZES = ((375, 500), (224, 224), (321, 227), (500, 133), (97, 61))
"""Widths and heights."""


def of_processor(processor: Any, preprocess: Preprocess) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What the library makes of images of several sizes, and what maxact makes of them."""
    generator = np.random.default_rng(3)
    network = Network.from_module(torch.nn.Identity(), preprocess)
    pairs = []
    for width, height in SIZES:
        pixels = generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
        expected = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
        found = network.normalise(to_network(torch.from_numpy(pixels).permute(2, 0, 1), preprocess)[None])
        pairs.append((expected, found))
    return pairs


@pytest.mark.slow
@pytest.mark.parametrize("case", PROCESSORS)
def test_pixels_are_those_of_the_library(case: str) -> None:
    """Bit for bit but for the arithmetic of the scaling: a millionth of the range."""
    name, options = PROCESSORS[case]
    processor = getattr(transformers(), f"{name}ImageProcessor")(**options)
    preprocess, notes = processor_preprocess(processor, DEFAULT)
    assert notes == ()
    for expected, found in of_processor(processor, preprocess):
        assert expected.shape == found.shape
        scale = torch.tensor(preprocess.std).view(1, -1, 1, 1)
        assert float(((expected - found) * scale).abs().max()) < 255e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT", "MobileNetV2", "Segformer"])
def test_pixels_are_a_level_from_those_of_pillow(name: str) -> None:
    """The library's other backend resizes with Pillow, which rounds otherwise than torch."""
    processor = getattr(transformers(), f"{name}ImageProcessorPil")()
    preprocess, notes = processor_preprocess(processor, DEFAULT)
    assert notes == ()
    for expected, found in of_processor(processor, preprocess):
        scale = torch.tensor(preprocess.std).view(1, -1, 1, 1)
        assert float(((expected - found) * scale).abs().max()) <= 1.001


@pytest.mark.slow
def test_a_float_resize_is_less_than_a_level_away() -> None:
    processor = transformers().DINOv3ViTImageProcessor()
    preprocess, notes = processor_preprocess(processor, DEFAULT)
    assert notes == ()
    for expected, found in of_processor(processor, preprocess):
        scale = torch.tensor(preprocess.std).view(1, -1, 1, 1)
        assert float(((expected - found) * scale).abs().max()) < 1.01


@pytest.mark.parametrize(
    ("name", "options", "note"),
    [
        (
            "Detr",
            {"size": {"shortest_edge": 96, "longest_edge": 128}},
            "short side of 96 and keeps the shape",
        ),
        ("ViT", {"resample": 1}, "filter lanczos, bicubic is used"),
        ("PoolFormer", {}, "its pixels differ by up to"),
        ("MobileViT", {}, "pads a crop of 256 px from 224 px"),
        ("ViT", {"do_resize": False}, "does not resize"),
        ("GLPN", {}, "has no equivalent; 224x224 px are used"),
        ("DPT", {"keep_aspect_ratio": True, "ensure_multiple_of": 14}, "px of a 301x227 image, not 384x384"),
        ("Siglip2", {}, "up to 256 patches; images are stretched to 256x256 px"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_followed_is_noted(name: str, options: dict[str, Any], note: str) -> None:
    processor = getattr(transformers(), f"{name}ImageProcessor")(**options)
    (found,) = processor_preprocess(processor, DEFAULT)[1]
    assert note in found


@pytest.mark.slow
def test_names_weights_and_digest_come_from_the_folder(tmp_path: Path) -> None:
    model = save_model("vit", tmp_path / "a")
    network, again = (load_network(f"hf:{tmp_path / 'a'}") for _ in range(2))
    assert network.classes == ("tench", "pizza", "kite", "wool")
    assert network.digest == again.digest
    assert network.name == f"hf:{tmp_path / 'a'}"
    state = model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in network.module.state_dict().items())
    random = load_network(f"hf:{tmp_path / 'a'}", weights="random")
    assert random.digest != network.digest
    assert random.digest == load_network(f"hf:{tmp_path / 'a'}", weights="random").digest
    given = load_network(f"hf:{tmp_path / 'a'}", weights=tmp_path / "a" / "model.safetensors")
    assert given.digest == network.digest


def test_half_precision_is_loaded_in_float32(tmp_path: Path) -> None:
    save_model("vit", tmp_path / "a").half().save_pretrained(tmp_path / "a")
    network = load_network(f"hf:{tmp_path / 'a'}")
    assert {parameter.dtype for parameter in network.module.parameters()} == {torch.float32}


def test_only_the_vision_tower_is_built(tmp_path: Path) -> None:
    model = save_model("clip", tmp_path / "clip")
    network = load_network(f"hf:{tmp_path / 'clip'}")
    expected = model.vision_model.state_dict()
    found = network.module.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)
    assert "CLIPVisionModel, the vision tower" in network.weights


@pytest.mark.parametrize("family", ["vit", "clip", "dinov2"])
def test_position_embeddings_are_interpolated_for_another_size(family: str, tmp_path: Path) -> None:
    model = save_model(family, tmp_path / family)
    network = load_network(f"hf:{tmp_path / family}", input=["size=96"])
    layer = next(layer for layer in choose_layers(network, receptive_fields=False) if layer.kind == "tokens")
    assert (layer.grid_h, layer.grid_w) == (6, 6)
    batch = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    library = model.vision_model if family == "clip" else model
    options = {} if family == "dinov2" else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        expected = library(pixel_values=batch, **options)[0]
    assert torch.allclose(network.module(batch)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_folder_without_a_processor_says_what_is_used(tmp_path: Path) -> None:
    save_model("vit", tmp_path / "a")
    (tmp_path / "a" / "preprocessor_config.json").unlink()
    network = load_network(f"hf:{tmp_path / 'a'}")
    (note,) = network.notes
    assert "no preprocessor_config.json that can be read; 64x64 px, mean 123.675" in note
    assert "\n" not in note


def test_made_up_class_names_are_ignored(tmp_path: Path) -> None:
    save_model("vit", tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {index: f"LABEL_{index}" for index in range(4)}
    path.write_text(json.dumps(config))
    assert load_network(f"hf:{tmp_path / 'a'}").classes is None


def test_missing_weights_are_told(tmp_path: Path) -> None:
    save_model("vit", tmp_path / "a")
    path = tmp_path / "a" / "model.safetensors"
    state = load_file(path)
    save_file({key: value for key, value in state.items() if "layer.1." not in key}, path, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"hf:.* lacks vit\.layers\.1\..* and 13 more of ViTFor"):
        load_network(f"hf:{tmp_path / 'a'}")


def _write_config(folder: Path, **content: Any) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(content))
    return f"hf:{folder}"


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    code = _write_config(tmp_path / "code", model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    (tmp_path / "code" / "mine.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: pass\n")
    text = _write_config(tmp_path / "text", model_type="bert", architectures=["BertModel"])
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = {
        f"hf:{empty}": r"could not read hf:.*empty: .*expected a folder with config\.json",
        f"hf:{tmp_path / 'none'}": "there is no such folder; expected a folder with config.json",
        code: "could not read",
        text: "is a BertModel, which takes input_ids; expected a vision model",
    }
    for name, message in cases.items():
        with pytest.raises(NetworkError, match=message) as caught:
            load_network(name)
        assert "\n" not in str(caught.value)
    assert not ran.exists()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError, match="could not download hf:nobody/nothing"):
        load_network("hf:nobody/nothing")


def test_a_tower_that_the_library_does_not_list_is_found_by_its_name(tmp_path: Path) -> None:
    library = transformers()
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**small, "vocab_size": 100, "max_position_embeddings": 16}
    vision = {**small, "image_size": 64, "patch_size": 16}
    model = library.BlipModel(library.BlipConfig(text_config=text, vision_config=vision))
    model.save_pretrained(tmp_path)
    network = load_network(f"hf:{tmp_path}")
    assert "BlipVisionModel, the vision tower" in network.weights
    (layer, *_) = choose_layers(network, receptive_fields=False)
    assert layer.name == "encoder.layers.0"
    expected = model.vision_model.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in network.module.state_dict().items())
