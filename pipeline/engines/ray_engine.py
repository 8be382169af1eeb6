"""The engine that runs items as tasks of a Ray cluster.

Ray starts a task again, without limit, when its worker process or node ends; how often is counted on the
board, and an item that ends every process it runs in ends the run. Tasks are submitted a few at a time, so
that a run of many items does not fill the object store.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from pipeline.config import EngineConfig
from pipeline.engines.engine import Work
from pipeline.engines.ray_cluster import Share, cluster_failed, connected, room_of, share_of
from pipeline.engines.ray_worker import MAX_STARTS, Board, Failure, Order, Transient, ask_here, run_item
from pipeline.engines.transport import pack
from pipeline.errors import EngineError
from pipeline.progress import Task

__all__ = ["RayEngine", "open_ray"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Answer = TypeVar("Answer")

POLL_S = 0.5
"""Seconds between two looks at the board."""

AHEAD = 4
"""Tasks submitted for each slot of the cluster; those that wait tell an autoscaler that there is work."""

MIN_AHEAD = 64
"""Tasks submitted at least."""

END_S = 10.0
"""Seconds that tasks are given to end when the run is over."""

NODELESS_S = 900.0
"""Seconds without any node that has room for a task after which the run ends."""


@contextlib.contextmanager
def open_ray(config: EngineConfig, device: str) -> Iterator[RayEngine]:
    """Connect to a cluster for the length of the context.

    Args:
        config: of the engine.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: when Ray is not installed, or no cluster or no node with room is there.
    """
    with connected(config) as (ray, is_own):
        yield RayEngine(ray, share_of(ray, config, device), is_own)


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Runs items on a Ray cluster.

    Args:
        ray: the module, connected.
        share: what a task takes of its node.
        is_own: whether the connection ends with the engine.
        max_starts: times that an item is started before it counts as one that ends its process.
    """

    ray: Any
    share: Share
    is_own: bool = False
    max_starts: int = MAX_STARTS

    @property
    def device(self) -> torch.device:
        """CUDA where tasks have GPUs, else the CPU."""
        return torch.device("cuda" if self.share.gpus else "cpu")

    @property
    def is_apart(self) -> bool:
        """To other machines."""
        return True

    @property
    def slots(self) -> int:
        """Tasks that the nodes run at the same time."""
        return room_of(self.ray, self.share)[1]

    def ask(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call the function in a worker that has what a task has."""
        remote = self.ray.remote(ask_here).options(**self._options())
        with self._cluster_errors():
            answer = self.ray.get(remote.remote(function, arguments))
        if isinstance(answer, Failure):
            raise answer.error
        found: Answer = answer
        return found

    def map(
        self, work: Work[Item, Result], items: Sequence[Item], task: Task
    ) -> Generator[tuple[int, Result]]:
        """Run all items; see `pipeline.engines.engine.Engine.map`."""
        data = pack(work, "the work of this command")
        with self._cluster_errors():
            running = _Running(self, items, task, data)
            try:
                while running.pending:
                    yield from running.wait()
            finally:
                running.end()

    def _options(self) -> dict[str, Any]:
        return {"num_cpus": self.share.cores, "num_gpus": self.share.gpus, "max_retries": -1}

    @contextlib.contextmanager
    def _cluster_errors(self) -> Iterator[None]:
        """Turn an error of Ray itself into one of ours."""
        try:
            yield
        except self.ray.exceptions.RayError as error:
            raise cluster_failed(error) from error


class _Running:
    """The tasks of one call of `RayEngine.map`.

    Args:
        engine: whose cluster runs them.
        items: of the work.
        task: is told how far they are.
        data: the packed work.
    """

    def __init__(self, engine: RayEngine, items: Sequence[Any], task: Task, data: bytes) -> None:
        self.pending: dict[Any, int] = {}
        self._engine, self._ray, self._items, self._task = engine, engine.ray, items, task
        self._key = uuid.uuid4().hex
        self._waiting = iter(range(len(items)))
        self._shown = 0
        self._looked = self._seen = time.monotonic()
        self._slots = engine.slots
        self._shared = self._ray.put(data)
        # A board that is lost with its node starts again, and knows what tasks tell it from then on.
        self._board = (
            self._ray.remote(Board).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
        )
        retried = {"retry_exceptions": [Transient], **engine._options()}
        self._run = self._ray.remote(run_item).options(**retried)
        self._submit()

    def wait(self) -> Iterator[tuple[int, Any]]:
        """The results that are there within `POLL_S`.

        Raises:
            MaxactError: that an item ended with.
        """
        ready, _ = self._ray.wait(list(self.pending), num_returns=1, timeout=POLL_S)
        ended = len(self.pending) == len(ready)
        if ended or time.monotonic() - self._looked >= POLL_S:
            self._look(ended)
        for reference in ready:
            number = self.pending.pop(reference)
            result = self._ray.get(reference)
            if isinstance(result, Failure):
                raise result.error
            self._submit()
            yield number, result

    def end(self) -> None:
        """End the tasks that run, so that they remove what they have half written."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            if self.pending:
                left = list(self.pending)
                self._ray.get(self._board.stop.remote(), timeout=END_S)
                _, left = self._ray.wait(left, num_returns=len(left), timeout=END_S)
                # Those of a connection of our own end with it.
                for reference in () if self._engine.is_own else left:
                    self._ray.cancel(reference, force=True)
            self._ray.kill(self._board)

    def _submit(self) -> None:
        """Submit tasks until enough are under way."""
        wanted = max(MIN_AHEAD, AHEAD * self._slots)
        while len(self.pending) < wanted and (number := next(self._waiting, None)) is not None:
            engine = self._engine
            order = Order(self._key, number, engine.device.type, engine.share.cores, engine.max_starts)
            reference = self._run.remote(order, [self._shared], self._items[number], self._board)
            self.pending[reference] = number

    def _look(self, ended: bool) -> None:
        """Pass on what the board knows.

        Raises:
            EngineError: when there has long been no node.
        """
        nodes, self._slots = room_of(self._ray, self._engine.share)
        self._looked = now = time.monotonic()
        if nodes:
            self._seen = now
        elif now - self._seen > NODELESS_S:
            raise EngineError(
                f"for {NODELESS_S / 60:.0f} minutes no node of the cluster has had room for a task; what was "
                "finished is kept. Run the same command again to go on"
            )
        read = self._board.read.remote()
        # The board may be starting again; the last numbers of all are worth a wait.
        if not self._ray.wait([read], timeout=END_S if ended else POLL_S)[0]:
            return
        done, retries, text = self._ray.get(read)
        self._task.tell(nodes=nodes, retries=retries)
        if text:
            self._task.describe(text)
        # What a lost attempt had done is not taken back: its successor catches up.
        if done > self._shown:
            self._task.advance(done - self._shown)
            self._shown = done
