"""Train a prior: a decoder from the features of a layer to the images of an indexed dataset.

Checkpoints contain the whole state, and the same call resumes from them. The order of the images
depends only on seed and step (`viz.training.examples`), so that on a CPU an interrupted training
produces the same bits as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.devices import resolve_precision
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.store.derived import FINGERPRINT_NOTE
from pipeline.store.leftovers import writing
from pipeline.working_copies import pull
from viz.priors.code_range import CodeStatistics
from viz.priors.decoder import Critic, Decoder
from viz.priors.feature_loss import choose_matched_layers, feature_loss
from viz.priors.options import PriorOptions, code_grid
from viz.priors.prior import prior_path
from viz.priors.training_data import Pairs
from viz.training.loop import read_checkpoint, train_to_end

__all__ = ["train_prior"]

FEATURE_WEIGHT = 0.3
"""Weight of the feature loss; the mean absolute difference of pixels on 0..1 has weight 1."""

MOMENTS = (0.9, 0.99)
"""Beta coefficients of Adam."""

CHECKPOINT_VERSION = 2
"""Increased when the same options lead to another result, so that older checkpoints are not resumed."""


class _Training:
    """The state of a training, as stored in checkpoints.

    Args:
        network: its features are decoded and compared.
        layer: whose features are the codes.
        matched: layers of the feature loss.
        options: of the training.
        pairs: the training data.
        index_fingerprint: of the index, kept in the file.
    """

    def __init__(
        self,
        network: Network,
        layer: Layer,
        matched: Sequence[Layer],
        options: PriorOptions,
        pairs: Pairs,
        index_fingerprint: str,
    ) -> None:
        self.pairs = pairs
        self.index_fingerprint = self.saved_for = index_fingerprint
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
            "dataset": pairs.identity,
        }
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            self.decoder = Decoder(**self.shape).to(device)
            self.critic = Critic(channels).to(device)
        self.adam = torch.optim.Adam(self.decoder.parameters(), options.rate, MOMENTS)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), options.rate / 2, (0.5, 0.99))
        self.step, self.lowest_code = 0, 0.0

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.options.steps

    def set_statistics(self, codes: Tensor) -> None:
        """Set the mean and deviation of the decoder to those of codes (image, unit, y, x)."""
        statistics = CodeStatistics.of(codes)
        self.decoder.mean.copy_(statistics.mean)
        self.decoder.deviation.copy_(statistics.deviation)
        self.lowest_code = float(codes.min())

    def begin(self, reporter: Reporter) -> None:
        """Read the training data, and set the statistics of codes before the first step."""
        self.pairs.fill(self.step, reporter)
        if not self.step:
            self.set_statistics(self.pairs.codes())

    def advance(self) -> float:
        """Do one optimiser step and return the loss."""
        images, codes = (
            each.to(device_of(self.network)) for each in self.pairs.draw(self.step, self.options.batch)
        )
        factor = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * self.step / self.options.steps)))
        for group in self.adam.param_groups:
            group["lr"] = self.options.rate * float(factor)
        with self._autocast():
            decoded = self.decoder(codes).float()
            features = feature_loss(self.network, self.matched, decoded, images)
            loss = (decoded - images).abs().mean() + FEATURE_WEIGHT * features
            if self.options.adversarial:
                loss = loss - self.options.adversarial * self.critic(decoded).mean()
        self.adam.zero_grad()
        torch.autograd.backward(loss)
        self.adam.step()
        if self.options.adversarial:
            self._train_critic(decoded.detach(), images)
        self.step += 1
        return float(loss.detach())

    def _train_critic(self, decoded: Tensor, images: Tensor) -> None:
        """Do one step of the critic with the hinge loss."""
        with self._autocast():
            loss = F.relu(1 - self.critic(images)).mean() + F.relu(1 + self.critic(decoded)).mean()
        self.critic_adam.zero_grad()
        torch.autograd.backward(loss)
        self.critic_adam.step()

    def _autocast(self) -> torch.autocast:
        """Return a context that computes in bfloat16 if the device supports it."""
        device = device_of(self.network)
        enabled = resolve_precision("auto", device) == "bf16"
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)

    def state(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        return {
            **self.identity,
            FINGERPRINT_NOTE: self.index_fingerprint,
            "step": self.step,
            "least": self.lowest_code,
            "decoder": self.decoder.state_dict(),
            "adam": self.adam.state_dict(),
            "critic": self.critic.state_dict(),
            "critic_adam": self.critic_adam.state_dict(),
        }

    def resume(self, path: Path) -> bool:
        """Load a checkpoint and return True, or return False if there is none.

        Raises:
            RenderError: if the checkpoint belongs to a training with other settings, or is damaged.
        """
        content = read_checkpoint(path, device_of(self.network), self.identity)
        if content is None:
            return False
        self.decoder.load_state_dict(content["decoder"])
        self.adam.load_state_dict(content["adam"])
        self.critic.load_state_dict(content["critic"])
        self.critic_adam.load_state_dict(content["critic_adam"])
        self.step, self.lowest_code = int(content["step"]), float(content["least"])
        self.saved_for = str(content.get(FINGERPRINT_NOTE, ""))
        return True


def train_prior(
    index: Index,
    network: Network,
    layer: Layer,
    options: PriorOptions,
    *,
    reporter: Reporter | None = None,
) -> Path:
    """Train a decoder from the features of a layer to the indexed images.

    Args:
        index: open index, whose dataset is read.
        network: the network of the index.
        layer: whose features are the codes.
        options: of the training.
        reporter: receives the steps and the loss.

    Returns:
        The path of the checkpoint, `OUT/prior/LAYER.pt`, for `viz.priors.prior.load_prior`.

    Raises:
        RenderError: if there is a checkpoint of a training with other settings.
        StoreError: if the checkpoint cannot be written.
    """
    reporter = reporter or Silent()
    path = prior_path(index.out, layer.name)
    pull(index.out, "prior/*")
    pairs = Pairs(index, network, layer, code_grid(layer, options), options.size, options.seed)
    training = _Training(
        network, layer, choose_matched_layers(index, layer), options, pairs, str(index.run["fingerprint"])
    )
    with writing(index.out):
        train_to_end(training, path, f"train the prior of {layer.name}", reporter)
    return path
