"""Figures of the published study (arXiv 2509.25300), shown beside this study's own."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "arXiv 2509.25300"
LARGEST = 72e9


@dataclass(frozen=True)
class PublishedFit:
    """A published fit of the saturating law: log10 L against X, N in nominal parameters."""

    kmax: float
    n0: float
    r2: float


FITS = {
    ("base", "compute"): PublishedFit(0.13304, 1.378e10, 0.9955),
    ("base", "data"): PublishedFit(0.13996, 1.300e10, 0.9958),
    ("instruct", "compute"): PublishedFit(0.12942, 1.907e10, 0.9963),
    ("instruct", "data"): PublishedFit(0.14379, 1.997e10, 0.9964),
}

CLAIMS = {
    1: "Larger models reach lower loss at a fixed amount of compute, and of data",
    2: "One law, log L = −k(N) log X + E(N), describes loss against compute and data",
    3: "Learning efficiency k(N) grows with model size, and its growth saturates",
    4: "Data can be reused up to 25 times at hardly any loss; 100 times overfits moderately",
}
