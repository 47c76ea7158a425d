// The section "Plan": reads the controls, shows the answer, draws losses against the budget.
"use strict";

const DECADES = 1.5, POINTS = 41, BAND_POINTS = 21;
const HINT = "Point at the chart, or move along it with the arrow keys. The buttons switch sizes off and on.";
const UNITS = { "gpu-h": "GPU-hours", usd: "USD", flop: "FLOPs" };

/** A number in three digits. @param {number|null} value */
function short(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  if (value < 1e-3 || value >= 1e7) return value.toExponential(2).replace("e+", "e").replace("-", "−");
  if (value >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}

/** A tick, without zeros at its end. */
const axisLabel = (value) => short(value).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

/** An element of HTML or SVG with attributes and children. */
function element(space, name, attributes = {}, ...children) {
  const made = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
const html = (name, attributes, ...children) =>
  element("http://www.w3.org/1999/xhtml", name, attributes, ...children);
const svg = (name, attributes, ...children) => element("http://www.w3.org/2000/svg", name, attributes, ...children);

/** A table's body from rows of texts; a cell's unrounded number goes into `data-value`. */
function fillTable(table, rows) {
  const cell = (value, index) => {
    const [text, number] = Array.isArray(value) ? value : [value, null];
    const made = html(index ? "td" : "th", index ? { class: "number" } : { scope: "row" }, text);
    if (number !== null) made.dataset.value = String(number);
    return made;
  };
  table.tBodies[0].replaceChildren(...rows.map((row) => html("tr", {}, ...row.map(cell))));
}

/** Points of the chart: budgets, and for each shown size its losses there. */
function chartData(model, question, hidden) {
  const at = (count, i) => question.budget * 10 ** (DECADES * ((2 * i) / (count - 1) - 1));
  const sizes = model.n.map((n, size) => size).filter((size) => !hidden.has(size));
  const along = (size, count, value) =>
    Array.from({ length: count }, (_, i) => at(count, i))
      .map((budget) => ({ budget, steps: budget / stepPrice(model, question, size) }))
      .filter((point) => point.steps >= 1)
      .map((point) => ({ ...point, ...value(point) }));
  const x = (size, steps) => Math.log10(model.rate[size] * steps);
  return sizes.map((size) => ({
    size,
    line: along(size, POINTS, ({ steps }) => ({ loss: lossOf(estimate(model, size, x(size, steps))) })),
    band: along(size, BAND_POINTS, ({ steps }) => lossAfter(model, size, steps)),
  }));
}

/** The lowest line at each budget. */
function envelope(series) {
  const best = new Map();
  for (const { size, line } of series) {
    for (const point of line) {
      if (!best.has(point.budget) || point.loss < best.get(point.budget).loss) best.set(point.budget, { ...point, size });
    }
  }
  return [...best.values()].sort((a, b) => a.budget - b.budget);
}

/** Measured points in the units of the chart. */
function measuredPoints(model, question, hidden, limits) {
  return model.measured
    .filter((curve) => !hidden.has(curve.size))
    .flatMap((curve) =>
      curve.steps.map((step, i) => {
        const budget = step * stepPrice(model, question, curve.size);
        return { size: curve.size, run: curve.run, steps: step, budget, loss: curve.losses[i] };
      }),
    )
    .filter(({ budget }) => budget >= limits[0] && budget <= limits[1]);
}

/** 1, 2 and 5 times powers of ten within limits; fewer where they would crowd. */
function ticks([low, high], most) {
  const powers = Array.from({ length: 80 }, (_, i) => i - 30).filter((p) => 10 ** p <= high && 10 ** (p + 1) >= low);
  for (const leads of [[1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1, 3], [1]]) {
    const found = powers.flatMap((p) => leads.map((lead) => lead * 10 ** p)).filter((v) => v >= low && v <= high);
    if (found.length <= most) return found;
  }
  return [];
}

const colorOf = (model, size) => `var(--step-${Math.round((size * 7) / Math.max(model.n.length - 1, 1))})`;

/** Scales of a chart of a width, from its data. */
function scalesOf(series, question, width) {
  const box = { left: 46, right: 12, top: 12, bottom: 44, width, height: Math.max(300, Math.min(440, width * 0.55)) };
  const x = [question.budget / 10 ** DECADES, question.budget * 10 ** DECADES];
  const losses = series.flatMap(({ line }) => line.map((point) => point.loss));
  const y = [Math.min(...losses, question.target ?? 1) / 1.12, Math.min(Math.max(...losses) * 1.12, 1.02)];
  const share = (value, [low, high]) => Math.log(value / low) / Math.log(high / low);
  const inside = (value) => Math.min(Math.max(value, y[0]), y[1]);
  return {
    box,
    x,
    y,
    left: (budget) => box.left + share(budget, x) * (box.width - box.left - box.right),
    top: (loss) => box.height - box.bottom - share(inside(loss), y) * (box.height - box.top - box.bottom),
  };
}

/** The chart as an SVG element. */
function drawChart(model, question, series, measured, scales) {
  const { box, left, top } = scales, path = (points, key = "loss") =>
    points.map((p, i) => `${i ? "L" : "M"}${left(p.budget).toFixed(1)} ${top(p[key]).toFixed(1)}`).join("");
  const label = `Predicted loss against budget in ${UNITS[question.unit]}, by size; arrow keys move along the budget`;
  const chart = svg("svg", { viewBox: `0 0 ${box.width} ${box.height}`, role: "img", tabindex: 0, "aria-label": label });
  for (const budget of ticks(scales.x, box.width / 70)) {
    const x = left(budget);
    chart.append(svg("line", { x1: x, x2: x, y1: box.top, y2: box.height - box.bottom, class: "grid" }));
    chart.append(svg("text", { x, y: box.height - 26, "text-anchor": "middle" }, axisLabel(budget)));
  }
  for (const loss of ticks(scales.y, 9)) {
    chart.append(svg("line", { x1: box.left, x2: box.width - box.right, y1: top(loss), y2: top(loss), class: "grid" }));
    chart.append(svg("text", { x: box.left - 6, y: top(loss) + 4, "text-anchor": "end" }, axisLabel(loss)));
  }
  for (const { size, band, line } of series) {
    const around = path(band, "low") + path([...band].reverse(), "high").replace("M", "L") + "Z";
    const color = colorOf(model, size);
    if (band.length > 1) chart.append(svg("path", { d: around, fill: color, class: "band" }));
    chart.append(svg("path", { d: path(line), stroke: color, class: "line" }));
  }
  for (const p of measured) {
    const place = { cx: left(p.budget).toFixed(1), cy: top(p.loss).toFixed(1), r: 1.8, fill: colorOf(model, p.size) };
    if (p.loss >= scales.y[0] && p.loss <= scales.y[1]) chart.append(svg("circle", place));
  }
  chart.append(svg("path", { d: path(envelope(series)), class: "envelope" }));
  const now = left(question.budget);
  chart.append(svg("line", { x1: now, x2: now, y1: box.top, y2: box.height - box.bottom, class: "mark" }));
  if (question.target !== null) {
    const y = top(question.target);
    chart.append(svg("line", { x1: box.left, x2: box.width - box.right, y1: y, y2: y, class: "mark" }));
  }
  const middle = (box.left + box.width - box.right) / 2;
  chart.append(svg("text", { x: middle, y: box.height - 6, "text-anchor": "middle" }, UNITS[question.unit]));
  return chart;
}

/** Words about a place of the chart: a measured point, or a size's curve. */
function words(model, question, place) {
  const budget = `${short(place.budget)} ${UNITS[question.unit]}`;
  if (place.run) return `${model.labels[place.size]}, run ${place.run}, step ${place.steps}: measured loss ${short(place.loss)}`;
  const found = lossAfter(model, place.size, place.steps);
  const interval = `${short(found.low)} to ${short(found.high)}`;
  return `${model.labels[place.size]} for ${budget}: ${short(Math.floor(place.steps))} steps, loss ${short(found.loss)} (95 %: ${interval})`;
}

/** The measured point within 10 pixels, else the nearest line. */
function nearest(series, measured, scales, x, y) {
  const distance = (p) => Math.hypot(scales.left(p.budget) - x, scales.top(p.loss) - y);
  const closest = (places) => places.reduce((a, b) => (a && distance(a) <= distance(b) ? a : b), null);
  const point = closest(measured);
  if (point && distance(point) < 10) return point;
  return closest(series.flatMap(({ size, line }) => line.map((place) => ({ ...place, size }))));
}

/** Reads and shows one section. */
class PlanSection {
  /** @param {HTMLElement} root @param {Object[]} plans */
  constructor(root, plans) {
    this.root = root;
    this.form = root.querySelector("form");
    this.models = new Map(plans.map((plan) => [plan.name, plan]));
    this.opened = new Map();
    this.hidden = new Set();
    this.cursor = null;
    this.form.addEventListener("input", (event) => this.changed(event.target));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    window.addEventListener("hashchange", () => this.readAddress());
    window.addEventListener("resize", () => this.show());
    root.querySelector("[data-static]").hidden = true;
    root.querySelector("[data-live]").hidden = false;
    this.readAddress();
  }

  field(name) {
    return this.form.elements.namedItem(name);
  }

  /** The chosen variant's model, unpacked when first asked for. */
  get model() {
    const name = this.field("variant").value;
    if (!this.opened.has(name)) this.opened.set(name, openModel(this.models.get(name)));
    return this.opened.get(name);
  }

  /** What the controls ask, or null where one of them holds no such number. @returns {Question|null} */
  question() {
    const number = (name) => (this.field(name).value.trim() === "" ? null : Number(this.field(name).value));
    const [budget, price, target, problems] = ["budget", "price", "target", "problems"].map(number);
    const bad = {
      budget: !(budget > 0 && budget < Infinity),
      price: !(price > 0 && price < Infinity),
      target: target !== null && !(target > 0 && target < 1),
      problems: problems !== null && !(problems >= 1 && problems < Infinity),
    };
    for (const [name, wrong] of Object.entries(bad)) this.field(name).setAttribute("aria-invalid", String(wrong));
    if (Object.values(bad).some(Boolean)) return null;
    return { budget, unit: this.field("unit").value, gpu: this.field("gpu").selectedIndex, price, target, problems };
  }

  /** Settings from the address: `#plan?budget=500&unit=usd`. */
  readAddress() {
    const query = location.hash.startsWith("#plan?") ? location.hash.slice(6) : "";
    for (const [name, value] of new URLSearchParams(query)) {
      if (this.field(name)) this.field(name).value = value;
      if (name === "gpu") this.takePrice();
    }
    const price = new URLSearchParams(query).get("price");
    if (price !== null) this.field("price").value = price;
    this.unit = this.field("unit").value;
    this.show();
  }

  takePrice() {
    this.field("price").value = String(this.model.gpus[this.field("gpu").selectedIndex].usd_per_hour);
  }

  /** A control changed: another GPU has another price, another unit another amount. */
  changed(control) {
    if (control.name === "gpu") this.takePrice();
    if (control.name === "variant") this.hidden.clear();
    if (control.name === "unit") {
      const now = this.question();
      const best = now && optionsUnder(this.model, { ...now, unit: this.unit })[0].index;
      const ratio = now && stepPrice(this.model, now, best) / stepPrice(this.model, { ...now, unit: this.unit }, best);
      if (now) this.field("budget").value = String(Number((now.budget * ratio).toPrecision(3)));
      this.unit = this.field("unit").value;
    }
    if (control.name === "slider") this.field("budget").value = String(Number((10 ** Number(control.value)).toPrecision(3)));
    history.replaceState(null, "", `#plan?${new URLSearchParams([...new FormData(this.form)].filter(([name]) => name !== "slider"))}`);
    this.show();
  }

  /** Shows the answer to what the controls ask. */
  show() {
    const question = this.question(), out = this.root.querySelector("[data-answer]");
    if (question === null) {
      out.textContent = "Budget, price, target loss or problems is no number that can be used.";
      return;
    }
    const answer = answerOf(this.model, question), best = answer.options[0];
    const slider = this.field("slider"), middle = Math.log10(question.budget);
    if (document.activeElement !== slider) [slider.min, slider.max, slider.value] = [middle - 2, middle + 2, middle];
    out.textContent = this.sentence(question, answer, best);
    this.showTables(question, answer);
    this.drawChart(question);
    this.drawLegend();
  }

  sentence(question, { reuse }, best) {
    const amount = `${short(question.budget)} ${UNITS[question.unit]}`;
    if (best.loss === null) return `${amount} do not pay for one step of any size.`;
    const data = reuse
      ? ` Each problem is seen ${short(reuse.tau)} times, ${reuse.enough ? "within" : "beyond"} the harmless ${short(reuse.limit)}.`
      : "";
    const chance = `best in ${short(100 * best.chance_best)} % of the draws`;
    return `${amount} are best spent on ${best.size}: ${short(best.steps)} steps to loss ${short(best.loss)} (95 %: ${short(best.low)} to ${short(best.high)}), ${chance}.${data}`;
  }

  showTables(question, { options, targets }) {
    const number = (value) => [short(value), value];
    const interval = (row) => (row.loss === null ? "–" : `${short(row.low)} to ${short(row.high)}`);
    fillTable(
      this.root.querySelector("[data-options] table"),
      options.map((row) => [
        row.size, number(row.loss), interval(row), number(row.chance_best), number(row.steps), number(row.gpu_hours),
        number(row.usd), number(row.gpus),
      ]),
    );
    const ways = this.root.querySelector("[data-targets]");
    ways.hidden = question.target === null;
    const count = (value) => [value === null ? "out of reach" : short(value), value];
    fillTable(
      ways.querySelector("table"),
      targets.map((row) => [row.size, count(row.steps), number(row.gpu_hours), count(row.steps_80), number(row.gpu_hours_80)]),
    );
  }

  drawChart(question) {
    const model = this.model, place = this.root.querySelector("[data-chart]");
    const series = chartData(model, question, this.hidden), lines = envelope(series);
    if (!lines.length) return place.replaceChildren();
    const scales = scalesOf(series, question, Math.max(place.clientWidth, 280));
    const measured = measuredPoints(model, question, this.hidden, scales.x);
    const chart = drawChart(model, question, series, measured, scales), tip = this.root.querySelector("[data-tip]");
    tip.textContent = HINT;
    const dot = svg("circle", { r: 4, class: "cursor", visibility: "hidden" });
    chart.append(dot);
    const say = (found) => {
      tip.textContent = found ? words(model, question, found) : HINT;
      dot.setAttribute("visibility", found ? "visible" : "hidden");
      if (!found) return;
      dot.setAttribute("cx", String(scales.left(found.budget)));
      dot.setAttribute("cy", String(scales.top(found.loss)));
    };
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect(), scale = scales.box.width / box.width;
      say(nearest(series, measured, scales, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale));
    });
    chart.addEventListener("pointerleave", () => say(null));
    chart.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      this.cursor = Math.min(Math.max((this.cursor ?? Math.floor(lines.length / 2)) + move, 0), lines.length - 1);
      say(lines[this.cursor]);
    });
    return place.replaceChildren(chart);
  }

  /** Buttons that switch sizes on and off. */
  drawLegend() {
    const model = this.model, legend = this.root.querySelector("[data-legend]");
    if (legend.dataset.of === model.name) {
      for (const [size, button] of [...legend.children].entries()) button.setAttribute("aria-pressed", String(!this.hidden.has(size)));
      return;
    }
    legend.dataset.of = model.name;
    const button = (label, size) => {
      const key = html("span", { class: "key", style: `background:${colorOf(model, size)}` });
      const made = html("button", { type: "button", "aria-pressed": String(!this.hidden.has(size)) }, key, label);
      made.addEventListener("click", () => {
        if (!this.hidden.delete(size)) this.hidden.add(size);
        this.show();
      });
      return made;
    };
    legend.replaceChildren(...model.labels.map(button));
  }
}

const planData = document.getElementById("plan-data");
if (planData) new PlanSection(document.querySelector("[data-plan]"), JSON.parse(planData.textContent).plans);
