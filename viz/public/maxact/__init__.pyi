from pipeline import *
from pipeline import errors as errors
from pipeline.version import __version__ as __version__
from viz import *
from viz import objectives as objectives
