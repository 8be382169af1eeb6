"""Limits on what a dataset may hold, and disks and libraries that fail: each is said, or a row of errors."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import content, demo, files, folder, parquet, tar, tar_members
from pipeline.data.content import text_problem
from pipeline.data.dataset import BadSample, Dataset, Sample, open_dataset
from pipeline.data.demo import MANIFEST, build_demo
from pipeline.data.demo_photographs import PHOTOGRAPHS
from pipeline.data.moved import open_moved
from pipeline.data.shard import Shard
from pipeline.errors import MissingSource, ShardError, SourceError, UsageError
from tests.fixtures.corpus import PNG, named
from tests.fixtures.corpus import parquet as write_parquet
from tests.fixtures.corpus import tar as write_tar


def read(path: Path | Sequence[str]) -> list[Sample | BadSample]:
    """All samples of a dataset."""
    data = [str(path)] if isinstance(path, Path) else path
    return [sample for shard in open_dataset(data).shards for sample in shard.samples()]


def kinds(path: Path) -> list[str]:
    return [sample.kind if isinstance(sample, BadSample) else "image" for sample in read(path)]


def test_a_dataset_without_a_path_is_refused() -> None:
    with pytest.raises(UsageError, match="the data has an empty path; write . for the current folder"):
        open_dataset([""])
