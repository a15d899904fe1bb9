"""``python -m benchmarks.quality``: see ``measure.py``."""

import sys
from importlib import import_module
from pathlib import Path

# As for the scripts beside this folder, which are started by their path.
sys.path.insert(0, str(Path(__file__).parents[1]))
import_module("quality.measure").main()
