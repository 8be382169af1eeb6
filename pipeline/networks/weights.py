"""Weights files: read without running what they contain, fitted to a network by name or in order.

A reader gives a state: tensors by name, in the file's order. `fit_state` puts it into a module.
Pickled files are read with torch's weights-only unpickler, which builds tensors and nothing else.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import WeightsError

__all__ = ["FORMATS", "State", "fit_state", "read_weights"]

State = dict[str, Tensor]
"""Tensors by name, in the order of their file."""

NESTED_KEYS = ("state_dict", "model", "model_state_dict", "module", "net")
"""Where training scripts put the weights inside a larger checkpoint."""

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")
"""What wrappers (data parallel, torch.compile, training frameworks) put before every name."""

COUNTERS = "num_batches_tracked"
"""The end of names that batch norm keeps for training only; older files lack them."""


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}") from error


def _read_torch(path: Path) -> State:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path} cannot be read as weights alone: {reason}; "
            "save it as `torch.save(model.state_dict(), path)` or as safetensors"
        ) from error
    for key in NESTED_KEYS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, not a dictionary of tensors")
    state = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    if not state:
        raise WeightsError(f"{path} holds no tensors, only {', '.join(map(str, loaded)) or 'air'}")
    return state


def _read_caffemodel(path: Path) -> State:
    from pipeline.networks.caffe_onnx import read_caffemodel

    return read_caffemodel(path)


def _read_onnx(path: Path) -> State:
    from pipeline.networks.caffe_onnx import read_onnx

    return read_onnx(path)


FORMATS: Mapping[str, Callable[[Path], State]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
    ".ckpt": _read_torch,
    ".caffemodel": _read_caffemodel,
    ".onnx": _read_onnx,
}
"""The reader of each file ending."""


def read_weights(path: Path) -> State:
    """Read the tensors of a weights file.

    Args:
        path: its ending says the format, see `FORMATS`.

    Raises:
        WeightsError: when it is missing, of an unknown format, damaged, or holds no tensors.
    """
    if not path.is_file():
        raise WeightsError(f"weights {path} are not there; give --weights a file, or `random`")
    reader = FORMATS.get(path.suffix.lower())
    if reader is None:
        raise WeightsError(
            f"weights {path}: unknown ending {path.suffix!r}, expected one of {', '.join(FORMATS)}"
        )
    return reader(path)


def _plain(name: str) -> str:
    """A name without what wrappers put before it."""
    stripped = True
    while stripped:
        stripped = False
        for prefix in WRAPPER_PREFIXES:
            if name.startswith(prefix):
                name, stripped = name.removeprefix(prefix), True
    return name


def _by_name(wanted: Mapping[str, Tensor], state: State) -> State | None:
    """The state under the module's names, or None when the names are another convention's."""
    needed = {name for name in wanted if not name.endswith(COUNTERS)}
    if needed <= state.keys():
        return {name: state[name] for name in wanted if name in state}
    plain = {_plain(name): tensor for name, tensor in state.items()}
    wanted_plain = {_plain(name): name for name in wanted}
    unambiguous = len(plain) == len(state) and len(wanted_plain) == len(wanted)
    if unambiguous and {_plain(name) for name in needed} <= plain.keys():
        return {wanted_plain[name]: plain[name] for name in wanted_plain if name in plain}
    return None


def _in_order(wanted: Mapping[str, Tensor], state: State) -> State | None:
    """The state matched one by one in order, or None when a count or a shape differs."""
    wanted_names = [name for name in wanted if not name.endswith(COUNTERS)]
    tensors = [tensor for name, tensor in state.items() if not name.endswith(COUNTERS)]
    if len(wanted_names) != len(tensors):
        return None
    pairs = list(zip(wanted_names, tensors, strict=True))
    if any(wanted[name].shape != tensor.shape for name, tensor in pairs):
        return None
    return dict(pairs)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _listed(items: list[str], *, shown: int = 4) -> str:
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more


def _difference(wanted: Mapping[str, Tensor], state: State) -> str:
    """What does not fit, by layer name and shape."""
    plain = {_plain(name): tensor for name, tensor in state.items()}
    missing = [
        f"{name} ({_shape(tensor)})"
        for name, tensor in wanted.items()
        if _plain(name) not in plain and not name.endswith(COUNTERS)
    ]
    known = {_plain(name) for name in wanted}
    unexpected = [f"{name} ({_shape(tensor)})" for name, tensor in plain.items() if name not in known]
    shapes = [
        f"{name} is {_shape(plain[_plain(name)])}, expected {_shape(tensor)}"
        for name, tensor in wanted.items()
        if _plain(name) in plain and plain[_plain(name)].shape != tensor.shape
    ]
    parts = [
        f"{label}: {_listed(items)}"
        for label, items in (("shapes", shapes), ("missing", missing), ("not wanted", unexpected))
        if items
    ]
    return "; ".join(parts)


def fit_state(module: nn.Module, state: State, origin: str) -> None:
    """Put a state into a module, matched by name, else one by one in order and by shape.

    Training-only counters of batch norm may be missing; tensors the module has no place for are
    left out only when the names match (auxiliary classifiers).

    Args:
        module: changed in place.
        state: as read from a file.
        origin: where it came from, for the message.

    Raises:
        WeightsError: names the layers and shapes that do not fit.
    """
    wanted = module.state_dict()
    fitted = _by_name(wanted, state) or _in_order(wanted, state) or {}
    if not fitted or any(wanted[name].shape != tensor.shape for name, tensor in fitted.items()):
        raise WeightsError(
            f"weights {origin} ({len(state)} tensors) do not fit the network ({len(wanted)}): "
            f"{_difference(wanted, state)}"
        )
    module.load_state_dict({**wanted, **fitted})
