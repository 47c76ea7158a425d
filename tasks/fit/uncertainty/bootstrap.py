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

Residuals are taken about the curve of the law where the law bends, about each size's own line where it is straight.
Not covered here: that the law is off at a size, which `size_scatter` adds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tasks.fit.data.measurements import Floats, Ints, Measurements
from tasks.fit.solver.estimate import FitResult
from tasks.fit.solver.line_statistics import LineStatistics, line_statistics
from tasks.fit.uncertainty.blocks import block_scores
from tasks.fit.uncertainty.moderation import moderate
from tasks.fit.uncertainty.run_lines import Deviations, RunLines, run_lines, series_of
from tasks.study.errors import InputError

RESAMPLINGS = ("auto", "effects", "runs", "blocks")


@dataclass(frozen=True)
class LineDraws:
    """Perturbations of each size's line.

    Attributes:
        level: shift of log10 L at the size's center [B, S].
        slope: change of slope [B, S].
        center: log10 X of the centers [S].
        method: what was done, by size, e.g. effects or blocks [S].
        run_level: standard deviation of a single run's level about its size's [S]; 0 where one run says nothing.
        run_slope: the same of its slope [S].
        dof: degrees of freedom of the level's variance [S].
        size_level: standard deviation of a size's own level about the law [S]; 0 where none is shown.
        size_slope: the same of its slope [S].
        tails: factor of each draw for what is drawn on top of the lines [B].
    """

    level: Floats
    slope: Floats
    center: Floats
    method: tuple[str, ...]
    run_level: Floats
    run_slope: Floats
    dof: Floats
    size_level: Floats
    size_slope: Floats
    tails: Floats


def draw_lines(
    points: Measurements,
    response: Floats,
    weight: Floats,
    draws: int,
    seed: int,
    resampling: str = "auto",
    curve: Floats | None = None,
) -> LineDraws:
    """Draws perturbed lines of every size.

    Args:
        points: the points of a fit [P].
        response: its working response [P] (log10 L for squared error in log L).
        weight: its working weights [P].
        draws: how many, B.
        seed: of the generator.
        resampling: auto, effects, runs or blocks.
        curve: what a law that bends gives for the response [P]; None: straight lines.

    Raises:
        InputError: unknown method, or one that needs several runs where there is one.
    """
    if resampling not in RESAMPLINGS:
        raise InputError(f"resampling {resampling!r} is unknown, expected one of {', '.join(RESAMPLINGS)}")
    rng = np.random.default_rng(seed)
    sizes = len(points.sizes)
    straight = line_statistics(points.x, response, weight, points.size, sizes)
    residual = response if curve is None else response - curve
    lines = straight if curve is None else line_statistics(points.x, residual, weight, points.size, sizes)
    runs = run_lines(points, residual, weight, lines)
    several = runs.several
    if resampling in ("effects", "runs") and not several.any():
        raise InputError(f"resampling {resampling} needs a size with several runs, found one run per size; use blocks")
    shape = (draws, sizes)
    none = np.zeros(sizes)
    if resampling == "blocks" or not several.any():
        spare = np.full(sizes, float(max(len(points) - 2 * sizes, 1)))
        tails = student_factor(rng, spare[:1], (draws, 1))
        level, slope = (tails * moved for moved in _blocks(points, residual, weight, lines, rng, draws))
        return LineDraws(level, slope, lines.mx, ("blocks",) * sizes, none, none, spare, none, none, tails[:, 0])
    if resampling == "runs" and several.all():
        level, slope = _resampled(runs, rng, shape)
        run_level, run_slope = (np.sqrt(values.variance(runs.size)) for values in (runs.level, runs.slope))
        method, dof, ones = ("runs",) * sizes, runs.level.dof, np.ones(draws)
        return LineDraws(level, slope, lines.mx, method, run_level, run_slope, dof, none, none, ones)
    return _effects(runs, straight, rng, shape)


def run_level_variance(points: Measurements) -> tuple[Floats, Floats]:
    """Moderated variance of a single run's level (mean log10 L) about its size's, and its degrees of freedom [S].

    Raises:
        InputError: no size has several runs.
    """
    weight = np.ones(len(points))
    lines = line_statistics(points.x, points.y, weight, points.size, len(points.sizes))
    runs = run_lines(points, points.y, weight, lines)
    if not runs.several.any():
        raise InputError("run-to-run variation needs a size with several runs, found one run per size")
    return _moderated(runs, runs.level, lines.my)


def _moderated(runs: RunLines, values: Deviations, magnitude: Floats) -> tuple[Floats, Floats]:
    return moderate(values.variance(runs.size), values.dof, values.noise, np.abs(magnitude))


