"""The packages of a synthetic PyPI: how many files the latest release has, how large, and what its scan really costs.

Drawn, with PyPI's own figures in mind where they are known, and those of measured scans for the costs; docs/scaling.md
says which is which. The same number of packages gives the same packages.
"""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from pypi_scan.prediction import Measured

TIMEOUT = 1200.0  # seconds a package; what is not done by then is given up
FILES = {1: 0.42, 2: 0.50, 5: 0.04, 15: 0.025, 40: 0.013, 90: 0.002}  # files of a latest release: share of the packages
MEDIAN_BYTES, SIGMA_BYTES, MOST_BYTES = 14_000, 2.1, 1_500_000_000  # of a file without compiled code, log-normal
COMPILED = 15  # times as large is a file of a release with five files or more
SLOPE, EXPONENT = 1.3e-4, 0.7  # median CPU seconds, of the bytes that differ between files
SIGMA_SMALL, SIGMA_A_FACTOR = 0.6, 0.37  # log-normal: up to a megabyte, and more for each factor e above
SIGMA_MOST = 1.8
CHEAPEST = 0.03  # CPU seconds
# Of the packages, a month after their last scan.
NEW, CHANGED = 0.025, 0.10
SIGMA_AGAIN, SIGMA_CHANGED = 0.05, 0.30  # log-normal: the same scan measured again, and that of a new version


class Package(NamedTuple):
    """A package: the files of its latest release, their bytes together, and the CPU seconds that its scan takes."""

    name: str
    files: int
    size: int
    cost: float


def packages(names: Sequence[str]) -> list[Package]:
    """Return what the packages `names` are like."""
    draw = random.Random(len(names))  # noqa: S311
    return [_package(draw, name) for name in names]


def a_month_before(now: Sequence[Package]) -> dict[str, Measured]:
    """Return what was measured of the packages in a scan of a month ago, when some were not yet there."""
    draw = random.Random(-len(now))  # noqa: S311
    history = {}
    for package in now:
        kind = draw.random()
        if kind < NEW:
            continue
        sigma = SIGMA_CHANGED if kind < NEW + CHANGED else SIGMA_AGAIN
        cost = min(package.cost * draw.lognormvariate(0, sigma), TIMEOUT)
        size = round(package.size * draw.lognormvariate(0, sigma)) if kind < NEW + CHANGED else package.size
        history[package.name] = Measured(cost, package.files, size)
    return history


def _package(draw: random.Random, name: str) -> Package:
    (files,) = draw.choices(list(FILES), list(FILES.values()))
    median = MEDIAN_BYTES * (COMPILED if files >= 5 else 1)
    each = min(draw.lognormvariate(math.log(median), SIGMA_BYTES), MOST_BYTES)
    size = max(round(each * files), 500)
    sigma = SIGMA_SMALL + SIGMA_A_FACTOR * max(math.log(size / 1e6), 0.0)
    cost = SLOPE * (size / math.sqrt(files)) ** EXPONENT * draw.lognormvariate(0, min(sigma, SIGMA_MOST))
    return Package(name, files, size, min(max(cost, CHEAPEST), TIMEOUT))
