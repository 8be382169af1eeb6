"""`robust`: `typical` through a robust copy of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from viz.choices import Source
from viz.recipes.typical import Typical

__all__ = ["RECIPES", "Robust"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Robust(Typical):
    """What the unit's top patches have in common, by features that small changes of a picture do not change.

    As `typical`, but activation and features are those of a robust copy of the network, see
    `maxact robust train`. Features of robust networks are nearer to what people see (Engstrom et al.
    2019, "Adversarial Robustness as a Prior for Learned Representations"), and the pictures are
    smoother and more like photographs. Activation, verdict and path are measured in the network itself.
    """

    source: ClassVar[Source | None] = "robust copy"

    name: str = "robust"


RECIPES = (Robust(),)
