"""Train a prior: a decoder from a layer's features back to the images of an indexed dataset.

A checkpoint after every few hundred steps holds the whole state, and the same call goes on from it:
the order of the images follows from seed and step (`viz.priors.training_data`), so that on a CPU an
interrupted training ends in the same bits as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import RenderError, StoreError
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.store.files import atomic_path
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.scorer import resolve_precision
from viz.passes.watch import Watch
from viz.priors.code_range import CodeSpread
from viz.priors.decoder import Critic, Decoder
from viz.priors.prior import prior_path
from viz.priors.training_data import Examples

__all__ = ["PriorOptions", "train_prior"]

CHECKPOINT_STEPS = 200
"""Between two checkpoints."""

FEATURE_WEIGHT = 0.3
"""Of the difference in features, relative to their size, against that of pixels on 0..1."""

MOMENTS = (0.9, 0.99)
"""Of Adam."""

CHECKPOINT_VERSION = 2
"""Raised when the same options would give another training, so that none goes on from it."""


@dataclass(frozen=True, slots=True)
class PriorOptions:
    """How a prior is trained.

    Args:
        size: side of its images in pixels, the code's grid times a power of two.
        grid: largest side of a code, a power of two; a layer's features are averaged to so many
            positions, fewer where it has fewer.
        steps: of training.
        batch: images in a step.
        rate: of Adam; it falls to zero along a half cosine.
        adversarial: weight of a critic's judgement; 0 is none.
        seed: of the first weights and of the order of the images.
    """

    size: int = 64
    grid: int = 8
    steps: int = 1500
    batch: int = 16
    rate: float = 2e-3
    adversarial: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, side in (("size", self.size), ("grid", self.grid)):
            if side < 1 or side & (side - 1):
                raise RenderError(f"a prior's {name} must be a power of two, got {side}")
        if self.size < 2 * self.grid:
            raise RenderError(
                f"a prior's size must be at least twice its grid of {self.grid}, got {self.size}"
            )
        if min(self.steps, self.batch) < 1 or self.rate <= 0 or self.adversarial < 0:
            raise RenderError(
                "a prior needs steps and batch of 1 or more, a rate above 0 and an adversarial "
                f"weight of 0 or more; got {self}"
            )


def code_grid(layer: Layer, options: PriorOptions) -> int:
    """Side of a layer's codes: the largest power of two that its own grid has."""
    side = min(layer.grid_h, layer.grid_w, options.grid)
    return 1 << (side.bit_length() - 1)


