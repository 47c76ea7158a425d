"""The published fits (arXiv 2509.25300), for comparison only: squared error in linear loss, CMA-ES, all sizes.

E(N) differ in the published table by size; k follows from Kmax and N0. N are nominal parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.fit.data.measurements import Measurements

SIZES = (0.5e9, 1.5e9, 3e9, 7e9, 14e9, 32e9, 72e9)


@dataclass(frozen=True)
class PublishedFit:
    """Kmax, N0 and R2 (in linear loss) of a published fit, and the largest size it used."""

    kmax: float
    n0: float
    r2: float | None
    largest: float = 72e9


PUBLISHED = {
    ("base", "compute"): PublishedFit(0.13304, 1.378e10, 0.9955),
    ("base", "data"): PublishedFit(0.13996, 1.300e10, 0.9958),
    ("instruct", "compute"): PublishedFit(0.12942, 1.907e10, 0.9963),
    ("instruct", "data"): PublishedFit(0.14379, 1.997e10, 0.9964),
}
# Fits of the published extrapolation figure, on 0.5B to 32B.
WITHOUT_72B = {
    ("base", "compute"): PublishedFit(0.15182, 1.7365e10, None, 32e9),
    ("base", "data"): PublishedFit(0.16305, 1.6942e10, None, 32e9),
}
UNITS = {"compute": "compute", "compute_flops": "compute", "data": "data", "data_samples": "data"}


def published_fit(points: Measurements, variant: str) -> tuple[PublishedFit, PublishedFit | None] | None:
    """The published fits of these points, or None where they are not the published study's sizes and resource.

    Returns:
        The fit on all sizes, and the one without 72B where it is known.
    """
    key = (variant, UNITS.get(points.unit, points.unit))
    if key not in PUBLISHED or tuple(points.sizes) != SIZES:
        return None
    return PUBLISHED[key], WITHOUT_72B.get(key)
