"""The page's look: colors and style sheet. No fonts or images, nothing from elsewhere.

Figures are drawn in the light colors, which become CSS variables inside the page, so that they follow the reader's
light or dark mode. Sizes and reuse factors are ordered, so they get a sequential scale (plasma) without its two ends,
which are hard to see on the page.
"""

from __future__ import annotations

from pathlib import Path

SCRIPTS = ("tables.js", "plan_model.js", "plan_page.js")
# By CSS variable: color in light and in dark mode.
COLORS = {
    "ink": ("#1b1f24", "#e6e8eb"),
    "muted": ("#5c6672", "#9aa4b0"),
    "rule": ("#dde1e6", "#343a42"),
    "base": ("#2563b0", "#6ea8f0"),
    "instruct": ("#c2571a", "#f0a05a"),
    "neutral": ("#7a8490", "#8e98a4"),
    "supported": ("#1e7d45", "#5cc98a"),
    "contradicted": ("#b3261e", "#f28b82"),
    "undecided": ("#8a6100", "#e0b54a"),
}
STEPS = 8

_RULES = """
:root { --font: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; --mono:
  ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; --ground: #ffffff; --card: #f6f7f9; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 var(--font); }
.page { display: grid; grid-template-columns: 11rem minmax(0, 66rem); gap: 3rem; max-width: 84rem; margin: 0 auto;
  padding: 0 2rem; }
nav { position: sticky; top: 0; align-self: start; padding: 3.4rem 0 1rem; font-size: .875rem; }
nav a { display: block; padding: .22rem 0; color: var(--muted); text-decoration: none; }
nav a:hover { color: var(--ink); }
header { padding: 3rem 0 0; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.015em; margin: 0 0 .4rem; text-wrap: balance; }
h2 { font-size: 1.45rem; letter-spacing: -.01em; margin: 3.2rem 0 .8rem; padding-top: 1.2rem; border-top: 1px solid
  var(--rule); }
h3 { font-size: 1.02rem; margin: 2rem 0 .6rem; }
p { margin: .6rem 0; max-width: 46rem; }
.sub { color: var(--muted); max-width: none; }
.lead { font-size: 1.15rem; }
.note, figcaption { color: var(--muted); font-size: .875rem; line-height: 1.5; }
.cards { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; margin: 1.2rem 0; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: .6rem; padding: 1.1rem 1.25rem; }
.card h3 { margin: .1rem 0 .5rem; line-height: 1.35; text-wrap: balance; }
.card ul { list-style: none; margin: .8rem 0 0; padding: 0; font-size: .84rem; color: var(--muted); }
.card li { padding: .14rem 0; display: grid; grid-template-columns: 1.1rem 9.5rem 1fr; gap: .3rem; }
.card li.kind { display: block; padding-top: .5rem; color: var(--ink); }
.card li b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
.card ul.reasons li { display: block; } .card details { margin: .8rem 0 0; } .card summary { font-size: .84rem; }
.kicker { font-size: .75rem; letter-spacing: .06em; text-transform: uppercase; color: var(--muted); }
.pills { display: flex; flex-wrap: wrap; gap: .4rem; }
.pill { display: inline-block; white-space: nowrap; padding: .08rem .55rem; border: 1px solid currentColor;
  border-radius: 1rem; font-size: .8rem; font-weight: 600; }
.sign { font-weight: 700; }
.supported { color: var(--supported); }
.contradicted { color: var(--contradicted); }
.undecided { color: var(--undecided); }
figure { margin: 1.6rem 0; }
.picture svg { display: block; width: 100%; height: auto; }
figcaption { margin-top: .5rem; max-width: 52rem; }
.frame { overflow: auto; max-height: 34rem; margin: .8rem 0; border: 1px solid var(--rule); border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .36rem .7rem; text-align: left; vertical-align: top; }
tbody tr + tr td { border-top: 1px solid var(--rule); }
th { position: sticky; top: 0; background: var(--card); color: var(--muted); font-weight: 600; vertical-align:
  bottom; }
.number { text-align: right; white-space: nowrap; }
td:first-child { white-space: nowrap; }
.sortable th { cursor: pointer; }
.sortable th:hover { color: var(--ink); }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--base); font-size: .92rem; }
code, pre { font-family: var(--mono); font-size: .86em; }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: .4rem; padding: 1rem; overflow: auto;
  max-height: 30rem; }
.bar { display: inline-block; width: 5rem; height: .5rem; background: var(--rule); border-radius: .25rem; overflow:
  hidden; }
.bar span { display: block; height: 100%; background: var(--base); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .3rem 1.5rem; font-size:
  .875rem; }
dl div { display: flex; justify-content: space-between; gap: 1rem; border-bottom: 1px solid var(--rule); padding:
  .2rem 0; }
dt { color: var(--muted); }
dd { margin: 0; text-align: right; }
.warnings { color: var(--undecided); font-size: .9rem; }
.warnings b { color: var(--ink); }
footer { margin: 4rem 0 3rem; color: var(--muted); font-size: .875rem; border-top: 1px solid var(--rule);
  padding-top: 1rem; }
@media (max-width: 62rem) { .page { grid-template-columns: minmax(0, 1fr); gap: 0; padding: 0 1.1rem; } nav {
  display: none; } .cards { grid-template-columns: minmax(0, 1fr); } }
@media print { nav { display: none; } .page { display: block; } .frame { max-height: none; } }
"""


def asset(name: str) -> str:
    """A file of `assets/`."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8").strip()


def color(name: str) -> str:
    """The light color of a name in `COLORS`."""
    light, _ = COLORS[name]
    return light


def sequential_colors(number: int) -> list[str]:
    """`number` light colors of the sequential scale, evenly over all of it; beyond `STEPS` colors repeat."""
    light = [pair[0] for pair in sequential_scale()]
    if number <= 1:
        return light[:1]
    return [light[round(index * (STEPS - 1) / (number - 1))] for index in range(number)]


def sequential_scale() -> list[tuple[str, str]]:
    """The `STEPS` colors of the sequential scale as (light, dark) pairs."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    plasma = colormaps["plasma"]
    fractions = [index / (STEPS - 1) for index in range(STEPS)]
    return [(to_hex(plasma(0.80 * fraction)), to_hex(plasma(0.36 + 0.60 * fraction))) for fraction in fractions]


def css_colors() -> dict[str, tuple[str, str]]:
    """CSS variables with their light and dark colors."""
    named = {f"--{name}": pair for name, pair in COLORS.items()}
    return named | {f"--step-{index}": pair for index, pair in enumerate(sequential_scale())}


def style_sheet() -> str:
    """The rules, after the colors as variables for light and dark mode."""
    colors = css_colors()
    light = " ".join(f"{name}: {pair[0]};" for name, pair in colors.items())
    dark = " ".join(f"{name}: {pair[1]};" for name, pair in colors.items())
    light_rule = f":root {{ color-scheme: light dark; {light} }}"
    dark_rule = f"@media (prefers-color-scheme: dark) {{ :root {{ --ground: #14171b; --card: #1c2026; {dark} }} }}"
    return "\n".join([light_rule, _RULES.strip(), asset("plan.css"), dark_rule])
