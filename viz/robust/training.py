"""Train a robust copy of a network: the same features, also of pictures that are slightly perturbed.

The copy starts from the network's weights. In each step crops of photographs are perturbed so that the
copy's features change as much as possible (`viz.robust.perturbation`), and the weights follow the slope
towards the features that the network itself has of the crops as they were. No labels are needed: this is
robust distillation (Goldblum et al. 2020, "Adversarially Robust Distillation"), of features at all layers
of the index in place of the classifier's output. Features of robust networks are nearer to what people see,
and pictures made from them look more like photographs (Engstrom et al. 2019, "Adversarial Robustness as a
Prior for Learned Representations"; Santurkar et al. 2019, "Image Synthesis with a Single (Robust)
Classifier"). Statistics of batch norms stay as they are.

Checkpoints contain the whole state, and the same call resumes from them; crops and perturbations depend
only on seed and step.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import RenderingFailed
from pipeline.networks.network import Network, device_of
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.store.derived import FINGERPRINT_NOTE
from pipeline.store.leftovers import writing
from pipeline.working_copies import pull
from viz.passes.watch import Watch
from viz.robust.crops import random_crops
from viz.robust.feature_distance import feature_distance, feature_variances
from viz.robust.options import RobustOptions
from viz.robust.perturbation import perturb
from viz.robust.robust_copy import copy_module, robust_path
from viz.seeds import item_generator
from viz.training.examples import Examples
from viz.training.loop import read_checkpoint, train_to_end

__all__ = ["train_robust"]

STORED_PICTURES = 1024
"""Most pictures in memory: 154 MB at 224 pixels."""

VARIANCE_CROPS = 64
"""Crops over which the variance of units is measured."""

WARM_UP = 50
"""Steps in which the learning rate rises."""

LAST_RATE = 0.01
"""Of the highest learning rate, in the last step."""

LONGEST_GRADIENT = 1.0
"""Norm to which the gradient of the weights is cut."""

CHECKPOINT_VERSION = 1
"""Increased when the same options lead to another result, so that older checkpoints are not resumed."""


class _Training:
    """The state of a training, as stored in checkpoints.

    Args:
        index: whose pictures are shown, and whose layers keep their features.
        network: that is copied.
        options: of the training.
    """

    def __init__(self, index: Index, network: Network, options: RobustOptions) -> None:
        self.network, self.options = network, options
        self.copy = replace(network, module=copy_module(network))
        for parameter in self.copy.module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        self.examples = Examples(index, network.preprocess, list, stored=STORED_PICTURES, seed=options.seed)
        self.made_from = self.saved_for = str(index.run["fingerprint"])
        self.identity = {
            "version": CHECKPOINT_VERSION,
            "options": asdict(options),
            "network": network.digest,
            "layers": [each.name for each in index.layers],
            "dataset": self.examples.identity,
        }
        weights = [each for each in self.copy.module.parameters() if each.requires_grad]
        self.adam = torch.optim.Adam(weights, options.rate)
        self.variances: dict[str, Tensor] = {}
        self.step = 0
        self._size = (options.size, options.size)
        self._watches = ExitStack()
        self._wanted = Watch(network, index.layers, None)
        self._found = Watch(self.copy, index.layers, None)

    def __enter__(self) -> _Training:
        self._watches.enter_context(self._wanted)
        self._watches.enter_context(self._found)
        return self

    def __exit__(self, *exception: object) -> None:
        self._watches.close()

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.options.steps

    def begin(self, reporter: Reporter) -> None:
        """Read the pictures, and measure the variance of features before the first step."""
        self.examples.fill(self.step, reporter)
        self._fit_size(reporter)
        if not self.variances:
            crops = self._crops(0, VARIANCE_CROPS)
            with torch.no_grad():
                self.variances = feature_variances(self._wanted(crops))

    def advance(self) -> float:
        """Do one step of the optimiser and return the loss."""
        crops = self._crops(self.step, self.options.batch)
        with torch.no_grad():
            wanted = {name: view.values.float() for name, view in self._wanted(crops).items()}

        def distance(pictures: Tensor) -> Tensor:
            return feature_distance(self._found(pictures), wanted, self.variances)

        noise = item_generator(self.options.seed, "perturbation of step", self.step)
        perturbed = perturb(distance, crops, self.options.noise, noise)
        for group in self.adam.param_groups:
            group["lr"] = self.options.rate * self._rate_factor()
        with torch.enable_grad():
            loss = distance(perturbed).mean()
        self.adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.adam.param_groups[0]["params"], LONGEST_GRADIENT)
        self.adam.step()
        self.step += 1
        if not math.isfinite(found := float(loss.detach())):
            raise RenderingFailed(
                f"the training of the robust copy failed at step {self.step:,}: its loss is {found}; "
                "try a smaller --rate or --noise"
            )
        return found

    def _rate_factor(self) -> float:
        """Share of the highest learning rate in this step."""
        warm = min(1.0, (self.step + 1) / WARM_UP)
        return warm * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * self.step / self.steps)))

    def _crops(self, step: int, count: int) -> Tensor:
        """The crops of a step, on the device of the network."""
        pictures = torch.stack(self.examples.choose(step, count))
        generator = item_generator(self.options.seed, "crops of step", step)
        return random_crops(pictures, self._size, generator).to(device_of(self.network))

    def _fit_size(self, reporter: Reporter) -> None:
        """Use crops of the whole input's size where the network takes no other, as transformers do."""
        try:
            with torch.no_grad():
                self._wanted(self._crops(0, 2))
        except (RuntimeError, AssertionError, ValueError, IndexError):
            self._size = self.network.input_shape[1:]
            reporter.note(f"the network takes pictures of {self._size[1]} x {self._size[0]} pixels only")

    def state(self) -> dict[str, Any]:
        """The content of a checkpoint; a finished file has no state of the optimiser."""
        finished = self.step >= self.steps
        return {
            **self.identity,
            FINGERPRINT_NOTE: self.made_from,
            "step": self.step,
            "weights": self.copy.module.state_dict(),
            "variances": self.variances,
            "adam": None if finished else self.adam.state_dict(),
        }

    def resume(self, path: Path) -> bool:
        """Load a checkpoint and return True, or return False if there is none.

        Raises:
            RenderError: if the checkpoint belongs to a training with other settings, or is damaged.
        """
        content = read_checkpoint(path, device_of(self.network), self.identity)
        if content is None:
            return False
        self.copy.module.load_state_dict(content["weights"])
        self.variances = content["variances"]
        if content["adam"] is not None:
            self.adam.load_state_dict(content["adam"])
        self.step, self.saved_for = int(content["step"]), str(content.get(FINGERPRINT_NOTE, ""))
        return True


def train_robust(
    index: Index, network: Network, options: RobustOptions | None = None, *, reporter: Reporter | None = None
) -> Path:
    """Train a robust copy of an index's network, on the indexed images.

    Args:
        index: open index, whose dataset is read, and the features of whose layers are kept.
        network: the network of the index.
        options: of the training; by default those of `RobustOptions`.
        reporter: receives the steps and the loss.

    Returns:
        The path of the file, `OUT/robust/network.pt`, for `viz.robust.robust_copy.load_robust`.

    Raises:
        RenderError: if the network cannot be trained, or there is a copy of other settings.
        StoreError: if the file cannot be written.
    """
    path = robust_path(index.out)
    pull(index.out, "robust/*")
    with writing(index.out), _Training(index, network, options or RobustOptions()) as training:
        train_to_end(training, path, "train a robust copy", reporter or Silent())
    return path
