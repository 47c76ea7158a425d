"""Uncertainty from run-to-run variation, as draws of every size's line (level at its centre, slope).

Points within a run are not independent, so the unit that is drawn is the run. A law linear in log X sees a run only
through its line, hence 10,000 draws are 10,000 small perturbations of sufficient statistics and cost what a few fits
cost.

Three ways to draw:

- effects (default where a size has several runs): each run's line deviates from its size's by (level, slope). The
  variance of the deviations by size is moderated: three runs estimate it poorly, so it is combined with what all sizes
  say together (within-run noise of that size + a run-to-run variance common to the sizes), with weights chosen by how
  much the sizes' variances really differ (Smyth 2004, doi:10.2202/1544-6115.1027). Draws are Student-t with the
  combined degrees of freedom: plain resampling of three runs makes intervals a fifth too narrow, before tails.
- runs: resampling of runs with replacement, R - 1 of R with weights R / (R - 1) (Rao and Wu 1988), which keeps the
  variance right.
- blocks (default where a size has one run): moving blocks of a run's own residuals (Kuensch 1989). They say nothing
  about what another run of that size would have done.

Not covered: sizes are not resampled; that the law itself is off at a size is the back-tests' business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats, Ints, Measurements
from tasks.fit.solver.line_statistics import LineStatistics, line_statistics
from tasks.fit.uncertainty.blocks import block_scores, long_run_ratio
from tasks.fit.uncertainty.moderation import moderate
from tasks.study.errors import InputError

RESAMPLINGS = ("auto", "effects", "runs", "blocks")


@dataclass(frozen=True)
class LineDraws:
    """Perturbations of each size's line.

    Attributes:
        level: shift of log10 L at the size's centre [B, S].
        slope: change of slope [B, S].
        center: log10 X of the centres [S].
        method: what was done, by size, e.g. effects or blocks [S].
        run_level: standard deviation of a single run's level about its size's [S]; 0 where one run says nothing.
        run_slope: the same of its slope [S].
        dof: degrees of freedom of the level's variance [S].
    """

    level: Floats
    slope: Floats
    center: Floats
    method: tuple[str, ...]
    run_level: Floats
    run_slope: Floats
    dof: Floats


@dataclass(frozen=True)
class _Runs:
    """Lines of runs relative to their size's line.

    Attributes:
        size: index of each run's size [R].
        level: level at the size's centre minus the size's mean of them [R].
        slope: slope minus the size's mean [R].
        noise_level: variance of the level due to within-run noise [R].
        noise_slope: the same of the slope [R].
        count: runs of each size [S].
    """

    size: Ints
    level: Floats
    slope: Floats
    noise_level: Floats
    noise_slope: Floats
    count: Ints


def draw_lines(
    points: Measurements, response: Floats, weight: Floats, draws: int, seed: int, resampling: str = "auto"
) -> LineDraws:
    """Draws perturbed lines of every size.

    Args:
        points: the points of a fit [P].
        response: its working response [P] (log10 L for squared error in log L).
        weight: its working weights [P].
        draws: how many, B.
        seed: of the generator.
        resampling: auto, effects, runs or blocks.

    Raises:
        InputError: unknown method, or one that needs several runs where there is one.
    """
    if resampling not in RESAMPLINGS:
        raise InputError(f"resampling {resampling!r} is unknown, expected one of {', '.join(RESAMPLINGS)}")
    rng = np.random.default_rng(seed)
    lines = line_statistics(points.x, response, weight, points.size, len(points.sizes))
    runs = _runs(points, response, weight, lines)
    several = runs.count > 1
    if resampling in ("effects", "runs") and not several.any():
        raise InputError(f"resampling {resampling} needs a size with several runs, found one run per size; use blocks")
    shape = (draws, len(points.sizes))
    if resampling == "blocks" or not several.any():
        level, slope = _blocks(points, response, weight, lines, rng, draws)
        zero = np.zeros(shape[1])
        return LineDraws(level, slope, lines.mx, ("blocks",) * shape[1], zero, zero, np.full(shape[1], np.inf))
    if resampling == "runs" and several.all():
        level, slope = _resampled(runs, rng, shape)
        run_level, run_slope = (np.sqrt(_moments(runs, values)[0]) for values in (runs.level, runs.slope))
        return LineDraws(
            level, slope, lines.mx, ("runs",) * shape[1], run_level, run_slope, runs.count.astype(np.float64) - 1.0
        )
    return _effects(runs, lines, rng, shape)


def _runs(points: Measurements, response: Floats, weight: Floats, lines: LineStatistics) -> _Runs:
    """Every run's own line, as its deviation from the mean line of its size's runs [R].

    With a run's weighted means (mx, my), slope b and Sxx = sum w (x - mx)^2, the level is read at the center c of its
    size, my + b (c - mx), and its noise variance is Var(my) + (c - mx)^2 Var(b) with Var(my) = V(w r) / W^2 and
    Var(b) = V(w r (x - mx)) / Sxx^2; V is `_score_variance` of the residuals r, W the sum of weights. Noise variances
    are averaged over the runs of a size.
    """
    count = len(points.runs)
    own = line_statistics(points.x, response, weight, points.run, count)
    size = np.zeros(count, dtype=np.int64)
    size[points.run] = points.size
    level = own.my + own.slope * (lines.mx[size] - own.mx)
    residual = response - own.my[points.run] - own.slope[points.run] * (points.x - own.mx[points.run])
    per_size = np.bincount(size, minlength=len(points.sizes))

    def pooled(values: Floats) -> Floats:
        return (np.bincount(size, weights=values, minlength=len(per_size)) / per_size)[size]

    score = weight * residual
    slope_score = score * (points.x - own.mx[points.run])
    noise_mean = pooled(_score_variance(points.run, score, count) / own.n**2)
    squares = np.where(own.cxx > 0, own.cxx, np.inf)
    noise_slope = pooled(_score_variance(points.run, slope_score, count) / squares**2)
    distance2 = (lines.mx[size] - own.mx) ** 2
    deviations = (level - pooled(level), own.slope - pooled(own.slope))
    return _Runs(size, *deviations, noise_mean + noise_slope * distance2, noise_slope, per_size)


def _score_variance(run: Ints, score: Floats, count: int) -> Floats:
    """Variance of each run's sum of scores [R]: heteroscedastic and autocorrelated (the meat of the sandwich
    estimator).

    The noise of log L differs along a trajectory and so does the leverage of a point; variance times sum of squares
    would mistake the one for the other.
    """
    length = np.bincount(run, minlength=count)
    squares = np.bincount(run, weights=score**2, minlength=count) * length / np.maximum(length - 2, 1)
    ratio = np.array([long_run_ratio(score[run == index]) for index in range(count)])
    return squares * ratio


def _moments(runs: _Runs, values: Floats) -> tuple[Floats, Floats]:
    """Unbiased variance of the deviations and its degrees of freedom, by size [S]."""
    dof = runs.count - 1.0
    total: Floats = np.bincount(runs.size, weights=values**2, minlength=len(runs.count)).astype(np.float64)
    return total / np.maximum(dof, 1.0), np.asarray(dof, dtype=np.float64)


def run_level_variance(points: Measurements) -> tuple[Floats, Floats]:
    """Moderated variance of a single run's level (mean log10 L) about its size's, and its degrees of freedom [S].

    Raises:
        InputError: no size has several runs.
    """
    weight = np.ones(len(points))
    lines = line_statistics(points.x, points.y, weight, points.size, len(points.sizes))
    runs = _runs(points, points.y, weight, lines)
    if not (runs.count > 1).any():
        raise InputError("run-to-run variation needs a size with several runs, found one run per size")
    variance, dof = _moments(runs, runs.level)
    within = np.bincount(runs.size, weights=runs.noise_level, minlength=len(runs.count)) / runs.count
    return moderate(variance, dof, within, np.abs(lines.my))


def _effects(runs: _Runs, lines: LineStatistics, rng: np.random.Generator, shape: tuple[int, int]) -> LineDraws:
    """Draws of each size's line from the run-to-run effects [B, S]; `shape` is (B, S).

    Level and slope of size s move by t_nu s_level / sqrt(R_s) and t_nu s_slope / sqrt(R_s): s^2 is the moderated
    variance of its R_s runs, nu its degrees of freedom, and the two are correlated by rho as the runs' deviations are.
    """
    scales = []
    for values, noise, magnitude in (
        (runs.level, runs.noise_level, np.abs(lines.my)),
        (runs.slope, runs.noise_slope, np.abs(lines.slope)),
    ):
        variance, dof = _moments(runs, values)
        within = np.bincount(runs.size, weights=noise, minlength=len(runs.count)) / runs.count
        scales.append(moderate(variance, dof, within, magnitude))
    (var_level, dof_level), (var_slope, dof_slope) = scales
    rho = _correlation(runs, np.sqrt(var_level), np.sqrt(var_slope))
    first, second = rng.standard_normal(shape), rng.standard_normal(shape)
    second = rho * first + np.sqrt(1 - rho**2) * second
    root = np.sqrt(runs.count)
    return LineDraws(
        first * _student(rng, dof_level, shape) * np.sqrt(var_level) / root,
        second * _student(rng, dof_slope, shape) * np.sqrt(var_slope) / root,
        lines.mx,
        tuple("effects" if count > 1 else "effects of other sizes" for count in runs.count),
        np.sqrt(var_level),
        np.sqrt(var_slope),
        dof_level,
    )


def _student(rng: np.random.Generator, dof: Floats, shape: tuple[int, int]) -> Floats:
    """sqrt(nu / chi2_nu): turns normal draws into Student-t ones."""
    finite = np.minimum(dof, 1e6)
    return np.sqrt(finite / rng.chisquare(np.broadcast_to(finite, shape)))


def _correlation(runs: _Runs, level: Floats, slope: Floats) -> float:
    """Correlation of a run's level and slope deviations, standardized by size and pooled; shrunk by its own error."""
    tiny = 1e-300
    first, second = runs.level / (level[runs.size] + tiny), runs.slope / (slope[runs.size] + tiny)
    norm = np.sqrt((first @ first) * (second @ second))
    dof = max(float((runs.count - 1).sum()), 1.0)
    if norm <= 0:
        return 0.0
    rho = float(first @ second / norm)
    return float(np.sign(rho) * np.sqrt(max(rho**2 - 1.0 / dof, 0.0)))


