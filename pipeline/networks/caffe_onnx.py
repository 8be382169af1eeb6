"""Read weights from Caffe and ONNX files.

Both formats are protocol buffers. Only the few fields that contain tensors are declared here, with
their numbers from `caffe.proto` and `onnx.proto`; all others are skipped. Packed numbers are declared
as bytes, which have the same encoding, so that half a gigabyte is read without creating a Python
object per number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import WeightsError

__all__ = ["CAFFE", "ONNX", "message_class", "read_caffemodel", "read_onnx"]

Fields = Mapping[str, tuple[int, str]]
"""Field name to its number and type; a type that starts with `*` is repeated."""

Schema = Mapping[str, Fields]
"""Message name to its fields; the first message is the file's."""

CAFFE: Schema = {
    "NetParameter": {
        "name": (1, "string"),
        "layers": (2, "*V1LayerParameter"),
        "layer": (100, "*LayerParameter"),
    },
    "V1LayerParameter": {
        "name": (4, "string"),
        "type": (5, "int32"),
        "blobs": (6, "*BlobProto"),
    },
    "LayerParameter": {
        "name": (1, "string"),
        "type": (2, "string"),
        "blobs": (7, "*BlobProto"),
    },
    "BlobProto": {
        "num": (1, "int32"),
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        "data": (5, "*bytes"),
        "shape": (7, "BlobShape"),
        "double_data": (8, "*bytes"),
    },
    "BlobShape": {"dim": (1, "*int64")},
}
"""The part of `caffe.proto` that describes weights: V1 files have `layers`, later ones `layer`."""

ONNX: Schema = {
    "ModelProto": {"graph": (7, "GraphProto")},
    "GraphProto": {"initializer": (5, "*TensorProto")},
    "TensorProto": {
        "dims": (1, "*int64"),
        "data_type": (2, "int32"),
        "float_data": (4, "*bytes"),
        "name": (8, "string"),
        "raw_data": (9, "bytes"),
        "double_data": (10, "*bytes"),
        "data_location": (14, "int32"),
    },
}
"""The part of `onnx.proto` that describes initialisers."""

INNER_PRODUCT = ("InnerProduct", 14)
"""Caffe's fully connected layer, by its name and by its number in V1 files."""

ONNX_FLOATS: Mapping[int, npt.DTypeLike] = {
    1: np.dtype("<f4"),
    10: np.dtype("<f2"),
    11: np.dtype("<f8"),
}
"""ONNX's codes of the floating-point types that can be read."""


def message_class(schema: Schema) -> Any:
    """The protobuf class of a schema's first message.

    Raises:
        WeightsError: if the protobuf package is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise WeightsError(
            "reading .caffemodel and .onnx files needs the package protobuf; "
            "run `pip install 'maxact[caffe]'`"
        ) from error
    field_class = descriptor_pb2.FieldDescriptorProto
    first = next(iter(schema))
    file = descriptor_pb2.FileDescriptorProto(name=f"maxact/{first}.proto", package="maxact", syntax="proto2")
    for name, fields in schema.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            plain = kind.removeprefix("*")
            field = message.field.add(name=field_name, number=number)
            repeated = kind.startswith("*")
            field.label = field_class.LABEL_REPEATED if repeated else field_class.LABEL_OPTIONAL
            if plain in schema:
                field.type, field.type_name = field_class.TYPE_MESSAGE, f".maxact.{plain}"
            else:
                field.type = getattr(field_class, f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"maxact.{first}"))


def _parse(path: Path, schema: Schema) -> Any:
    """Parse a file.

    Raises:
        WeightsError: if the file is truncated or has another format.
    """
    from google.protobuf.message import DecodeError

    message = message_class(schema)()
    try:
        message.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise WeightsError(f"{path} is damaged or not a {path.suffix} file: {error}") from error
    return message


def _tensor(chunks: Sequence[bytes], kind: npt.DTypeLike, shape: Sequence[int], where: str) -> Tensor:
    """Convert packed little-endian numbers to a float32 tensor.

    Raises:
        WeightsError: if the shape does not match the count of numbers.
    """
    data = b"".join(chunks)
    if len(data) % np.dtype(kind).itemsize:
        raise WeightsError(f"{where} ends inside a number; the file is damaged")
    numbers = np.frombuffer(data, dtype=kind)
    if numbers.size != math.prod(shape):
        raise WeightsError(
            f"{where} contains {numbers.size} numbers, its shape {tuple(shape)} requires "
            f"{math.prod(shape)}; the file is damaged"
        )
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, as in any float32 file
        return torch.from_numpy(numbers.astype(np.float32).reshape(tuple(shape)))


def _blob(blob: Any, kind: str | int, index: int, where: str) -> Tensor:
    """Read one tensor of a Caffe layer: its weight (index 0), its bias (1) or another."""
    shape = list(blob.shape.dim)
    if not shape:
        shape = [blob.num, blob.channels, blob.height, blob.width]
        if index > 0:
            shape = [math.prod(shape)]
        elif kind in INNER_PRODUCT:
            shape = shape[2:]
    if blob.double_data:
        return _tensor(blob.double_data, np.dtype("<f8"), shape, where)
    return _tensor(blob.data, np.dtype("<f4"), shape, where)


def read_caffemodel(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a Caffe model, V1 or later: `LAYER.weight`, `LAYER.bias`, `LAYER.blob2` ...

    Raises:
        WeightsError: if it is damaged or contains no layers with weights.
    """
    net = _parse(path, CAFFE)
    state = {}
    for layer in [*net.layers, *net.layer]:
        for index, blob in enumerate(layer.blobs):
            name = f"{layer.name}.{('weight', 'bias')[index] if index < 2 else f'blob{index}'}"
            state[name] = _blob(blob, layer.type, index, f"{path}, {name},")
    if not state:
        raise WeightsError(f"{path} contains no layers with weights; is it a .caffemodel file?")
    return state


def read_onnx(path: Path) -> dict[str, Tensor]:
    """Read the floating-point initialisers of an ONNX model, by name, in the file's order.

    Raises:
        WeightsError: if it is damaged, stores its tensors in other files, or contains none.
    """
    state = {}
    for tensor in _parse(path, ONNX).graph.initializer:
        if tensor.data_location:
            raise WeightsError(
                f"{path} stores {tensor.name} in another file; save the model with its weights "
                "inside (onnx.save_model(..., save_as_external_data=False))"
            )
        kind = ONNX_FLOATS.get(tensor.data_type)
        if kind is None:
            continue
        chunks = [tensor.raw_data] if tensor.raw_data else tensor.float_data or tensor.double_data
        state[tensor.name] = _tensor(chunks, kind, tensor.dims, f"{path}, {tensor.name},")
    if not state:
        raise WeightsError(f"{path} contains no floating-point initialisers; is it an .onnx file?")
    return state
