"""log10 L = -k log10 X + E + d(tau): the effect of seeing every prompt tau times, at the same steps.

Fitted: k (dimensionless, common to all tau), E, and d(tau) (shift of log10 L against tau = 1, d(1) = 0). X in steps. In
the code tau stands where N stands elsewhere: the form is `constant` with E_tau = E + d(tau). Source: own; the claim it
tests is arXiv 2509.25300's.
"""

from __future__ import annotations

from dataclasses import replace

from tasks.fit.laws import constant

LAW = replace(
    constant.LAW,
    name="reuse",
    equation="log L = -k log X + E + d(tau)",
    source="own; for the data-reuse claim of arXiv 2509.25300",
)
