"""Makes the figures and the pages of the site: `python -m docs.site`; then `make docs` runs MkDocs."""

from __future__ import annotations

import sys

from docs.site.blocks import ROOT
from docs.site.figures import make_figures
from docs.site.stage import stage

if __name__ == "__main__":
    made = make_figures(ROOT / "out/docs-work")
    print(f"docs: {len(made)} figures made", file=sys.stderr)
    stage(ROOT / "out/docs-source")
