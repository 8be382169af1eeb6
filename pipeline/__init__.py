"""maxact: index a dataset through a network, and ask for any unit's top images.

The names below are all that most programs need; each is imported when it is asked for, so that
`import pipeline` costs nothing.
"""

from typing import TYPE_CHECKING

from pipeline.lazy import lazy_names

if TYPE_CHECKING:
    from pipeline.config import RunConfig
    from pipeline.errors import MaxactError
    from pipeline.images.preprocess import Preprocess
    from pipeline.layers.choose import choose_layers
    from pipeline.networks.network import Network, load_network
    from pipeline.progress import ConsoleReporter
    from pipeline.query.index import open_index
    from pipeline.runs.merge import merge_runs
    from pipeline.runs.run import run_index
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ConsoleReporter": "pipeline.progress",
            "MaxactError": "pipeline.errors",
            "Network": "pipeline.networks.network",
            "Preprocess": "pipeline.images.preprocess",
            "RunConfig": "pipeline.config",
            "choose_layers": "pipeline.layers.choose",
            "load_network": "pipeline.networks.network",
            "merge_runs": "pipeline.runs.merge",
            "open_index": "pipeline.query.index",
            "run_index": "pipeline.runs.run",
        },
    )

__all__ = [
    "ConsoleReporter",
    "MaxactError",
    "Network",
    "Preprocess",
    "RunConfig",
    "choose_layers",
    "load_network",
    "merge_runs",
    "open_index",
    "run_index",
]
