"""The engine that a configuration asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pipeline.choices import IndexDevice
from pipeline.config import EngineConfig
from pipeline.devices import find_device
from pipeline.engines.engine import Engine, LocalEngine
from pipeline.engines.processes import ProcessesEngine

__all__ = ["open_engine"]


@contextlib.contextmanager
def open_engine(config: EngineConfig, device: IndexDevice) -> Iterator[Engine]:
    """Open an engine for the length of the context.

    Args:
        config: which one.
        device: where networks run.

    Raises:
        DeviceError: when there is no such device.
        UsageError: when Ray is not installed, or there is no such cluster.
    """
    if config.name == "ray":
        from pipeline.engines.ray_engine import open_ray

        with open_ray(config, device) as engine:
            yield engine
    elif device == "cuda:all":
        find_device("cuda", asked=device)
        count = torch.cuda.device_count()  # pragma: no cover (needs a GPU)
        yield ProcessesEngine([torch.device("cuda", each) for each in range(count)])  # pragma: no cover
    else:
        yield LocalEngine(find_device(device))
