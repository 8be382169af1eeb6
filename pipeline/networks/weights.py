"""Read weights files safely, and load them into a network by name or in order.

A reader returns a state: tensors by name, in the file's order. `fit_state` loads it into a module.
Pickled files are read with torch's weights-only unpickler, which does not execute code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import MissingWeights, WeightsError

__all__ = ["FORMATS", "State", "fit_state", "read_weights"]

State = dict[str, Tensor]
"""Tensors by name, in the order of the file."""

NESTED_KEYS = ("state_dict", "model", "model_state_dict", "module", "net")
"""Keys of the weights in checkpoints that contain more than weights."""

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")
"""Prefixes that wrappers (data parallel, torch.compile, training frameworks) add to every name."""

COUNTERS = "num_batches_tracked"
"""Suffix of the counters that batch norm uses only in training; older files lack them."""


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a complete safetensors file: {error}") from error


def _read_torch(path: Path) -> State:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of damaged data before it fails
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise WeightsError(
            f"{path} asks for more memory than there is; it is damaged or too large"
        ) from error
    except Exception as error:  # the unpickler raises almost anything on damaged data
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path} cannot be read as a file of weights only: {reason}; "
            "save it as `torch.save(model.state_dict(), path)` or as safetensors"
        ) from error
    for key in NESTED_KEYS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} contains a {type(loaded).__name__}, expected a dictionary of tensors")
    state = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    if not state:
        keys = f", only {', '.join(map(str, loaded))}" if loaded else ""
        raise WeightsError(f"{path} contains no tensors{keys}")
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
"""The reader for each file extension."""


def read_weights(path: Path) -> State:
    """Read the tensors of a weights file.

    Args:
        path: its extension determines the format, see `FORMATS`.

    Raises:
        WeightsError: if it is missing, of an unknown format, damaged, or contains no tensors.
    """
    if not path.is_file():
        raise MissingWeights(f"weights file {path} does not exist; give --weights FILE or --weights random")
    reader = FORMATS.get(path.suffix.lower())
    if reader is None:
        raise MissingWeights(
            f"weights {path}: unknown extension {path.suffix!r}, expected one of {', '.join(FORMATS)}"
        )
    return reader(path)


def _plain(name: str) -> str:
    """A name without the prefixes of wrappers."""
    stripped = True
    while stripped:
        stripped = False
        for prefix in WRAPPER_PREFIXES:
            if name.startswith(prefix):
                name, stripped = name.removeprefix(prefix), True
    return name


def _by_name(wanted: Mapping[str, Tensor], state: State) -> State | None:
    """The state under the module's names, or None if the names follow another convention."""
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
    """The state matched to the module one by one in order, or None if a count or a shape differs."""
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
    """Describe which names and shapes do not match."""
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
        for label, items in (("shapes", shapes), ("missing", missing), ("unexpected", unexpected))
        if items
    ]
    return "; ".join(parts)


def fit_state(module: nn.Module, state: State, origin: str) -> None:
    """Load a state into a module, matched by name, or else one by one in order with equal shapes.

    Counters of batch norms may be missing. Additional tensors, such as those of auxiliary
    classifiers, are ignored if all names of the module match.

    Args:
        module: changed in place.
        state: as read from a file.
        origin: source of the state, for the error message.

    Raises:
        WeightsError: names the layers and shapes that do not match.
    """
    wanted = module.state_dict()
    fitted = _by_name(wanted, state) or _in_order(wanted, state) or {}
    if not fitted or any(wanted[name].shape != tensor.shape for name, tensor in fitted.items()):
        difference = _difference(wanted, state)
        if difference.startswith("shapes: ") and "; " not in difference:
            difference += "; give a function that builds the network of the file, --network FILE.py:FUNCTION"
        raise WeightsError(
            f"weights {origin} ({len(state)} tensors) do not match the network ({len(wanted)}): {difference}"
        )
    module.load_state_dict({**wanted, **fitted})
