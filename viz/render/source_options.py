"""Options that name what a rendering starts from, compared with the recipe before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import BadImage, RenderError, RenderingFailed
from pipeline.images.decode import open_original
from viz.choices import Source
from viz.recipes.base import Recipe
from viz.recipes.catalog import RECIPES

__all__ = ["check_source_options"]

OPTIONS: dict[str, Source] = {
    "--photo": "photograph",
    "--generator": "generator",
    "--generator-weights": "generator",
    "--generator-code": "generator",
    "--robust-copy": "robust copy",
}
"""The source of the recipes that use an option."""


def check_source_options(
    recipe: Recipe,
    *,
    photograph: Path | None,
    generator: str | None,
    generator_weights: Path | None,
    generator_code: str | None,
    robust_copy: Path | None,
) -> None:
    """Check that a recipe uses the options that were given, and that their files are there.

    Args:
        recipe: to render with.
        photograph: value of `--photo`.
        generator: value of `--generator`.
        generator_weights: value of `--generator-weights`.
        generator_code: value of `--generator-code`.
        robust_copy: value of `--robust-copy`.

    Raises:
        RenderError: for an option that the recipe does not use, or a file that does not exist.
        RenderingFailed: for a photograph that cannot be decoded.
    """
    values = (photograph, generator, generator_weights, generator_code, robust_copy)
    for option, value in zip(OPTIONS, values, strict=True):
        if value is not None and recipe.source != OPTIONS[option]:
            users = " or ".join(name for name, each in RECIPES.items() if each.source == OPTIONS[option])
            raise RenderError(
                f"recipe {recipe.name} takes no {OPTIONS[option]}, so that {option} would be ignored; "
                f"leave it out, or use --recipe {users}"
            )
    if robust_copy is not None and not robust_copy.is_file():
        raise RenderError(f"--robust-copy {robust_copy} does not exist")
    if photograph is not None:
        _check_photograph(photograph)


def _check_photograph(path: Path) -> None:
    try:
        open_original(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RenderError(f"--photo {path} cannot be read: {reason}") from error
    except BadImage as error:
        raise RenderingFailed(f"--photo {path} is no photograph that can be read: {error}") from error
