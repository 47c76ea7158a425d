// The arithmetic of `rlscale plan`: a model (`tasks/records/plans.py`) and a question in, the answer out.
"use strict";

/**
 * @typedef {Object} Question
 * @property {number} budget amount
 * @property {"gpu-h"|"usd"|"flop"} unit of the budget
 * @property {number} gpu index into the model's GPUs
 * @property {number} price USD per GPU-hour
 * @property {number|null} target loss to reach
 * @property {number|null} problems unique problems at hand
 */

const MOST_STEPS = 1e6;
const SLOPE_STEP = 0.1;

/** Little-endian float32 from base64. @param {string|null} text @returns {Float32Array|null} */
function unpack(text) {
  return text && new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

/** A model with its draws unpacked, or null where a number in it is not finite. @param {Object} model */
function openModel(model) {
  const [curves, shift, drift, late] = [model.curves, model.shift, model.drift, model.late].map(unpack);
  return { ...model, curves, shift, drift, late };
}

/** log10 L between knots; straight between them and beyond the ends. K values from `offset`. */
function between(model, values, offset, size, x) {
  const place = (x - model.start[size]) / model.spacing;
  const knot = Math.min(Math.max(Math.floor(place), 0), model.knots - 2);
  const from = values[offset + knot];
  return from + (values[offset + knot + 1] - from) * (place - knot);
}

const estimate = (model, size, x) => between(model, model.center[size], 0, size, x);

/** Draws of log10 L of a size at x [B]. @returns {Float64Array} */
function drawsAt(model, size, x) {
  const count = model.n.length, beyond = Math.max(x - model.ends[size], 0);
  return Float64Array.from({ length: model.draws }, (_, draw) => {
    const cell = draw * count + size;
    const shift = model.shift ? model.shift[cell] : 0;
    return between(model, model.curves, cell * model.knots, size, x) + shift + model.drift[cell] * beyond;
  });
}

/** What late or early steps add to the draws of a size at x [B]. */
function timeShift(model, size, x) {
  const count = model.n.length;
  return Float64Array.from({ length: model.draws }, (_, draw) => {
    const cell = draw * count + size, offset = cell * model.knots;
    const before = between(model, model.curves, offset, size, x - SLOPE_STEP);
    const slope = (between(model, model.curves, offset, size, x) - before) / SLOPE_STEP;
    return (-slope * model.late[cell] * model.spread) / Math.LN10;
  });
}

/** Quantiles of draws, linear between order statistics. @param {Float64Array} draws @param {number[]} levels */
function quantiles(draws, levels) {
  const sorted = Float64Array.from(draws).sort();
  return levels.map((level) => {
    const place = level * (sorted.length - 1), low = Math.floor(place);
    return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (place - low);
  });
}

/** A loss from its logarithm. */
const lossOf = (eta) => Math.min(10 ** eta, 1);

/** Price of one step of a size in the unit of the budget. @param {Question} question */
function stepPrice(model, question, size) {
  if (question.unit === "flop") return model.flops[size];
  return model.gpus[question.gpu].gpu_hours[size] * (question.unit === "usd" ? question.price : 1);
}

/** Loss of a size with its 95 % interval after some steps. */
function lossAfter(model, size, steps) {
  const x = Math.log10(model.rate[size] * steps);
  const [low, high] = quantiles(drawsAt(model, size, x), [0.025, 0.975]).map(lossOf);
  return { loss: lossOf(estimate(model, size, x)), low, high };
}

/** Every size under the budget, lowest loss first. @param {Question} question */
function optionsUnder(model, question) {
  const rows = model.n.map((n, size) => {
    const steps = Math.trunc((question.budget / stepPrice(model, question, size)) * (1 + 1e-12));
    const hours = steps * model.gpus[question.gpu].gpu_hours[size];
    const row = { size: model.labels[size], index: size, steps, gpu_hours: hours, usd: hours * question.price };
    const found = steps >= 1 ? lossAfter(model, size, steps) : { loss: null, low: null, high: null };
    const flops = steps * model.flops[size];
    return { ...row, ...found, flops, gpus: model.gpus[question.gpu].gpus[size], chance_best: 0 };
  });
  for (const [size, chance] of chances(model, question, rows).entries()) rows[size].chance_best = chance;
  return [...rows].sort((a, b) => Number(a.loss === null) - Number(b.loss === null) || a.loss - b.loss);
}

/** Share of the draws in which each size has the lowest loss. */
function chances(model, question, rows) {
  const wins = rows.map(() => 0);
  const draws = rows.map((row, size) => {
    if (row.steps < 1) return null;
    const x = Math.log10(model.rate[size] * row.steps), late = timeShift(model, size, x);
    const sure = question.unit === "flop";
    return drawsAt(model, size, x).map((eta, draw) => (sure ? eta : eta + late[draw]));
  });
  if (draws.every((own) => own === null)) return wins;
  for (let draw = 0; draw < model.draws; draw++) {
    let best = -1;
    draws.forEach((own, size) => {
      if (own && (best < 0 || own[draw] < draws[best][draw])) best = size;
    });
    wins[best] += 1 / model.draws;
  }
  return wins;
}

const STEP_GRID = [...new Set(Array.from({ length: 241 }, (_, i) => Math.round(MOST_STEPS ** (i / 240))))];

/** Fewest steps whose log10 loss is at or below the goal, or null. @param {(x: number) => number} eta */
function stepsTo(model, size, goal, eta) {
  const at = (steps) => eta(Math.log10(steps * model.rate[size]));
  const first = STEP_GRID.findIndex((steps) => at(steps) <= goal);
  if (first <= 0) return first < 0 ? null : 1;
  const [from, to] = [STEP_GRID[first - 1], STEP_GRID[first]], before = at(from);
  return Math.ceil(from * (to / from) ** ((before - goal) / (before - at(to))));
}

/** Steps and cost of every size to the target loss, cheapest first. @param {Question} question */
function waysTo(model, question) {
  const goal = Math.log10(question.target), hours = model.gpus[question.gpu].gpu_hours;
  const rows = model.n.map((n, size) => {
    const steps = stepsTo(model, size, goal, (x) => estimate(model, size, x));
    const sure = stepsTo(model, size, goal, (x) => quantiles(drawsAt(model, size, x), [0.8])[0]);
    const [cost, cost80] = [steps, sure].map((count) => (count === null ? null : count * hours[size]));
    return { size: model.labels[size], steps, gpu_hours: cost, steps_80: sure, gpu_hours_80: cost80 };
  });
  return rows.sort((a, b) => (a.gpu_hours ?? Infinity) - (b.gpu_hours ?? Infinity) || 0);
}

/** The answer to a question. @param {Question} question */
function answerOf(model, question) {
  const options = optionsUnder(model, question);
  const targets = question.target === null ? [] : waysTo(model, question);
  if (question.problems === null) return { options, targets, reuse: null };
  const tau = (options[0].steps * model.prompts) / question.problems, limit = model.reuse_limit;
  return { options, targets, reuse: { tau, limit, enough: tau <= limit } };
}