def _effects(runs: RunLines, lines: LineStatistics, rng: np.random.Generator, shape: tuple[int, int]) -> LineDraws:
    """Draws of each size's line from the run-to-run effects [B, S]; `shape` is (B, S).

    Level and slope of size s move by t_nu s_level / sqrt(R_s) and t_nu s_slope / sqrt(R_s): s^2 is the moderated
    variance of its R_s (effective) runs, nu its degrees of freedom, and the two are correlated by rho as the runs'
    deviations are.
    """
    var_level, dof_level = _moderated(runs, runs.level, lines.my)
    var_slope, dof_slope = _moderated(runs, runs.slope, lines.slope)
    rho = _correlation(runs, np.sqrt(var_level), np.sqrt(var_slope))
    first, second = rng.standard_normal(shape), rng.standard_normal(shape)
    second = rho * first + np.sqrt(1 - rho**2) * second
    none = np.zeros(shape[1])
    return LineDraws(
        first * student_factor(rng, dof_level, shape) * np.sqrt(var_level / runs.level.count),
        second * student_factor(rng, dof_slope, shape) * np.sqrt(var_slope / runs.slope.count),
        lines.mx,
        tuple("effects" if several else "effects of other sizes" for several in runs.several),
        np.sqrt(var_level),
        np.sqrt(var_slope),
        dof_level,
        none,
        none,
        np.ones(shape[0]),
    )


def with_pooled_noise(draws: LineDraws, result: FitResult, rng: np.random.Generator) -> LineDraws:
    """Gives sizes with fewer than 3 points, whose own residuals say nothing, the noise of all points about the law.

    Its variance is SSR / (P - p) with p the law's parameters, its tails those of Student's t with P - p degrees of
    freedom.
    """
    points = result.points
    few = np.bincount(points.size) < 3
    if not few.any():
        return draws
    lines = line_statistics(points.x, result.response, result.weight, points.size, len(few))
    spare = float(max(len(points) - result.law.parameters(len(few)), 1))
    error = np.sqrt(float(result.weight @ result.residual_working**2) / spare)
    tails = student_factor(rng, np.array([spare]), (len(draws.level), 1))
    noise = error * tails * rng.standard_normal((2, *draws.level.shape))
    flat = np.where(lines.cxx > 0, lines.cxx, np.inf)
    level = np.where(few, noise[0] / np.sqrt(lines.n), draws.level)
    return replace(draws, level=level, slope=np.where(few, noise[1] / np.sqrt(flat), draws.slope))


def student_factor(rng: np.random.Generator, dof: Floats, shape: tuple[int, int]) -> Floats:
    """sqrt(nu / chi2_nu): turns normal draws into Student-t ones."""
    finite = np.minimum(dof, 1e6)
    return np.sqrt(finite / rng.chisquare(np.broadcast_to(finite, shape)))


def _correlation(runs: RunLines, level: Floats, slope: Floats) -> float:
    """Correlation of a run's level and slope deviations, standardized by size and pooled; shrunk by its own error."""
    tiny, full = 1e-300, runs.carries
    size = runs.size[full]
    first, second = runs.level.value[full] / (level[size] + tiny), runs.slope.value[full] / (slope[size] + tiny)
    norm = np.sqrt((first @ first) * (second @ second))
    dof = max(float(runs.slope.dof.sum()), 1.0)
    if norm <= 0:
        return 0.0
    rho = float(first @ second / norm)
    return float(np.sign(rho) * np.sqrt(max(rho**2 - 1.0 / dof, 0.0)))


def _resampled(runs: RunLines, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Mean deviations of resampled runs, level and slope [B, S]: R - 1 of a size's R runs, with replacement."""
    moved = np.zeros((2, *shape))
    for index in range(shape[1]):
        of_size = np.flatnonzero(runs.size == index)
        count = len(of_size)
        weight = rng.multinomial(count - 1, np.full(count, 1.0 / count), size=shape[0]) / (count - 1.0)
        for row, values in zip(moved, (runs.level, runs.slope), strict=True):
            row[:, index] = weight @ (count * values.share[of_size] * values.value[of_size])
    return moved[0], moved[1]


def _blocks(
    points: Measurements, residual: Floats, weight: Floats, lines: LineStatistics, rng: np.random.Generator, draws: int
) -> tuple[Floats, Floats]:
    """Moving-block draws of each run's residuals about its size's line, summed over the size's runs."""
    left = residual - lines.my[points.size] - lines.slope[points.size] * (points.x - lines.mx[points.size])
    level, slope = (np.zeros((draws, len(points.sizes))) for _ in range(2))
    design = np.stack([np.ones(len(points)), points.x - lines.mx[points.size]], axis=1)
    for rows in rows_of(series_of(points)):
        size = points.size[rows[0]]
        first, second = block_scores(points.x[rows], left[rows], weight[rows], design[rows], rng, draws).T
        level[:, size] += first / lines.n[size]
        if lines.cxx[size] > 0:
            slope[:, size] += second / lines.cxx[size]
    return level, slope


def rows_of(group: Ints) -> list[Ints]:
    """The rows of every group, in their order, for the groups that have any."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
