"""Train a prior: a decoder from a layer's features back to the images of an indexed dataset.

The images stream from where they were indexed into a rolling store; where the dataset fits into
it, it is read once. A checkpoint after every few hundred steps holds the whole state, and the same
call goes on from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.decode import decode
from pipeline.errors import BadImage, RenderError, StoreError
from pipeline.layers import Layer
from pipeline.networks import Network
from pipeline.progress import Reporter, Silent
from pipeline.query import Index
from pipeline.sources import Sample
from pipeline.store import atomic_path
from viz.codes import CodeSpread, encode
from viz.convolution import QuickConvolutions
from viz.decoder import Critic, Decoder
from viz.image import shrink
from viz.measure import device_of
from viz.prior import prior_path
from viz.scorer import PASS_IMAGES, Watch, resolve_precision

__all__ = ["PriorOptions", "train_prior"]

STORED_EXAMPLES = 4096
"""Images kept in memory with their codes, about 100 MB at 64 pixels."""

CHECKPOINT_STEPS = 200
"""Between two checkpoints."""

FEATURE_WEIGHT = 0.3
"""Of the difference in features, relative to their size, against that of pixels on 0..1."""

MOMENTS = (0.9, 0.99)
"""Of Adam."""


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


class _Examples:
    """A rolling store of images and their codes.

    Args:
        index: whose dataset is streamed, again and again.
        network: gives the codes.
        layer: where.
        options: sizes and seed.
    """

    def __init__(self, index: Index, network: Network, layer: Layer, options: PriorOptions) -> None:
        self.index, self.network, self.layer, self.options = index, network, layer, options
        self.images: list[Tensor] = []
        self.codes: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(options.seed)
        self._stream: Iterator[Tensor] = iter(())
        self._next = 0
        self.complete = False

    def fill(self, reporter: Reporter) -> None:
        """Read until the store is full, or the dataset has ended.

        Raises:
            RenderError: when not one image can be read.
        """
        self._stream = self._pictures()
        total = min(STORED_EXAMPLES, int(self.index.run["counts"].get("images", STORED_EXAMPLES)))
        with reporter.task("read images", total, "images") as task:
            while len(self.images) < STORED_EXAMPLES:
                added = self._read(PASS_IMAGES)
                task.advance(added)
                if not added:
                    self.complete = True
                    break
        if not self.images:
            raise RenderError(f"{self.index.out} has no image to train a prior on")

    def draw(self) -> tuple[Tensor, Tensor]:
        """A batch: images (image, channel, y, x) on 0..1 and codes (image, unit, y, x)."""
        if not self.complete:
            self._replace()
        chosen = torch.randint(len(self.images), (self.options.batch,), generator=self.generator)
        images = torch.stack([self.images[number] for number in chosen.tolist()])
        codes = torch.stack([self.codes[number] for number in chosen.tolist()])
        device = device_of(self.network)
        return images.to(device).float() / 255, codes.to(device).float()

    def _replace(self) -> None:
        """New images in the place of the oldest."""
        count = len(self.images)
        if not self._read(PASS_IMAGES):
            self._stream = self._pictures()
            self._read(PASS_IMAGES)
        fresh = len(self.images) - count
        for offset in range(fresh):
            place = (self._next + offset) % count
            self.images[place] = self.images[count + offset]
            self.codes[place] = self.codes[count + offset]
        del self.images[count:], self.codes[count:]
        self._next = (self._next + fresh) % count

    def _read(self, count: int) -> int:
        pictures = [picture for _, picture in zip(range(count), self._stream, strict=False)]
        if not pictures:
            return 0
        whole = torch.stack(pictures)
        size = self.options.size
        self.images += list(shrink(whole.float(), size, size).round().to(torch.uint8))
        self.codes += list(
            encode(self.network, self.layer, whole, 2 * (code_grid(self.layer, self.options),))
        )
        return len(pictures)

    def _pictures(self) -> Iterator[Tensor]:
        """The dataset's images in network geometry, in shuffled order of shards."""
        shards = self.index.dataset.shards
        order = torch.randperm(len(shards), generator=self.generator).tolist()
        for number in order:
            for sample in shards[number].samples():
                if not isinstance(sample, Sample):
                    continue
                try:
                    yield decode(sample.data, self.network.preprocess).pixels
                except BadImage:
                    # It is a row of the index's errors already.
                    continue


class _Training:
    """The state of a training: what a checkpoint holds.

    Args:
        network: judges likeness by its features.
        layer: that is decoded.
        matched: earlier layers whose features an image must share with its decoding.
        options: of the training.
    """

    def __init__(
        self, network: Network, layer: Layer, matched: Sequence[Layer], options: PriorOptions
    ) -> None:
        self.network, self.matched, self.options = network, matched, options
        channels, device = network.input_shape[0], device_of(network)
        self.shape = {
            "units": layer.units,
            "grid": code_grid(layer, options),
            "size": options.size,
            "channels": channels,
        }
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            self.decoder = Decoder(**self.shape).to(device)
            self.critic = Critic(channels).to(device)
        self.adam = torch.optim.Adam(self.decoder.parameters(), options.rate, MOMENTS)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), options.rate / 2, (0.5, 0.99))
        self.step, self.least = 0, 0.0

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
        able = resolve_precision("auto", device) == "bfloat16"
        return torch.autocast(device.type, torch.bfloat16, enabled=able)

    def state(self) -> dict[str, Any]:
        """Everything, for `torch.save`."""
        return {
            "shape": self.shape,
            "options": asdict(self.options),
            "network": self.network.digest,
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
        mine = self.state()
        for key in ("shape", "options", "network"):
            if content.get(key) != mine[key]:
                raise RenderError(
                    f"{path} was trained with other settings ({key}: {content.get(key)}, now "
                    f"{mine[key]}); remove it, or use the same"
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
        The checkpoint, `OUT/prior/LAYER.pt`, which `viz.prior.load_prior` reads.

    Raises:
        RenderError: when a checkpoint of another training is in the way.
        StoreError: when it cannot be written.
    """
    reporter = reporter or Silent()
    path = prior_path(index.out, layer.name)
    training = _Training(network, layer, _matched(index, layer), options)
    if training.resume(path):
        reporter.note(f"going on from step {training.step:,} of {options.steps:,}")
    if training.step >= options.steps:
        return path
    examples = _Examples(index, network, layer, options)
    examples.fill(reporter)
    if not training.step:
        codes = torch.stack(examples.codes).float()
        spread = CodeSpread.of(codes)
        training.decoder.mean.copy_(spread.mean)
        training.decoder.deviation.copy_(spread.deviation)
        training.least = float(codes.min())
    with reporter.task(f"train a prior of {layer.name}", options.steps, "steps") as task:
        task.advance(training.step)
        while training.step < options.steps:
            loss = training.take(*examples.draw())
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