def _resampled(runs: _Runs, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Mean deviations of resampled runs, level and slope [B, S]: R - 1 of a size's R runs, with replacement."""
    level, slope = np.zeros(shape), np.zeros(shape)
    for index, count in enumerate(runs.count):
        of_size = runs.size == index
        weight = rng.multinomial(count - 1, np.full(count, 1.0 / count), size=shape[0]) / (count - 1.0)
        level[:, index], slope[:, index] = weight @ runs.level[of_size], weight @ runs.slope[of_size]
    return level, slope


def _blocks(
    points: Measurements, response: Floats, weight: Floats, lines: LineStatistics, rng: np.random.Generator, draws: int
) -> tuple[Floats, Floats]:
    """Moving-block draws of each run's residuals about its size's line, summed over the size's runs."""
    residual = response - lines.my[points.size] - lines.slope[points.size] * (points.x - lines.mx[points.size])
    level, slope = (np.zeros((draws, len(points.sizes))) for _ in range(2))
    design = np.stack([np.ones(len(points)), points.x - lines.mx[points.size]], axis=1)
    for run in range(len(points.runs)):
        rows = np.flatnonzero(points.run == run)
        size = points.size[rows[0]]
        first, second = block_scores(points.x[rows], residual[rows], weight[rows], design[rows], rng, draws).T
        level[:, size] += first / lines.n[size]
        slope[:, size] += second / lines.cxx[size]
    return level, slope
