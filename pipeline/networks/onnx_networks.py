"""ONNX files as networks: converted to modules by the package onnx2torch."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.errors import NetworkError, UnknownNetwork
from pipeline.images.preprocess import Preprocess
from pipeline.networks.blueprint import Blueprint

__all__ = ["onnx_blueprint"]


def onnx_blueprint(name: str) -> Blueprint:
    """The blueprint of a network in an ONNX file, with the size of its input.

    Args:
        name: path of the file.

    Raises:
        UnknownNetwork: if there is no such file.
        NetworkError: if the package is missing, or the file cannot be converted.
    """
    path = Path(name)
    if not path.is_file():
        raise UnknownNetwork(f"network {name} does not exist; give the path of an .onnx file")
    try:
        onnx, onnx2torch = importlib.import_module("onnx"), importlib.import_module("onnx2torch")
    except ImportError as error:
        raise NetworkError(
            f"network {name}: ONNX files are converted by the package onnx2torch; "
            "run `pip install onnx2torch`, or give the module that it was exported from, with --weights for "
            "this file"
        ) from error
    try:
        graph = onnx.load(str(path))
        module: nn.Module = onnx2torch.convert(graph)
    except Exception as error:  # the libraries raise almost anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise NetworkError(
            f"network {name} cannot be converted from ONNX: {reason}; give the module that it was exported "
            "from, with --weights for this file"
        ) from error
    preprocess = _preprocess(graph)
    return Blueprint(
        name=name,
        build=lambda _: module,
        publish=lambda _: (module, f"in {name}"),
        source="the file",
        preprocess=preprocess,
        assumed=f"{name} says nothing of its preprocessing but the size",
    )


def _preprocess(graph: Any) -> Preprocess:
    """ImageNet's preprocessing in the size of a graph's input, where it is fixed."""
    sizes = [dimension.dim_value for dimension in graph.graph.input[0].type.tensor_type.shape.dim]
    if len(sizes) != 4 or not all(sizes[1:]):
        return Preprocess()
    _, channels, height, width = sizes
    usual = Preprocess(height, width, max(height, width))
    if channels != 1:
        return usual
    mean, std = (sum(numbers) / len(numbers) for numbers in (usual.mean, usual.std))
    return Preprocess(height, width, max(height, width), mean=(mean,), std=(std,), channels="grey")
