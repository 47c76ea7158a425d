"""Joint draws of the losses of several sizes at any X: one set of random numbers for a plan, its targets and its page.

    log10 L = curve(x) + shift + drift max(0, x - end) - slope(x) late spread / ln 10,      x = log10 X

curve: the fit's draws; shift: the law's error at an unseen size; drift: its error per decade beyond the trajectories'
end (both as in `forecast`); late: how far a step's seconds are off, in standard deviations, where X is bought by time;
slope: the curve's fall over the tenth of a decade before x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.forecasting.forecast import ExtrapolationSpread, drift_errors, law_shift
from tasks.fit.uncertainty.inference import BootstrappedFit

SLOPE_STEP = 0.1


@dataclass(frozen=True)
class PlanDraws:
    """Draws of Q sizes.

    Attributes:
        fit: a fit with draws.
        n: sizes [Q].
        ends: log10 X at which the trajectories end [Q].
        shift: error at an unseen size, log10 L [B, Q]; 0 at fitted ones.
        drift: error per decade beyond `ends` [B, Q].
        late: standard normal [B, Q].
    """

    fit: BootstrappedFit
    n: Floats
    ends: Floats
    shift: Floats
    drift: Floats
    late: Floats

    @classmethod
    def of(cls, fit: BootstrappedFit, sizes: list[float], error: ExtrapolationSpread) -> PlanDraws:
        """Draws for a plan.

        Args:
            fit: a fit, with draws, of a law that can speak about all of `sizes`.
            sizes: N.
            error: what `size_errors` found on the points of the fit.
        """
        options, points, n = fit.result.options, fit.result.points, np.array(sizes, dtype=float)
        rng = np.random.default_rng([options.seed, 2])
        shift = law_shift(rng, n, points.sizes, error, options.draws)
        scales = [drift_errors(size, fit, error) for size in n]
        drift = np.stack([scale * rng.standard_t(dof, size=options.draws) for scale, dof, _ in scales], axis=1)
        late = np.random.default_rng([options.seed, 7]).standard_normal((options.draws, len(n)))
        return cls(fit, n, np.array([end for _, _, end in scales]), shift, drift, late)

    def losses(self, x: Floats) -> Floats:
        """log10 L of every size at its own x [Q] -> [B, Q]."""
        return np.asarray(self.fit.draws.predict(self.n, x) + self.shift + self.drift * np.maximum(x - self.ends, 0.0))

    def of_size(self, index: int, x: Floats) -> Floats:
        """log10 L of one size at several x [G] -> [B, G]."""
        beyond = np.maximum(x - self.ends[index], 0.0)
        curve = self.fit.draws.predict(np.full(len(x), self.n[index]), x)
        return np.asarray(curve + self.shift[:, [index]] + self.drift[:, [index]] * beyond)

    def time_shift(self, x: Floats, spread: float) -> Floats:
        """What steps that take more or less time than predicted add at x [Q] -> [B, Q].

        Args:
            x: log10 X of every size.
            spread: standard deviation of log(measured / predicted) of a step's seconds.
        """
        predict = self.fit.draws.predict
        slope = (predict(self.n, x) - predict(self.n, x - SLOPE_STEP)) / SLOPE_STEP
        return np.asarray(-slope * self.late * spread / np.log(10.0))
