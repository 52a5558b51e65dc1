"""The project's settings with the one path of `benchmarks/stock.py`."""

from cdp.settings import *  # noqa: F403

MIDDLEWARE = [each for each in MIDDLEWARE if each != "cdp.till_lane.TillLane"]  # noqa: F405
ROOT_URLCONF = "benchmarks.stock"
