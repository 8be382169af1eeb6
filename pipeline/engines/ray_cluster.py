"""A connection to a Ray cluster, and what its nodes have.

Ray is an extra (`pip install 'maxact[ray]'`), imported when it is asked for. Its reports of usage are
turned off, for a cluster that is started here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import signal
import socket
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.config import EngineConfig
from pipeline.errors import EngineError, UsageError

__all__ = ["Share", "cluster_failed", "connected", "room_of", "share_of"]

OBJECT_STORE_BYTES = 1 << 28
"""Memory for objects (256 MiB) of a cluster that is started here: the network is one, groups of shards are
small. Ray puts what does not fit on disk, also where /dev/shm is smaller than this."""


CLIENT_PORT = 10001
"""Port of Ray's client server where an address names none."""

REACH_S = 10.0
"""Seconds that an address is given to answer."""

_HOST_AND_PORT = re.compile(r"(ray://)?(?P<host>[^/:]+)(:(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class Share:
    """What a task takes of its node.

    Args:
        cores: whole cores.
        gpus: a fraction of one, or whole ones.
    """

    cores: int
    gpus: float


@contextlib.contextmanager
def connected(config: EngineConfig) -> Iterator[tuple[Any, bool]]:
    """Connect to the cluster that a configuration names, for the length of the context.

    A connection that the process has already is used and kept.

    Args:
        config: of the engine.

    Yields:
        The module `ray`, and whether the connection ends with the context.

    Raises:
        UsageError: when Ray is not installed, or no cluster is at the address.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray, which is not installed; run `pip install 'maxact[ray]'`")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with _own_signals():
        import ray
    if ray.is_initialized():
        yield ray, False
        return
    with _own_signals():
        _connect(ray, config.address)
    try:
        yield ray, True
    finally:
        with _own_signals():
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    known = address or os.environ.get("RAY_ADDRESS")
    try:
        if known:
            _reach(known)
        if known:
            ray.init(address=known, **quiet)
        else:
            ray.init(object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False, **quiet)
    except (ImportError, ValueError, RuntimeError, AssertionError, OSError) as error:
        if "ray[client]" in str(error):
            raise UsageError(
                f"--address {known} needs Ray's client, which is not installed; run `pip install "
                "'ray[client]'`, or start the command on a node of the cluster with --address auto"
            ) from error
        if "InvalidAuthToken" in "".join(traceback.format_exception(error)):
            raise UsageError(
                f"{address or 'RAY_ADDRESS'}: this Ray cluster asks for its token; set RAY_AUTH_MODE=token, "
                "and see Ray's documentation on token authentication"
            ) from error
        where = f"--address {known}" if address else f"RAY_ADDRESS={known}" if known else "--engine ray"
        advice = "start one with `ray start --head`, or leave --address out" if known else ""
        raise UsageError(
            f"{where}: no Ray cluster answers ({_line(error)}){f'; {advice}' if advice else ''}"
        ) from error


def _reach(address: str) -> None:
    """Open a connection to an address and close it: Ray itself tries for many minutes.

    Raises:
        OSError: when nobody answers.
    """
    found = _HOST_AND_PORT.fullmatch(address)
    if found is not None and address != "auto":
        port = int(found["port"] or CLIENT_PORT)
        with socket.create_connection((found["host"], port), timeout=REACH_S):
            pass


def _line(error: BaseException) -> str:
    """The first sentence of an error of Ray, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0][:200].rstrip(".")


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces when it is imported and connected."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _resources(ray: Any) -> list[dict[str, float]]:
    """The resources of every node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def share_of(ray: Any, config: EngineConfig, device: str) -> Share:
    """What a task takes, from what is asked for and what the nodes have.

    Args:
        ray: the module, connected.
        config: of the engine.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: when no node has as much.
    """
    nodes = _resources(ray)
    gpus = config.gpus_per_task
    if gpus is None:
        any_gpu = any(node.get("GPU", 0) >= 1 for node in nodes)
        gpus = 1.0 if device == "cuda" or (device == "auto" and any_gpu) else 0.0
    cores = config.cpus_per_task
    if cores is None:
        shares = [node.get("CPU", 0) * gpus // node["GPU"] for node in nodes if gpus and node.get("GPU", 0)]
        cores = max(1, int(min(shares, default=1)))
    share = Share(cores, gpus)
    if not room_of(ray, share)[1]:
        most = [f"{node.get('CPU', 0):g} cores and {node.get('GPU', 0):g} GPUs" for node in nodes]
        raise UsageError(
            f"no node of the cluster has {cores} cores and {gpus:g} GPUs for a task; it has "
            f"{' | '.join(sorted(set(most))) or 'no node'}. Start a node that has, or lower --cpus-per-task "
            "and --gpus-per-task"
        )
    return share


def room_of(ray: Any, share: Share) -> tuple[int, int]:
    """Nodes that are alive and have room for a task, and the tasks that they can run at the same time."""
    slots = [_slots(node, share) for node in _resources(ray)]
    return sum(each > 0 for each in slots), sum(slots)


def _slots(node: dict[str, float], share: Share) -> int:
    found = int(node.get("CPU", 0) // share.cores)
    return min(found, int(node.get("GPU", 0) // share.gpus)) if share.gpus else found


def cluster_failed(error: BaseException) -> EngineError:
    """What is said when the cluster itself fails."""
    return EngineError(
        f"the Ray cluster failed: {_line(error)}; what was finished is kept. Run the same command again to "
        "go on"
    )
