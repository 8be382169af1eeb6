"""Makes the README's picture of a sheet with the commands above it: `python -m docs.site.readme_picture`."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from PIL import Image

from docs.site.blocks import DOCS, ROOT, commands_of
from docs.site.figures import SHEET_WIDTH, run_command

__all__ = ["make_readme_picture"]

QUALITY = 80
"""Of the WebP file: with it both pictures of the README have less than 350 kB together."""


def make_readme_picture(target: Path) -> None:
    """Run the commands of the README's first block, and keep the last picture that they draw.

    Args:
        target: WebP file, written over.

    Raises:
        RuntimeError: if a command fails, with what it printed.
        ValueError: if the commands draw no picture.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as name:
        scratch, drawn = Path(name), []
        for command in commands_of(block[1] if block else ""):
            _, printed = run_command(command, scratch)
            drawn += [line for line in printed.splitlines() if line.endswith(".png")]
        if not drawn:
            raise ValueError("the first block of README.md draws no picture")
        with Image.open(scratch / drawn[-1]) as opened:
            picture = opened.convert("RGB")
    height = round(picture.height * SHEET_WIDTH / picture.width)
    picture.resize((SHEET_WIDTH, height), Image.Resampling.LANCZOS).save(target, quality=QUALITY, method=6)


if __name__ == "__main__":
    make_readme_picture(DOCS / "images/sheet.webp")
    print(DOCS / "images/sheet.webp", file=sys.stderr)
