"""Modules of every kind that users bring: each works as plain hooks do, or is refused in one line."""

from __future__ import annotations

import copy
import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from pipeline.errors import LayerError, MaxactError, NetworkError, RenderError
from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.networks.network import Network, load_network, noise_input
from pipeline.stream.loop import place_module
from pipeline.stream.probes import Peaks, Probes
from viz.recipes.catalog import get_recipe
from viz.render.render_units import render_units

SIDE = 16

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.ao.quantization:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def seeded(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def small(**changes: nn.Module) -> nn.Sequential:
    parts: dict[str, nn.Module] = {
        "stem": nn.Conv2d(3, 6, 3, padding=1),
        "act": nn.ReLU(),
        "conv": nn.Conv2d(6, 8, 3, 2, 1),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "head": nn.Linear(8, 5),
    }
    module = nn.Sequential()
    for name, part in (parts | changes).items():
        module.add_module(name, part)
    return seeded(module)


def discard(output: Tensor) -> None:
    """No output at all."""


class Forward(nn.Module):
    """`small`, with a forward pass of one's own."""

    def __init__(self, run: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.run = run
        self.net = small()

    def forward(self, images: Tensor) -> Any:
        return self.run(self.net, images)


class Sometimes(nn.Module):
    """`extra` runs for bright images only."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.extra = small(), seeded(nn.Linear(5, 5))

    def forward(self, images: Tensor) -> Tensor:
        output = self.net(images)
        return self.extra(output) if images.mean() > 0.5 else output


class Hooked(nn.Module):
    """`side` runs only in a hook of `net`."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.side = small(), seeded(nn.Linear(5, 4))
        self.net.register_forward_hook(lambda module, inputs, output: discard(self.side(output)))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


class Standardised(nn.Module):
    """Divides by the deviation of the image, 0 for a grey one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small()

    def forward(self, images: Tensor) -> Tensor:
        centred = images - images.mean((1, 2, 3), keepdim=True)
        return self.net(centred / centred.square().mean((1, 2, 3), keepdim=True).sqrt())


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        seeded(self)

    def forward(self, images: Tensor) -> Tensor:
        values = self.stem(images)
        for _ in range(3):
            values = self.again(values).tanh()
        return values.mean((2, 3))


def static_quantised() -> nn.Module:
    import torch.ao.quantization as quantization

    torch.backends.quantized.engine = "onednn"
    module = nn.Sequential(quantization.QuantStub(), *small(), quantization.DeQuantStub()).eval()
    module.qconfig = quantization.get_default_qconfig("onednn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = quantization.prepare(module)
        prepared(torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
        return quantization.convert(prepared)


def dynamic_quantised() -> nn.Module:
    import torch.ao.quantization as quantization

    torch.backends.quantized.engine = "onednn"
    return quantization.quantize_dynamic(small(), {nn.Linear}, dtype=torch.qint8)


def exported(batch: int = 2, *, dynamic: bool = True) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    return torch.export.export(small(), (torch.randn(batch, 3, SIDE, SIDE),), dynamic_shapes=shapes)


def in_place_compiled() -> nn.Module:
    module = small()
    module.compile()
    return module


def with_compiled_part() -> nn.Module:
    module = small()
    module.conv = torch.compile(module.conv)
    return module


def pruned() -> nn.Module:
    import torch.nn.utils.prune as prune

    module = small()
    prune.l1_unstructured(module.conv, "weight", 0.4)
    return module


def old_weight_norm() -> nn.Module:
    return small(conv=torch.nn.utils.weight_norm(nn.Conv2d(6, 8, 3, 2, 1)))


def scripted_part() -> nn.Module:
    return small(act=torch.jit.script(nn.ReLU()))


def checkpointed() -> nn.Module:
    from torch.utils.checkpoint import checkpoint

    return Forward(lambda net, images: checkpoint(net, images, use_reentrant=False))


WORKS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "plain": (small, ("conv", "head")),
    "half": (lambda: small().half(), ("conv", "head")),
    "bf16": (lambda: small().bfloat16(), ("conv", "head")),
    "double": (lambda: small().double(), ("conv", "head")),
    "compiled": (lambda: torch.compile(small()), ("conv", "head")),
    "compiled in place": (in_place_compiled, ("conv", "head")),
    "a compiled part": (with_compiled_part, ("conv", "head")),
    "data parallel": (lambda: nn.DataParallel(small()), ("conv", "head")),
    "data parallel and compiled": (lambda: torch.compile(nn.DataParallel(small())), ("conv",)),
    "training mode": (lambda: small(norm=nn.BatchNorm1d(5)).train(), ("norm",)),
    "weight norm": (lambda: small(conv=parametrizations.weight_norm(nn.Conv2d(6, 8, 3))), ("conv",)),
    "old weight norm": (old_weight_norm, ("conv",)),
    "spectral norm": (lambda: small(conv=parametrizations.spectral_norm(nn.Conv2d(6, 8, 3))), ("conv",)),
    "orthogonal": (lambda: small(head=parametrizations.orthogonal(nn.Linear(8, 5))), ("head",)),
    "pruned": (pruned, ("conv",)),
    "in place": (lambda: small(act=nn.ReLU(inplace=True)), ("stem", "conv")),
    "shared": (Shared, ("again@1", "again@3", "stem")),
    "tuple": (lambda: Forward(lambda net, images: (net(images), None)), ("net", "net.conv")),
    "dictionary": (lambda: Forward(lambda net, images: {"logits": net(images)}), ("net.conv",)),
    "none": (lambda: Forward(lambda net, images: discard(net(images))), ("net.head",)),
    "dataclass": (lambda: Forward(lambda net, images: SimpleNamespace(out=net(images))), ("net.conv",)),
    "complex output": (lambda: Forward(lambda net, images: torch.fft.fft(net(images))), ("net.conv",)),
    "sometimes": (Sometimes, ("net.conv", "net.head")),
    "NaN on grey": (Standardised, ("net.stem", "net.conv")),
    "checkpointed": (checkpointed, ("net.conv",)),
    "fx graph": (lambda: torch.fx.symbolic_trace(small()), ("conv", "head")),
    "scripted": (lambda: torch.jit.script(small()), ("output",)),
    "traced": (lambda: torch.jit.trace(small(), torch.randn(1, 3, SIDE, SIDE)), ("output",)),
    "frozen script": (lambda: torch.jit.freeze(torch.jit.script(small())), ("output",)),
    "a scripted part": (scripted_part, ("stem", "conv")),
    "exported program": (exported, ("conv", "head")),
    "exported graph": (lambda: exported().module(), ("output",)),
    "module dict": (lambda: Forward(lambda net, images: net(images)), ("net.stem",)),
    "buffers only": (lambda: small(head=nn.Identity()), ("head",)),
    "frozen": (lambda: small().requires_grad_(False), ("conv",)),
    "averaged": (lambda: torch.optim.swa_utils.AveragedModel(small()), ("module.conv",)),
    "copied": (lambda: copy.deepcopy(small()), ("conv",)),
}
"""A module, and layers that are probed and rendered."""


def wrap(module: Any) -> Network:
    return Network.from_module(module, Preprocess(SIDE, SIDE, SIDE))


def inputs_of(built: Network, count: int = 3) -> Tensor:
    return noise_input(built, count)


def peaks_of(built: Network, names: tuple[str, ...]) -> list[Tensor]:
    """As indexing computes them: on a copy in float32."""
    layers = choose_layers(built, names)
    assert [layer.name for layer in layers] == sorted(names, key=[each.name for each in layers].index)
    found: dict[str, Tensor] = {}

    def watch(index: int, peaks: Peaks) -> None:
        found[layers[index].name] = peaks.values.clone()

    with Probes(place_module(built, "fp32", "contiguous"), layers, watch) as probes:
        probes(inputs_of(built))
    return [found[name] for name in names]


def hooked_peaks(built: Network, names: tuple[str, ...]) -> list[Tensor]:
    """With plain hooks on the module itself."""
    outputs: dict[str, list[Tensor]] = {}
    handles = []
    for name in {name.partition("@")[0] for name in names}:

        def keep(_module: Any, _inputs: Any, output: Any, name: str = name) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            tensor = tensor.dequantize() if tensor.is_quantized else tensor
            outputs.setdefault(name, []).append(tensor.detach().clone())

        handles.append(built.module.get_submodule(name).register_forward_hook(keep))
    with torch.no_grad():
        built.module(inputs_of(built))
    for handle in handles:
        handle.remove()
    chosen = [outputs[base][int(run or 1) - 1] for base, _, run in (name.partition("@") for name in names)]
    return [tensor.flatten(2).amax(2) if tensor.dim() > 2 else tensor for tensor in chosen]


@pytest.mark.slow
@pytest.mark.parametrize("kind", WORKS)
def test_peaks_are_those_of_plain_hooks_and_four_steps_render(kind: str, tmp_path: Path) -> None:
    make, names = WORKS[kind]
    built = wrap(make())
    for found, expected in zip(peaks_of(built, names), hooked_peaks(built, names), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert float(found.std()) > 0
    (layer, *_) = choose_layers(built, names)
    (row,) = render_units(built, layer, [0], get_recipe("fourier", {"steps": "4"}), out=tmp_path)
    assert np.isfinite(row.activation)


@pytest.mark.parametrize(
    ("make", "names"), [(dynamic_quantised, ("conv", "head")), (static_quantised, ("1", "3", "7"))]
)
def test_quantised_modules_are_indexed_but_not_rendered(
    make: Callable[[], nn.Module], names: tuple[str, ...], tmp_path: Path
) -> None:
    built = wrap(make())
    assert wrap(make()).digest == built.digest
    for found, expected in zip(peaks_of(built, names), hooked_peaks(built, names), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    layer = choose_layers(built, names)[-1]
    with pytest.raises(RenderError, match="cannot be rendered: no gradient reaches the picture"):
        render_units(built, layer, [0], get_recipe("fourier", {"steps": "4"}), out=tmp_path)
    with pytest.raises(
        NetworkError, match=r"quantised network computes from float32, .* give --precision fp32"
    ):
        place_module(built, "bf16", "contiguous")


def sharded() -> nn.Module:
    module = small()
    module.__class__ = type("FullyShardedDataParallel", (nn.Sequential,), {})
    return module


REFUSED: dict[str, tuple[Callable[[], Any], tuple[str, ...], str]] = {
    "inside a script": (lambda: torch.jit.script(small()), ("conv",), "made from"),
    "complex": (lambda: small(flat=ToComplex(), head=nn.Identity()), ("flat",), "complex64; add a module"),
    "runs never": (lambda: Sometimes(), ("extra",), "extra cannot be probed: it does not run"),
    "several runs": (Shared, ("again",), r"again@1, ..., again@3 or again@last"),
    "sharded": (sharded, (), "are sharded .*; save its full state dict"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), (), "not initialised; run the lazy module once"),
    "meta": (lambda: nn.Conv2d(3, 4, 3, device="meta"), (), r"has no values \(device meta\)"),
    "not a module": (lambda: "resnet", (), "expected an nn.Module or an ExportedProgram, got str"),
    "wrong channels": (lambda: seeded(nn.Conv2d(1, 4, 3)), (), "matches the input size and channels"),
    "an error of its own": (lambda: Forward(fails), (), "failed: 'no such key'; a network must accept one"),
    "two inputs": (lambda: TwoInputs(), (), "missing 1 required positional argument: 'mask'; a network must"),
    "fixed batch": (lambda: exported(3, dynamic=False).module(), (), "one batch size; export it with"),
    "functions of a graph": (lambda: torch.fx.symbolic_trace(small()), ("relu",), "is an fx graph"),
}


def fails(net: Any, images: Tensor) -> Tensor:
    raise KeyError("no such key")


class ToComplex(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.complex(images, images).flatten(1)


class TwoInputs(nn.Module):
    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        return images * mask


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_probed_is_said_in_one_line(kind: str) -> None:
    make, names, reason = REFUSED[kind]
    with pytest.raises(MaxactError, match=reason) as caught:
        choose_layers(wrap(make()), names)
    assert "\n" not in str(caught.value)


def test_an_error_that_is_not_about_sizes_does_not_blame_the_preprocessing() -> None:
    with pytest.raises(NetworkError) as caught:
        choose_layers(wrap(Forward(fails)))
    assert "preprocessing" not in str(caught.value)


def test_a_layer_that_runs_only_in_a_hook_of_another_module_says_so() -> None:
    built = wrap(Hooked())
    layers = choose_layers(built, ["side"], receptive_fields=False)
    with (
        Probes(place_module(built, "fp32", "contiguous"), layers, lambda *_: None) as probes,
        pytest.raises(
            LayerError, match=r"\(side\); a module that runs on some inputs only, or only from a hook"
        ),
    ):
        probes(inputs_of(built))


def test_ddp_is_unwrapped(tmp_path: Path) -> None:
    import torch.distributed as distributed

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        built = wrap(nn.parallel.DistributedDataParallel(small()))
    finally:
        distributed.destroy_process_group()
    assert type(built.module) is nn.Sequential
    assert built.notes == ("the wrapper DistributedDataParallel was removed",)
    assert [layer.name for layer in choose_layers(built, ["conv"])] == ["conv"]


def test_notes_say_what_was_done() -> None:
    assert wrap(small()).notes == ()
    assert wrap(small().half()).notes == (
        "its float16 tensors were converted to float32 (--precision bf16 computes in bf16)",
    )
    assert "no hooks: only its output" in wrap(torch.jit.script(small())).notes[0]
    assert "OptimizedModule was removed" in wrap(torch.compile(small())).notes[0]


def test_the_digest_is_that_of_the_weights_as_given() -> None:
    assert wrap(small().half()).digest != wrap(small()).digest
    buffer = io.BytesIO()
    torch.save(small().state_dict(), buffer)
    buffer.seek(0)
    again = small()
    again.load_state_dict(torch.load(buffer, weights_only=True))
    assert wrap(again).digest == wrap(small()).digest


FACTORY = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d({channels}, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def program():
    return torch.export.export(make().eval(), (torch.rand(2, {channels}, 32, 32),),
        dynamic_shapes=({{0: torch.export.Dim("batch")}},))
"""


def test_grey_alone_works_for_a_network_of_one_channel(tmp_path: Path) -> None:
    (tmp_path / "grey.py").write_text(FACTORY.format(channels=1))
    built = load_network(f"{tmp_path}/grey.py:make", input=["channels=grey", "size=32"])
    assert built.preprocess.mean == (pytest.approx((123.675 + 116.28 + 103.53) / 3),)
    assert [layer.units for layer in choose_layers(built, ["0"])] == [4]
    (tmp_path / "colour.py").write_text(FACTORY.format(channels=3))
    assert len(load_network(f"{tmp_path}/colour.py:make", input=["channels=grey"]).preprocess.mean) == 3


def test_a_preprocessing_that_was_assumed_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FACTORY.format(channels=3))
    built = load_network(f"{tmp_path}/mine.py:make", input=["size=32"])
    (note,) = built.notes
    assert (
        "returns no Preprocess, so that ImageNet's is used where --input says nothing: 32x32 rgb pixels"
        in note
    )
    assert "mean 123.675 116.28 103.53" in note
    program = load_network(f"{tmp_path}/mine.py:program", input=["size=32"])
    assert [layer.name for layer in choose_layers(program, ["0"])] == ["0"]
    assert "made from an exported program" in program.notes[1]
    assert "dynamic_shapes" in program.limit


def test_onnx_files_say_how_they_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NetworkError, match=r"missing\.onnx does not exist"):
        load_network(str(tmp_path / "missing.onnx"))
    (tmp_path / "net.onnx").write_bytes(b"")
    for name in ("onnx", "onnx2torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NetworkError, match=r"run `pip install onnx2torch`, or give the module") as caught:
        load_network(str(tmp_path / "net.onnx"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((0, 3, 16, 24), (16, 24, "rgb")),
        ((0, 1, 16, 24), (16, 24, "grey")),
        ((0, 3, 0, 0), (224, 224, "rgb")),
        ((0, 3), (224, 224, "rgb")),
    ],
)
def test_onnx_files_are_converted_where_the_package_is_installed(
    sizes: tuple[int, ...], expected: tuple[int, int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for both packages, which the test environment lacks."""
    shape = SimpleNamespace(dim=[SimpleNamespace(dim_value=value) for value in sizes])
    kind = SimpleNamespace(tensor_type=SimpleNamespace(shape=shape))
    graph = SimpleNamespace(graph=SimpleNamespace(input=[SimpleNamespace(type=kind)]))
    onnx, onnx2torch = ModuleType("onnx"), ModuleType("onnx2torch")
    onnx.load, onnx2torch.convert = (lambda path: graph), (lambda found: small())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnx", onnx)
    monkeypatch.setitem(sys.modules, "onnx2torch", onnx2torch)
    (tmp_path / "net.onnx").write_bytes(b"")
    built = load_network(str(tmp_path / "net.onnx"))
    found = built.preprocess
    assert (found.height, found.width, found.channels) == expected
    assert len(found.mean) == len(found.std) == (1 if expected[2] == "grey" else 3)
    if sizes == (0, 3, 16, 24):
        assert [layer.grid_w for layer in choose_layers(built, ["stem"])] == [24]

    def fail(graph: object) -> None:
        raise NotImplementedError("Converter is not implemented (Loop, 16)\n")

    onnx2torch.convert = fail  # type: ignore[attr-defined]
    with pytest.raises(
        NetworkError, match=r"cannot be converted from ONNX: Converter .*\(Loop, 16\); give the"
    ):
        load_network(str(tmp_path / "net.onnx"))
