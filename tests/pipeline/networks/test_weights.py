"""Weights files of every format: written small, read back, fitted, and refused by name."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import WeightsError
from pipeline.networks.caffe_onnx import CAFFE, ONNX, message_class
from pipeline.networks.network import load_network
from pipeline.networks.weights import fit_state, read_weights
from pipeline.networks.zoo import KNOWN

CONVOLUTION, INNER_PRODUCT = 4, 14
"""Caffe's numbers for V1 layer types."""


def net(seed: int = 0, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, classes)
    )


def same(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in first.state_dict().items())


def parameters(module: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in module.state_dict().items() if v.is_floating_point()}


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".ckpt"])
def test_a_state_dict_comes_back(tmp_path: Path, ending: str) -> None:
    path, saved, fresh = tmp_path / f"w{ending}", net(1), net(2)
    if ending == ".safetensors":
        save_file(saved.state_dict(), path)
    else:
        torch.save(saved.state_dict(), path)
    fit_state(fresh, read_weights(path), str(path))
    assert same(saved, fresh)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module.model."])
def test_checkpoints_and_wrappers_are_seen_through(tmp_path: Path, key: str, prefix: str) -> None:
    path, saved, fresh = tmp_path / "w.pth", net(1), net(2)
    state = {prefix + name: tensor for name, tensor in saved.state_dict().items()}
    torch.save({key: state, "epoch": 7}, path)
    fit_state(fresh, read_weights(path), str(path))
    assert same(saved, fresh)


def test_other_names_are_matched_in_order_by_shape() -> None:
    saved, fresh = net(1), net(2)
    state = {f"other/{index}": v for index, v in enumerate(parameters(saved).values())}
    fit_state(fresh, state, "somewhere")
    assert same(saved, fresh)


def test_tensors_without_a_place_are_left_out_when_the_names_match() -> None:
    saved, fresh = net(1), net(2)
    fit_state(fresh, {**saved.state_dict(), "aux.weight": torch.zeros(2)}, "somewhere")
    assert same(saved, fresh)


