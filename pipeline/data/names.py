"""Names of shards and titles of datasets, derived from paths and URLs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from pipeline.data.files import basename, is_url
from pipeline.data.shard import Shard, printable
from pipeline.data.torchvision import PREFIX

__all__ = ["DEMO", "choose_title", "name_shards"]

DEMO = "demo"
"""Name of the demo dataset; write `./demo` for a folder of that name."""


def name_shards(roots: dict[str, list[Shard]]) -> list[Shard]:
    """Give each shard a name that is unique in the dataset: the shortest unambiguous end of its path."""
    short = _shorten_paths(list(roots))
    named = []
    for root, shards in roots.items():
        for shard in shards:
            name = f"{short[root]}/{shard.name}" if shard.name else short[root]
            named.append(replace(shard, name=name))
    return named


def _shorten_paths(roots: list[str]) -> dict[str, str]:
    """Map each path or URL to its last parts, as few as make all of them distinct."""
    parts = {root: printable(root.partition("?")[0]).strip("/").split("/") for root in roots}
    for length in range(1, max(len(part) for part in parts.values()) + 1):
        names = {root: "/".join(part[-length:]) for root, part in parts.items()}
        if len(set(names.values())) == len(roots):
            return names
    return {root: printable(root) for root in roots}


def choose_title(data: Sequence[str]) -> str:
    """Use the last part of the first argument's path, without its suffix, as the title."""
    if (data[0] == DEMO or data[0].startswith(PREFIX)) and len(data) == 1:
        return data[0].removeprefix(PREFIX).replace(":", " ")
    first = printable(basename(data[0] if is_url(data[0]) else os.path.abspath(data[0])))
    stem = first.rpartition(".")[0] if first.endswith((".tar", ".parquet")) else first
    return stem if len(data) == 1 else f"{stem} and {len(data) - 1} more"