class _Training:
    """The state of a training: what a checkpoint holds.

    Args:
        network: judges likeness by its features.
        layer: that is decoded.
        matched: earlier layers whose features an image must share with its decoding.
        options: of the training.
        dataset: what it is trained on, as `Examples.identity`.
    """

    def __init__(
        self,
        network: Network,
        layer: Layer,
        matched: Sequence[Layer],
        options: PriorOptions,
        dataset: str,
    ) -> None:
        self.network, self.matched, self.options = network, matched, options
        channels, device = network.input_shape[0], device_of(network)
        self.shape = {
            "units": layer.units,
            "grid": code_grid(layer, options),
            "size": options.size,
            "channels": channels,
        }
        self.identity = {
            "version": CHECKPOINT_VERSION,
            "options": asdict(options),
            "shape": self.shape,
            "network": network.digest,
            "matched": [each.name for each in matched],
            "dataset": dataset,
        }
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            self.decoder = Decoder(**self.shape).to(device)
            self.critic = Critic(channels).to(device)
        self.adam = torch.optim.Adam(self.decoder.parameters(), options.rate, MOMENTS)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), options.rate / 2, (0.5, 0.99))
        self.step, self.least = 0, 0.0

    def start(self, codes: Tensor) -> None:
        """Take the spread of codes (image, unit, y, x) from the first that are there."""
        spread = CodeSpread.of(codes)
        self.decoder.mean.copy_(spread.mean)
        self.decoder.deviation.copy_(spread.deviation)
        self.least = float(codes.min())

    def take(self, images: Tensor, codes: Tensor) -> float:
        """One step; returns the loss."""
        share = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * self.step / self.options.steps)))
        for group in self.adam.param_groups:
            group["lr"] = self.options.rate * float(share)
        with self._autocast():
            made = self.decoder(codes).float()
            loss = (made - images).abs().mean() + FEATURE_WEIGHT * self._unlike(made, images)
            if self.options.adversarial:
                loss = loss - self.options.adversarial * self.critic(made).mean()
        self.adam.zero_grad()
        torch.autograd.backward(loss)
        self.adam.step()
        if self.options.adversarial:
            self._teach_critic(made.detach(), images)
        self.step += 1
        return float(loss.detach())

    def _unlike(self, made: Tensor, images: Tensor) -> Tensor:
        """Mean difference of features, relative to their size, over the matched layers."""
        with QuickConvolutions(), Watch(self.network, self.matched, None) as watch:
            with torch.no_grad():
                wanted = watch(255 * images)
            found = watch(255 * made)
        parts = [
            (found[layer.name].values.float() - wanted[layer.name].values.float()).abs().mean()
            / wanted[layer.name].values.float().abs().mean().clamp(min=1e-6)
            for layer in self.matched
        ]
        return torch.stack(parts).mean() if parts else made.new_zeros(())

    def _teach_critic(self, made: Tensor, images: Tensor) -> None:
        with self._autocast():
            loss = F.relu(1 - self.critic(images)).mean() + F.relu(1 + self.critic(made)).mean()
        self.critic_adam.zero_grad()
        torch.autograd.backward(loss)
        self.critic_adam.step()

    def _autocast(self) -> torch.autocast:
        """bfloat16 where the processor computes in it."""
        device = device_of(self.network)
        able = resolve_precision("auto", device) == "bf16"
        return torch.autocast(device.type, torch.bfloat16, enabled=able)

    def state(self) -> dict[str, Any]:
        """Everything, for `torch.save`."""
        return {
            **self.identity,
            "step": self.step,
            "least": self.least,
            "decoder": self.decoder.state_dict(),
            "adam": self.adam.state_dict(),
            "critic": self.critic.state_dict(),
            "critic_adam": self.critic_adam.state_dict(),
        }

    def resume(self, path: Path) -> bool:
        """Go on from a checkpoint of the same training, where there is one.

        Raises:
            RenderError: when the checkpoint is of another training.
        """
        if not path.exists():
            return False
        content = torch.load(path, map_location=device_of(self.network), weights_only=True)
        for key, mine in self.identity.items():
            if content.get(key) != mine:
                raise RenderError(
                    f"{path} was trained with other settings ({key}: {content.get(key)}, now "
                    f"{mine}); remove it, or use the same"
                )
        self.decoder.load_state_dict(content["decoder"])
        self.adam.load_state_dict(content["adam"])
        self.critic.load_state_dict(content["critic"])
        self.critic_adam.load_state_dict(content["critic_adam"])
        self.step, self.least = int(content["step"]), float(content["least"])
        return True


def train_prior(
    index: Index,
    network: Network,
    layer: Layer,
    options: PriorOptions,
    *,
    reporter: Reporter | None = None,
) -> Path:
    """Train a decoder of a layer's features on the indexed images.

    Args:
        index: open; its dataset is read again.
        network: the one that made it.
        layer: whose features become codes.
        options: of the training.
        reporter: shown the steps and the loss.

    Returns:
        The checkpoint, `OUT/prior/LAYER.pt`, which `viz.priors.prior.load_prior` reads.

    Raises:
        RenderError: when a checkpoint of another training is in the way.
        StoreError: when it cannot be written.
    """
    reporter = reporter or Silent()
    path = prior_path(index.out, layer.name)
    examples = Examples(index, network, layer, code_grid(layer, options), options.size, options.seed)
    training = _Training(network, layer, _matched(index, layer), options, examples.identity)
    if training.resume(path):
        reporter.note(f"going on from step {training.step:,} of {options.steps:,}")
    if training.step >= options.steps:
        return path
    examples.fill(training.step, reporter)
    if not training.step:
        training.start(examples.codes())
    device = device_of(network)
    with reporter.task(f"train a prior of {layer.name}", options.steps, "steps") as task:
        task.advance(training.step)
        while training.step < options.steps:
            images, codes = examples.draw(training.step, options.batch)
            loss = training.take(images.to(device), codes.to(device))
            task.advance()
            task.describe(f"loss {loss:.3f}")
            if training.step % CHECKPOINT_STEPS == 0 or training.step == options.steps:
                _save(path, training)
    return path


def _matched(index: Index, layer: Layer) -> list[Layer]:
    """Two earlier layers with a grid, one near the input and one half-way."""
    earlier = [each for each in index.layers if each.ordinal < layer.ordinal and each.grid_h > 1]
    if len(earlier) < 2:
        return earlier
    return [earlier[0], earlier[len(earlier) // 2]]


def _save(path: Path, training: _Training) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot create {path.parent}: {error.strerror}") from error
    with atomic_path(path) as temporary:
        torch.save(training.state(), temporary)