def test_a_mismatch_names_layers_and_shapes() -> None:
    with pytest.raises(
        WeightsError, match=r"shapes: 4.weight is 5x4, expected 3x4, 4.bias is 5, expected 3; give a function"
    ):
        fit_state(net(), net(classes=5).state_dict(), "file.pth")
    state = net().state_dict()
    del state["4.weight"]
    with pytest.raises(WeightsError, match=r"file.pth .* do not match .* missing: 4.weight \(3x4\)[^;]*$"):
        fit_state(net(), state, "file.pth")
    with pytest.raises(WeightsError, match=r"unexpected: extra \(2\)"):
        fit_state(net(), {**state, "extra": torch.zeros(2)}, "file.pth")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "owned",)  # type: ignore[return-value]

    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"weight": Payload()}, protocol=2))
    with pytest.raises(WeightsError, match="cannot be read as a file of weights only"):
        read_weights(path)
    torch.save({"state_dict": net().state_dict(), "model": net()}, path)
    with pytest.raises(WeightsError, match=r"torch.save\(model.state_dict\(\), path\)"):
        read_weights(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.h5", b"x", "unknown extension '.h5', expected one of .safetensors, .pth"),
        ("w.safetensors", b"\x08\0\0\0\0\0\0\0{}", "not a complete safetensors file"),
        ("w.pth", b"PK\x03\x04cut", "cannot be read as a file of weights only"),
        ("w.pth", b"", "cannot be read as a file of weights only"),
        ("w.caffemodel", b"\xff\xff\xff", "damaged or not a .caffemodel file"),
        ("w.caffemodel", b"", "contains no layers with weights"),
        ("w.onnx", b"\xff\xff\xff", "damaged or not a .onnx file"),
        ("w.onnx", b"", "contains no floating-point initialisers"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / name)


def test_a_missing_file_and_a_file_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pth does not exist"):
        read_weights(tmp_path / "none.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(WeightsError, match="contains a Tensor, expected a dictionary"):
        read_weights(tmp_path / "tensor.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="contains no tensors, only epoch"):
        read_weights(tmp_path / "empty.pth")


def write_caffe(path: Path, state: dict[str, Tensor], *, v1: bool, legacy: bool = False) -> None:
    """`LAYER.weight` and `LAYER.bias` tensors as a Caffe model."""
    model = message_class(CAFFE)(name="net")
    layers: dict[str, Any] = {}
    for name, tensor in state.items():
        layer_name = name.rpartition(".")[0]
        if layer_name not in layers:
            layers[layer_name] = (model.layers if v1 else model.layer).add(name=layer_name)
            inner = tensor.dim() == 2
            layers[layer_name].type = (
                (INNER_PRODUCT if inner else CONVOLUTION)
                if v1
                else ("InnerProduct" if inner else "Convolution")
            )
        blob = layers[layer_name].blobs.add(data=[tensor.numpy().astype("<f4").tobytes()])
        if legacy:
            shape = [1] * (4 - tensor.dim()) + list(tensor.shape)
            blob.num, blob.channels, blob.height, blob.width = shape
        else:
            blob.shape.dim.extend(tensor.shape)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(("v1", "legacy"), [(True, True), (True, False), (False, False)])
def test_caffe_models_come_back(tmp_path: Path, v1: bool, legacy: bool) -> None:
    torch.manual_seed(0)
    state = {
        "conv1.weight": torch.randn(4, 3, 7, 7),
        "conv1.bias": torch.randn(4),
        "inception_3a/1x1.weight": torch.randn(1, 4, 1, 1),
        "fc8.weight": torch.randn(5, 4),
        "fc8.bias": torch.randn(5),
    }
    write_caffe(tmp_path / "net.caffemodel", state, v1=v1, legacy=legacy)
    read = read_weights(tmp_path / "net.caffemodel")
    assert list(read) == list(state)
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


def test_a_cut_caffe_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    write_caffe(path, {"fc.weight": torch.randn(50, 40)}, v1=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"damaged or not a .caffemodel file"):
        read_weights(path)
    model = message_class(CAFFE)()
    model.layer.add(name="fc").blobs.add(data=[b"\0" * 40]).shape.dim.extend([3, 4])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match=r"fc.weight, contains 10 numbers, its shape \(3, 4\)"):
        read_weights(path)


def test_packed_floats_are_what_protobuf_writes(tmp_path: Path) -> None:
    """The trick of declaring packed numbers as bytes, against a real float field."""
    schema = {
        "Net": {"layer": (100, "*Layer")},
        "Layer": {"name": (1, "string"), "blobs": (7, "*Blob")},
        "Blob": {"data": (5, "*float"), "shape": (7, "Shape")},
        "Shape": {"dim": (1, "*int64")},
    }
    model = message_class(schema)()
    blob = model.layer.add(name="fc").blobs.add(data=[1.5, -2.0, 3.25])
    blob.shape.dim.append(3)
    packed = model.SerializeToString()
    # proto2 leaves numbers unpacked unless told; caffe.proto says packed: same bytes, other header.
    numbers = np.array([1.5, -2.0, 3.25], "<f4").tobytes()
    unpacked = b"".join(b"\x2d" + numbers[index : index + 4] for index in range(0, 12, 4))
    assert unpacked in packed
    data = packed.replace(unpacked, b"\x2a\x0c" + numbers)
    shorter = bytearray(data)
    # The lengths of the messages around it: three headers of one byte become one of two.
    shorter[shorter.index(b"\x3a") + 1] -= 1
    shorter[2] -= 1
    (tmp_path / "net.caffemodel").write_bytes(bytes(shorter))
    read = read_weights(tmp_path / "net.caffemodel")
    assert torch.equal(read["fc.weight"], torch.tensor([1.5, -2.0, 3.25]))


def write_onnx(path: Path, state: dict[str, np.ndarray], *, raw: bool = True) -> None:
    model = message_class(ONNX)()
    numbers = {"float32": 1, "float16": 10, "float64": 11, "int64": 7}
    for name, array in state.items():
        tensor = model.graph.initializer.add(name=name, data_type=numbers[str(array.dtype)])
        tensor.dims.extend(array.shape)
        if raw:
            tensor.raw_data = array.tobytes()
        elif array.dtype == np.float64:
            tensor.double_data.append(array.tobytes())
        else:
            tensor.float_data.append(array.tobytes())
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_onnx_initialisers_come_back(tmp_path: Path, raw: bool, kind: str) -> None:
    saved, fresh = net(1), net(2)
    state = {name: tensor.numpy().astype(kind) for name, tensor in parameters(saved).items()}
    state["shape of a reshape"] = np.array([1, -1], np.int64)
    write_onnx(tmp_path / "net.onnx", state, raw=raw or kind == "int64")
    read = read_weights(tmp_path / "net.onnx")
    assert "shape of a reshape" not in read
    fit_state(fresh, read, "net.onnx")
    assert same(saved, fresh)


def test_onnx_with_its_tensors_elsewhere_is_refused(tmp_path: Path) -> None:
    model = message_class(ONNX)()
    model.graph.initializer.add(name="w", data_type=1, data_location=1).dims.append(3)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="stores w in another file"):
        read_weights(tmp_path / "net.onnx")


def test_without_protobuf_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(WeightsError, match=r"pip install 'maxact\[caffe\]'"):
        read_weights(tmp_path / "net.onnx")


def caffe_name(name: str) -> str:
    """A name of our GoogLeNet as Caffe's model has it."""
    layer, _, part = name.rpartition(".")
    stem = {
        "conv1": "conv1/7x7_s2",
        "conv2_reduce": "conv2/3x3_reduce",
        "conv2": "conv2/3x3",
        "classifier": "loss3/classifier",
    }
    return f"{stem.get(layer, layer.replace('.', '/'))}.{part}"


def test_caffes_googlenet_is_loaded_by_its_own_names(tmp_path: Path) -> None:
    expected = load_network("googlenet_caffe", weights="random", seed=3)
    state = {caffe_name(name): tensor for name, tensor in expected.module.state_dict().items()}
    assert "inception_4c/5x5_reduce.weight" in state
    auxiliary = {"loss1/fc.weight": torch.zeros(2, 2)}
    shuffled = dict(sorted((auxiliary | state).items(), key=lambda item: item[0].rpartition(".")[0]))
    write_caffe(tmp_path / "bvlc_googlenet.caffemodel", shuffled, v1=True, legacy=True)
    path = tmp_path / "bvlc_googlenet.caffemodel"
    assert load_network("googlenet_caffe", weights=path).digest == expected.digest


def test_lucids_inception_is_loaded_by_the_names_of_its_conversions(tmp_path: Path) -> None:
    expected = load_network("inception_v1", weights="random", seed=3)
    foreign = {"3x3_reduce": "3x3_bottleneck", "5x5_reduce": "5x5_bottleneck"}
    foreign["pool_proj"] = "pool_reduce"
    state = {}
    for name, tensor in expected.module.state_dict().items():
        layer, _, part = name.rpartition(".")
        block, _, inside = layer.partition(".")
        if inside:
            layer = f"{block}_{foreign.get(inside, inside)}"
        suffix = "_pre_activation_matmul" if layer == "softmax2" else "_pre_relu_conv"
        state[f"{layer}{suffix}.{part}"] = tensor
    assert "mixed4a_3x3_bottleneck_pre_relu_conv.weight" in state
    torch.save(dict(sorted(state.items())), tmp_path / "inceptionv1.pth")
    loaded = load_network("inception_v1", weights=tmp_path / "inceptionv1.pth")
    assert loaded.digest == expected.digest


@pytest.mark.thorough
@pytest.mark.slow
def test_vgg_s_is_loaded_from_a_file_of_its_real_size(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = KNOWN["vgg_s"]().build(KNOWN["vgg_s"]().preprocess).state_dict()
    state = {key: torch.zeros(shape.shape) for key, shape in shapes.items()}
    state["conv5.bias"] += 2.5
    write_caffe(tmp_path / "VGG_CNN_S.caffemodel", state, v1=True, legacy=True)
    network = load_network("vgg_s", weights=tmp_path / "VGG_CNN_S.caffemodel")
    assert all(torch.equal(state[key], t) for key, t in network.module.state_dict().items())
