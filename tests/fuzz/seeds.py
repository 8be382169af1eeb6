"""Small valid inputs of every reader, from which mutants are made."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save

from pipeline.networks.caffe_onnx import CAFFE, ONNX, message_class
from tests.fixtures.corpus import IMAGE, JPEG, PNG, bad_files, encoded, exif, good_files, picture

__all__ = [
    "caffemodels",
    "concept_tables",
    "concepts",
    "images",
    "jpegs",
    "masks",
    "onnxs",
    "parquets",
    "peaks",
    "pickles",
    "safetensors",
    "tars",
]

MAX_IMAGE_BYTES = 20_000


def tars() -> list[bytes]:
    notes = json.dumps({"label": "cat", "origin": "photo", "\ud800": [[1]]}).encode()
    members = {"a/1.png": PNG, "a/1.json": notes, "a/2.jpg": JPEG, "a/2.cls": b"dog"}
    odd = {"label": "\ud800", "origin": "\udfff"}
    return [
        _archive(members, tarfile.USTAR_FORMAT),
        _archive(members, tarfile.GNU_FORMAT),
        _archive(
            {"n" * 200 + ".png": PNG, "ü/1.png": PNG, "ü/1.json": json.dumps(odd).encode()},
            tarfile.PAX_FORMAT,
            pax_headers={"path": "long", "GNU.sparse.major": "1", "size": "12", "mtime": "1.5"},
        ),
        _archive({"x" * 150 + ".png": PNG, "y.json": b"[" * 3000}, tarfile.GNU_FORMAT),
    ]


def _archive(members: Mapping[str, bytes], format: int, **fields: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def parquets() -> list[bytes]:
    features = {"label": {"names": ["cat", "dog", "\ud800"], "_type": "ClassLabel"}}
    notes = {"huggingface": json.dumps({"info": {"features": features}})}
    deep = {"huggingface": "[" * 20_000}
    images = [{"bytes": data, "path": name} for name, data in (("a.png", PNG), ("b.jpg", JPEG))] * 3
    bad_text = pa.StringArray.from_buffers(
        2, pa.py_buffer(np.array([0, 1, 3], np.int32)), pa.py_buffer(b"\xff\xfe\xfd")
    )
    labelled = pa.table({"image": pa.array(images, IMAGE), "label": [0, 1, 2, -1, None, 7]})
    tables = [
        labelled.replace_schema_metadata(notes),
        pa.table({"image": [PNG, None, PNG]}).replace_schema_metadata(deep),
        pa.table({"image": [PNG, JPEG], "label": bad_text}),
        pa.table({"left": pa.array(images, IMAGE), "right": pa.array(images, IMAGE)}),
        pa.table({"image": [PNG] * 40, "label": pa.array(["a", "b"] * 20).dictionary_encode()}),
    ]
    found = []
    for table in tables:
        for compression in ("none", "snappy", "zstd"):
            file = io.BytesIO()
            pq.write_table(table, file, compression=compression, row_group_size=3)
            found.append(file.getvalue())
    return found


def jpegs() -> list[bytes]:
    small = picture(size=(24, 16))
    return [
        encoded(small, "JPEG", quality=60),
        encoded(small, "JPEG", progressive=True, exif=exif(6)),
        encoded(small, "JPEG", restart_marker_blocks=1, subsampling=0),
        encoded(small.convert("L"), "JPEG", progressive=True),
        encoded(small.convert("CMYK"), "JPEG"),
        JPEG,
    ]


def images() -> list[bytes]:
    every = [data for _, data, _ in (*good_files(), *bad_files())]
    return [data for data in every if 0 < len(data) < MAX_IMAGE_BYTES]


def caffemodels() -> list[bytes]:
    found = []
    for kind, field in (("Convolution", "layer"), (14, "layers")):
        net = message_class(CAFFE)(name="net")
        for shape in ((4, 3, 3, 3), (4,)):
            layer = getattr(net, field).add(name="conv", type=kind)
            for values in (np.arange(np.prod(shape), dtype="<f4"), np.arange(shape[0], dtype="<f4")):
                blob = layer.blobs.add(data=[values.tobytes()])
                blob.shape.dim.extend([values.size])
                blob.num, blob.channels, blob.height, blob.width = 1, 1, 1, values.size
        found.append(net.SerializeToString())
    return found


def onnxs() -> list[bytes]:
    model = message_class(ONNX)()
    for code, dtype in ((1, "<f4"), (10, "<f2"), (11, "<f8"), (7, "<i8")):
        values = np.arange(12).astype(dtype)
        model.graph.initializer.add(name=f"w{code}", data_type=code, dims=[3, 4], raw_data=values.tobytes())
    values = np.arange(6, dtype="<f4")
    model.graph.initializer.add(name="plain", data_type=1, dims=[6], float_data=[values.tobytes()])
    return [model.SerializeToString()]


def safetensors() -> list[bytes]:
    state = {"a.weight": torch.arange(12.0).view(3, 4), "a.bias": torch.zeros(3, dtype=torch.bfloat16)}
    return [save(state), save({"x": torch.zeros(0)}, metadata={"format": "pt"})]


def pickles() -> list[bytes]:
    found = []
    for new in (True, False):
        file = io.BytesIO()
        torch.save({"a": torch.arange(4.0)}, file, _use_new_zipfile_serialization=new)
        found.append(file.getvalue())
    return found


def peaks() -> list[bytes]:
    """Of six images and four units."""
    file = io.BytesIO()
    np.save(file, np.arange(24, dtype="<f2").reshape(1, 4, 6))
    return [file.getvalue()]


def concepts() -> list[bytes]:
    return [
        b"key,concept\na.jpg,red\nb.jpg,red\na.jpg,dog\n",
        b'key,red,"a dog"\r\na.jpg,1,true\r\nb.jpg,0,False\r\n',
    ]


def concept_tables() -> list[bytes]:
    found = []
    keys = ["a.jpg", "b.jpg"]
    for columns in ({"concept": ["red", "dog"]}, {"red": [True, False], "dog": [False, False]}):
        file = io.BytesIO()
        pq.write_table(pa.table({"key": keys, **columns}), file)
        found.append(file.getvalue())
    return found


def masks() -> list[bytes]:
    """Of three columns and two rows."""
    numbers = Image.fromarray(np.array([[0, 1, 1], [2, 2, 9]], np.uint8))
    palette = numbers.copy()
    palette.putpalette([1, 2, 3] * 10)
    wide = Image.fromarray(np.full((2, 3), 300, np.uint16))
    return [encoded(each, "PNG") for each in (numbers, palette, wide, numbers.convert("1"))]
