"""What only a GPU can show: the same tables from dense, asynchronous updates."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.images.decode import decode
from pipeline.images.nvjpeg import BatchDecoder, BatchImage, find_nvjpeg
from pipeline.images.preprocess import Preprocess
from pipeline.runs.run import run_index
from pipeline.stream.memory import move
from tests.fixtures.runs import config, rows
from tests.fixtures.tiny import tiny_network, write_tars

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.needs_cuda
@needs_cuda
def test_a_gpu_gives_the_lists_of_a_cpu(tmp_path: Path) -> None:
    tars = write_tars(tmp_path / "data", [40, 30])
    for device in ("cpu", "cuda"):
        run_index(config(tars, tmp_path / device, device=device), network=tiny_network())
    for table in ("top", "histograms", "strata"):
        assert rows(tmp_path / "cuda", table) == rows(tmp_path / "cpu", table)


@pytest.mark.needs_cuda
@needs_cuda
def test_moved_tensors_arrive_whole() -> None:
    device = torch.device("cuda")
    batches = [torch.full((64, 3, 64, 64), number, dtype=torch.uint8) for number in range(20)]
    moved = [move(batch, device) for batch in batches]
    assert [int(batch.float().mean()) for batch in moved] == list(range(20))


@pytest.mark.needs_cuda
@needs_cuda
def test_nvjpeg_gives_nearly_the_pixels_of_pil() -> None:
    rows, columns = np.mgrid[:375, :500]
    pixels = np.stack((rows / 2, columns / 2, (rows + columns) / 4), -1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    preprocess = Preprocess()
    decoder = BatchDecoder(preprocess, torch.device("cuda"), find_nvjpeg())
    for found in decoder.decode([stream.getvalue()] * 70):
        assert isinstance(found, BatchImage)
        assert found.pixels.is_cuda
        off = found.pixels.cpu().int() - decode(stream.getvalue(), preprocess).int()
        assert off.abs().float().mean() < 1


def test_on_a_cpu_nothing_is_copied() -> None:
    tensor = torch.arange(5)
    assert move(tensor, torch.device("cpu")).data_ptr() == tensor.data_ptr()
