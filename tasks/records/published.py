"""The published study (arXiv 2509.25300): its claims and its fits, to compare with and never to fit with.

The fits are by squared error in linear loss (CMA-ES) on all sizes, N in nominal parameters. E(N) differ in the
published table by size; k follows from Kmax and N0.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "arXiv 2509.25300"
SIZES = (0.5e9, 1.5e9, 3e9, 7e9, 14e9, 32e9, 72e9)
CLAIMS = {
    1: "Larger models reach lower loss at a fixed amount of compute, and of data",
    2: "One law, log L = −k(N) log X + E(N), describes loss against compute and data",
    3: "Learning efficiency k(N) grows with model size, and its growth saturates",
    4: "Data can be reused up to 25 times at hardly any loss; 100 times overfits moderately",
}
# Reuse counts as harmless while it raises the loss by less than this fraction.
HARMLESS = 0.05
# Names of the published resources in our own files and in the published tables.
UNITS = {"compute": "compute", "compute_flops": "compute", "data": "data", "data_samples": "data"}


@dataclass(frozen=True)
class PublishedFit:
    """Kmax, N0 and R2 (in linear loss) of a published fit, and the largest size it used."""

    kmax: float
    n0: float
    r2: float | None
    largest: float = 72e9


# By variant and resource.
FITS = {
    ("base", "compute"): PublishedFit(0.13304, 1.378e10, 0.9955),
    ("base", "data"): PublishedFit(0.13996, 1.300e10, 0.9958),
    ("instruct", "compute"): PublishedFit(0.12942, 1.907e10, 0.9963),
    ("instruct", "data"): PublishedFit(0.14379, 1.997e10, 0.9964),
}
# Those of the published extrapolation figure, on 0.5B to 32B.
FITS_WITHOUT_72B = {
    ("base", "compute"): PublishedFit(0.15182, 1.7365e10, None, 32e9),
    ("base", "data"): PublishedFit(0.16305, 1.6942e10, None, 32e9),
}
