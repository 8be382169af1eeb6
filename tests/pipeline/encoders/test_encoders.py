"""Encoders of libraries with random weights, offline, and what cannot be used as one."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline.encoders.load import load_encoder
from pipeline.encoders.protocol import DualEncoder
from pipeline.errors import EncoderError, UnknownEncoder, UsageError
from pipeline.vision_libraries import open_clip, transformers
from tests.fixtures.dual_encoder import make

TOWERS = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
TEXT = {"context_length": 8, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        for height, width in ((64, 64), (9, 40), (120, 90))
    ]


def same_for_every_batch(encoder: DualEncoder) -> None:
    """Embeddings have length 1, and do not depend on what else is in the batch."""
    together = encoder.images(pictures())
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    alone = np.concatenate([encoder.images([picture]) for picture in pictures()])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    texts = ["red", "a photograph of a large dog"]
    spoken = encoder.texts(texts)
    np.testing.assert_allclose(spoken, np.concatenate([encoder.texts([text]) for text in texts]), atol=1e-4)
    assert spoken.shape == (2, encoder.dimension)
    assert together.shape == (3, encoder.dimension)


@pytest.mark.slow
def test_a_model_of_open_clip(tmp_path: Path) -> None:
    pytest.importorskip("ftfy", reason="needs the extra `clip` (open_clip_torch)")
    config = {"embed_dim": 16, "vision_cfg": TOWERS, "text_cfg": TEXT}
    (tmp_path / "tiny-dual.json").write_text(json.dumps(config))
    library = open_clip()
    library.add_model_config(tmp_path)
    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        files.append(tmp_path / f"{seed}.pt")
        torch.save(library.create_model("tiny-dual", None).state_dict(), files[-1])
    first, again, other = (load_encoder(f"open_clip:tiny-dual/{file}") for file in (files[0], *files))
    same_for_every_batch(first)
    assert first.dimension == 16
    assert first.fingerprint == again.fingerprint != other.fingerprint
    # The same as the library's own calls.
    model, _, transform = library.create_model_and_transforms("tiny-dual", str(files[0]))
    with torch.inference_mode():
        expected = model.eval().encode_image(
            torch.stack([transform(each) for each in pictures()]), normalize=True
        )
        texts = model.encode_text(library.get_tokenizer("tiny-dual")(["red"]), normalize=True)
    np.testing.assert_allclose(first.images(pictures()), expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(first.texts(["red"]), texts.numpy(), atol=1e-5)
    with pytest.raises(UnknownEncoder, match="names no weights; give open_clip:tiny-dual/PRETRAINED"):
        load_encoder("open_clip:tiny-dual")
    with pytest.raises(UnknownEncoder, match="no weights 'nope' of tiny-dual, and there is no such file"):
        load_encoder("open_clip:tiny-dual/nope")
    with pytest.raises(UnknownEncoder, match="no model 'tiny-duel'; did you mean 'tiny-dual'"):
        load_encoder("open_clip:tiny-duel/x")
    files[1].write_bytes(b"no weights")
    with pytest.raises(EncoderError, match="could not load open_clip:tiny-dual"):
        load_encoder(f"open_clip:tiny-dual/{files[1]}")


def save_clip(folder: Path, kind: str = "clip") -> Any:
    """A tiny model with its processor, in a folder; returns the model."""
    library = transformers()
    side = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    letters = ["<unk>", "<pad>", *"abcdefghijklmnopqrstuvwxyz", "<end>"]
    torch.manual_seed(0)
    text = {**side, "vocab_size": 40, "max_position_embeddings": 12, "eos_token_id": len(letters) - 1}
    image = {**side, "image_size": 32, "patch_size": 8}
    if kind == "clip":
        config = library.CLIPConfig(text_config=text, vision_config=image, projection_dim=24)
        model = library.CLIPModel(config)
        images = library.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    else:
        config = library.SiglipConfig(text_config={**text, "projection_size": 32}, vision_config=image)
        model = library.SiglipModel(config)
        images = library.SiglipImageProcessor(size={"height": 32, "width": 32})
    model.save_pretrained(folder)
    images.save_pretrained(folder)
    save_tokenizer(folder, letters)
    return model.eval()


def save_tokenizer(folder: Path, letters: list[str]) -> None:
    """A tokenizer of single letters, as the library saves one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    rules = Tokenizer(
        models.WordLevel({each: number for number, each in enumerate(letters)}, unk_token="<unk>")
    )
    rules.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    rules.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", len(letters) - 1)]
    )
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "<end>"}
    transformers().PreTrainedTokenizerFast(tokenizer_object=rules, **names).save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_model_of_transformers(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `hf`")
    model = save_clip(tmp_path, kind)
    encoder = load_encoder(f"hf:{tmp_path}")
    same_for_every_batch(encoder)
    assert encoder.fingerprint == load_encoder(f"hf:{tmp_path}").fingerprint
    library = transformers()
    pixels = library.AutoImageProcessor.from_pretrained(tmp_path)(images=pictures(), return_tensors="pt")
    with torch.inference_mode():
        found = model.get_image_features(**pixels)
    pooled = found if isinstance(found, torch.Tensor) else found.pooler_output
    np.testing.assert_allclose(
        encoder.images(pictures()), nn.functional.normalize(pooled, dim=1).numpy(), atol=1e-5
    )
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(tmp_path)
    assert load_encoder(f"hf:{tmp_path}").fingerprint != encoder.fingerprint


@pytest.mark.slow
def test_a_model_of_transformers_that_cannot_be_used(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `hf`")
    library = transformers()
    side = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    library.ViTModel(library.ViTConfig(**side, image_size=32, patch_size=16)).save_pretrained(
        tmp_path / "vit"
    )
    with pytest.raises(EncoderError, match="is a ViT, which has not an image and a text tower"):
        load_encoder(f"hf:{tmp_path / 'vit'}")
    with pytest.raises(UnknownEncoder, match="there is no such folder"):
        load_encoder(f"hf:{tmp_path / 'missing'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match="could not read the configuration of hf:"):
        load_encoder(f"hf:{tmp_path / 'empty'}")
    save_clip(tmp_path / "clip")
    (tmp_path / "clip" / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match="could not read the tokenizer of hf:"):
        load_encoder(f"hf:{tmp_path / 'clip'}")
    from safetensors.torch import load_file, save_file

    weights = tmp_path / "clip" / "model.safetensors"
    save_file(dict(list(load_file(weights).items())[1:]), weights, {"format": "pt"})
    with pytest.raises(EncoderError, match=r"lacks .* of CLIPModel; give complete weights"):
        load_encoder(f"hf:{tmp_path / 'clip'}")


def test_a_factory_of_the_users(tmp_path: Path) -> None:
    encoder = load_encoder("tests.fixtures.dual_encoder:make")
    same_for_every_batch(encoder)
    assert encoder.encoder is make()


class Weighted(nn.Module):
    """An encoder without a fingerprint of its own."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4, bias=False)
        torch.manual_seed(seed)
        nn.init.normal_(self.linear.weight)

    def embed_images(self, images: list[Image.Image]) -> torch.Tensor:
        assert not self.training
        colours = [image.resize((1, 1)).getpixel((0, 0)) for image in images]
        return self.linear(torch.tensor(colours).float())

    def embed_texts(self, texts: list[str]) -> list[list[float]]:
        return [[len(text), 1.0, 2.0, 3.0] for text in texts]


def first_weights() -> Weighted:
    return Weighted(1)


def second_weights() -> Weighted:
    return Weighted(2)


def test_a_module_is_known_by_its_weights() -> None:
    first, again, second = (
        load_encoder(f"{__name__}:{name}") for name in ("first_weights", "first_weights", "second_weights")
    )
    assert first.fingerprint == again.fingerprint != second.fingerprint
    same_for_every_batch(first)


partial_weights = functools.partial(Weighted, 1)


def test_factories_of_any_kind_have_a_fingerprint(tmp_path: Path) -> None:
    assert load_encoder(f"{__name__}:partial_weights").dimension == 4
    code = """
from functools import cache
from types import SimpleNamespace as Made

@cache
def make():
    return Made(embed_images=lambda all: [[1.0, 2]] * len(all), embed_texts=lambda all: [[1.0, 3]])
"""
    found = []
    for content in (code, code, code + "# another\n"):
        (tmp_path / "mine.py").write_text(content)
        found.append(load_encoder(f"{tmp_path / 'mine.py'}:make").fingerprint)
    assert found[0] == found[1] != found[2]


def sides(images: Any, texts: Any) -> Any:
    return SimpleNamespace(
        embed_images=lambda given: images if not callable(images) else images(given),
        embed_texts=lambda given: texts if not callable(texts) else texts(given),
    )


def fail(_: Any) -> Any:
    raise ValueError("no\nmemory of it")


def different() -> Any:
    return sides(np.ones((1, 4)), np.ones((1, 5)))


def nan() -> Any:
    return sides(np.full((1, 4), np.nan), np.ones((1, 4)))


def zeros() -> Any:
    return sides(np.ones((1, 4)), np.zeros((1, 4)))


def flat() -> Any:
    return sides(np.ones(4), np.ones((1, 4)))


def words() -> Any:
    return sides("abc", np.ones((1, 4)))


def failing() -> Any:
    return sides(np.ones((1, 4)), fail)


def one_sided() -> Any:
    return SimpleNamespace(embed_images=lambda images: images)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("different", "embeds images in 4 dimensions and texts in 5"),
        ("nan", "gave NaN or infinity for some of 1 images"),
        ("zeros", "gave only zeros for some of 1 texts"),
        ("flat", r"gave an array of shape \(4,\) for 1 images; expected \(1, dimension\)"),
        ("words", "embedding images with"),
        ("failing", r"ValueError: no memory of it \(embedding texts with"),
        ("one_sided", "returned a SimpleNamespace, which has no embed_texts; expected an object with"),
    ],
)
def test_an_encoder_that_cannot_be_used_is_one_line(name: str, said: str) -> None:
    with pytest.raises(EncoderError, match=said) as raised:
        load_encoder(f"{__name__}:{name}")
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(
    "name", ["", ":", "hf:", ":make", "CLIP", "no_such_module:make", f"{__name__}:missing"]
)
def test_a_name_of_nothing_is_a_wrong_call(name: str) -> None:
    with pytest.raises(UsageError, match="expected open_clip:MODEL/PRETRAINED"):
        load_encoder(name)


def test_a_later_batch_of_another_size_is_refused() -> None:
    encoder = DualEncoder.checked(
        "mine", "0", sides(lambda given: np.ones((len(given), 3 + len(given))), np.ones((1, 4)))
    )
    with pytest.raises(EncoderError, match="gave embeddings of 6 numbers, and 4 before"):
        encoder.images(pictures())
