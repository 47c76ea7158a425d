"""How often a true saturation would be supported: studies like this one, simulated from its own saturating fit.

All that the test sees of a run is its slope b_r and how well it is known, Sxx_r: with free levels the squared error of
a law with slope b exceeds the run's own by Sxx_r (b_r - b)^2. So a simulated study is a set of slopes, drawn as the
law's k of the size with the scatter of sizes, runs and points that the fit found, and a few hundred studies are a few
array operations. The rules are those of `saturation`; growth is judged by its likelihood ratio alone.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats, Ints
from tasks.fit.laws import LAWS
from tasks.fit.laws.forms import LineLaw
from tasks.fit.solver.line_statistics import LineStatistics, line_statistics
from tasks.fit.solver.variable_projection import Projection, profile, reference_size, variable_projection
from tasks.fit.uncertainty.inference import BootstrappedFit
from tasks.fit.uncertainty.run_lines import size_of_runs
from tasks.fit.uncertainty.student_t import quantile

_STUDIES = 400


def vuong_z(difference: Floats) -> Floats:
    """Sum over runs of log-likelihood differences [..., R] over its standard deviation; 0 where they do not vary."""
    count = difference.shape[-1]
    if count < 2:
        return np.zeros(difference.shape[:-1])
    deviation = np.asarray(difference.std(axis=-1, ddof=1) * np.sqrt(count))
    return np.divide(difference.sum(-1), deviation, out=np.zeros_like(deviation), where=deviation > 0)


def chance_of_support(saturating: BootstrappedFit, of_runs: tuple[float, float], with_sizes: float) -> float | None:
    """Share of simulated studies with this fit's design and scatter in which saturation is supported.

    Args:
        saturating: the fit with its draws.
        of_runs: variance of a point's working residual with all that runs vary by, and its degrees of freedom.
        with_sizes: the same variance with the scatter of sizes.

    Returns:
        None with fewer than 4 sizes, for which the verdict never leaves undecided.
    """
    points, lines = saturating.result.points, saturating.lines
    sizes = points.sizes
    if len(sizes) < 4:
        return None
    own = line_statistics(points.x, points.y, saturating.result.weight, points.run, len(points.runs))
    size, rng = size_of_runs(points), np.random.default_rng([saturating.result.options.seed, 7])
    runs = np.bincount(size)
    noise = np.sqrt(np.maximum(lines.slope.var(axis=0) - lines.size_slope**2, 0.0) * runs)
    k = saturating.result.parameters.k(sizes) + rng.standard_normal((_STUDIES, len(sizes))) * lines.size_slope
    slopes = -(k[:, size] + rng.standard_normal((_STUDIES, len(size))) * noise[size])
    laws = {name: _law(name) for name in ("saturating", "power_k", "constant")}
    total = _statistics(slopes, own.cxx, size, len(sizes))
    fits = {name: variable_projection(law, total, sizes) for name, law in laws.items()}
    squares = {name: _squares(slopes, own.cxx, size, _slopes(laws[name], fits[name], sizes)) for name in laws}
    z = vuong_z(squares["power_k"] - squares["saturating"])
    limit = float(quantile(0.95, max(len(size) - 1.0, 1.0)))
    grid_end = np.full(_STUDIES, np.log10(sizes[-1]) + 3.0)
    rise = profile(laws["saturating"], total, sizes, grid_end)[0] - fits["saturating"].rss
    gain = fits["constant"].rss - fits["saturating"].rss
    grows = gain > quantile(0.95, of_runs[1]) ** 2 * of_runs[0]
    bounded = rise > 1.959964**2 * with_sizes
    ahead = [_next_size_error(law, slopes, own.cxx, size, sizes) for law in (laws["saturating"], laws["power_k"])]
    return float(np.mean((z > limit) & grows & bounded & (ahead[0] < ahead[1])))


def _law(name: str) -> LineLaw:
    law = LAWS[name]
    assert isinstance(law, LineLaw)
    return law


def _statistics(slopes: Floats, cxx: Floats, size: Ints, sizes: int) -> LineStatistics:
    """Lines of sizes [B, S] that runs with these slopes [B, R] make, levels left out."""
    member = (size[:, None] == np.arange(sizes)).astype(float)
    zero = np.zeros((len(slopes), sizes))
    return LineStatistics(zero, zero, zero, zero + cxx @ member, (slopes * cxx) @ member, (slopes**2 * cxx) @ member)


def _slopes(law: LineLaw, fit: Projection, sizes: Floats, at: Floats | None = None) -> Floats:
    """Slopes of a fit to `sizes` at those sizes, or at others [B, Q]."""
    u, _ = law.basis(fit.theta, sizes if at is None else at, reference_size(sizes))
    return np.einsum("...sj,...j->...s", u, fit.beta)


def _squares(slopes: Floats, cxx: Floats, size: Ints, fitted: Floats) -> Floats:
    """Squared error of each run beyond its own line [B, R]."""
    return cxx * (slopes - fitted[:, size]) ** 2


def _next_size_error(law: LineLaw, slopes: Floats, cxx: Floats, size: Ints, sizes: Floats) -> Floats:
    """Sum of squares, over larger sizes, of log10 forecast / own slope from the smaller ones [B]."""
    errors = np.zeros(len(slopes))
    own = _statistics(slopes, cxx, size, len(sizes)).slope
    for index in range(3, len(sizes)):
        smaller = size < index
        lines = _statistics(slopes[:, smaller], cxx[smaller], size[smaller], index)
        fit = variable_projection(law, lines, sizes[:index])
        forecast = _slopes(law, fit, sizes[:index], sizes[index : index + 1])[:, 0]
        usable = (forecast < 0) & (own[:, index] < 0)
        ratio = np.divide(forecast, own[:, index], out=np.ones(len(slopes)), where=usable)
        errors += np.log10(ratio) ** 2
    return errors
