"""Makes the figures of the documents: `python -m docs.site`, which `make docs` runs before MkDocs."""

from __future__ import annotations

import sys

from docs.site.blocks import ROOT
from docs.site.figures import make_figures

if __name__ == "__main__":
    made = make_figures(ROOT / "out/docs-work")
    print(f"docs: {len(made)} figures made", file=sys.stderr)
