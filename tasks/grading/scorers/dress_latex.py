r"""Rules of `normalize` for how mathematics is set: characters, math mode, fonts, one spelling of each command."""

from __future__ import annotations

import re

OR = " \\vee "
AND = " \\wedge "
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿˣ", "0123456789+-nx", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_CHARACTERS = {
    "−": "-", "–": "-", "×": "\\times ", "÷": "\\div ", "·": "\\cdot ", "⋅": "\\cdot ", "∗": "*", "∞": "\\infty ",
    "≤": "\\le ", "≥": "\\ge ", "⩽": "\\le ", "⩾": "\\ge ", "≠": "\\ne ", "≈": "\\approx ", "±": "\\pm ",
    "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∅": "\\emptyset ", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}",
    "ℕ": "\\mathbb{N}", "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}", "⟨": "\\langle ", "⟩": "\\rangle ", "°": "^\\circ ",
    "º": "^\\circ ", "π": "\\pi ", "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "φ": "\\phi ",
    "λ": "\\lambda ", "μ": "\\mu ", "ω": "\\omega ", "σ": "\\sigma ", "δ": "\\delta ", "ε": "\\epsilon ",
    "Δ": "\\Delta ", "∨": OR, "∧": AND, "％": "\\%", "≡": "\\equiv ", "…": "\\ldots ", "⋯": "\\ldots ", "∠": "\\angle ",
    "⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ", "½": "\\frac{1}{2}", "⅓": "\\frac{1}{3}",
    "⅔": "\\frac{2}{3}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "⅕": "\\frac{1}{5}", "⅖": "\\frac{2}{5}",
    "⅗": "\\frac{3}{5}", "⅘": "\\frac{4}{5}", "⅙": "\\frac{1}{6}", "⅚": "\\frac{5}{6}", "⅛": "\\frac{1}{8}",
    "⅜": "\\frac{3}{8}", "⅝": "\\frac{5}{8}", "⅞": "\\frac{7}{8}", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    "，": ",", "（": "(", "）": ")", "：": ":", "；": ";", "⁄": "/", "∕": "/",
    "。": ".", "＝": "=", "、": ",", "→": "\\to ",
}  # fmt: skip
_CHARACTER = re.compile("|".join(map(re.escape, _CHARACTERS)))
_SUPERSCRIPT = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_SUBSCRIPT = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_UNICODE_ROOT = re.compile(r"√\s?(?:\(([^()]{1,40})\)|\{([^{}]{1,40})\}|([0-9]+(?:\.[0-9]+)?|[A-Za-z]))")


def unicode_mathematics(text: str) -> str:
    """`2√3`, `x²`, `½`, `∞`, `90°`, `≤` as LaTeX. Digits of other scripts stay: they are no answer."""
    if text.isascii():
        return text
    text = re.sub(r"∛\s?([0-9]+|[A-Za-z])", r"\\sqrt[3]{\1}", text)
    text = _UNICODE_ROOT.sub(lambda match: f"\\sqrt{{{next(filter(None, match.groups()))}}}", text)
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{''.join(map(_SUPERSCRIPTS.__getitem__, match.group()))}}}", text)
    text = _SUBSCRIPT.sub(lambda match: f"_{{{''.join(map(_SUBSCRIPTS.__getitem__, match.group()))}}}", text)
    text = re.sub(r"(?<=[0-9])(?=[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])", " ", text)
    return _CHARACTER.sub(lambda match: _CHARACTERS[match.group()], text)


_DOUBLED = re.compile(r"\\\\(?=[A-Za-z{}$%])")
_ROWS = re.compile(r"matrix|\\begin|cases|array")


def doubled_backslashes(text: str) -> str:
    r"""`19 \\text{ and } 30` as data files escape it; rows of a matrix keep theirs."""
    return text if _ROWS.search(text) else _DOUBLED.sub(r"\\", text)


_THIN = re.compile(r"\\!\s*")
_GROUP_SPACE = re.compile(r"(?<=[0-9])(?:\\[,;: ]|~)(?=[0-9]{3}(?![0-9]))")
_SPACE = re.compile(r"\\(?:[,;:]|quad|qquad|hspace\{[^{}]{0,20}\}|enspace|thinspace)|(?<!\\)\\(?= )|~|\s+")
_NOTHING = re.compile(r"\\(?:displaystyle|textstyle|limits|nolimits|bigl?|bigr|Bigl?|Bigr)(?![A-Za-z])|(?<!\\)\\\$|\$")
_DELIMITER = re.compile(r"\\(?:left|right)(?![A-Za-z])\s*\.?")
_MATH_MODE = re.compile(r"^\\\((.*)\\\)$|^\\\[(.*)\\\]$", re.DOTALL)


def layout(text: str) -> str:
    r"""Math mode, `\left`, `\displaystyle`, `\!`, spacing commands, dollar signs."""
    match = _MATH_MODE.match(text.strip())
    if match:
        text = next((part for part in match.groups() if part is not None), "")
    text = _GROUP_SPACE.sub("", _THIN.sub("", text))
    text = _DELIMITER.sub("", _NOTHING.sub("", text))
    return _SPACE.sub(" ", text).strip()


_FONT = re.compile(
    r"\\(?:math(?:rm|bf|sf|it|normal|tt)|text(?:bf|rm|it|sf|normal|up|tt)?|boldsymbol|bm|mbox|operatorname)\s*\{"
)
_OLD_FONT = re.compile(r"\{\\(?:rm|bf|it|sf)\s+([^{}]{0,60})\}|\\(?:rm|bf)\s+(?=[A-Za-z0-9])")
_LETTER_TEXT = re.compile(r"\\text\{\s*([A-Za-z0-9]|-?[0-9.,/]+)\s*\}")
_UNIT_MACRO = re.compile(r"\\(?:cm|mm|km|kg|meters?|degrees?)(?![A-Za-z])")


def fonts(text: str) -> str:
    r"""Every font command becomes `\text`; one letter or number in it stands alone (`\mathrm{e}`, `\mathbf{5}`)."""
    text = _OLD_FONT.sub(lambda match: f"\\text{{{match.group(1)}}}" if match.group(1) else "", text)
    text = _FONT.sub(r"\\text{", text)
    for _ in range(2):
        text = re.sub(r"\\text\{\s*\\text\{([^{}]*)\}\s*\}", r"\\text{\1}", text)
    text = re.sub(r"\\text\{\s*\}(?:\s*\^\s*[23]|\s*\^\{[23]\})?", " ", text)
    # One letter is a unit (6 \text{ m}) when it follows a value, and is a symbol elsewhere.
    return _LETTER_TEXT.sub(
        lambda match: (
            match.group() if _follows_value(text, match.start()) and match.group(1).isalpha() else match.group(1)
        ),
        text,
    )


def _follows_value(text: str, place: int) -> bool:
    before = text[max(0, place - 12) : place].rstrip()
    return bool(before) and (before[-1].isdigit() or before[-1] == "}") and _matched_units(text[place:])


def _matched_units(text: str) -> bool:
    return bool(re.match(r"\\text\{\s*(?:m|g|s|h|L|l|N|J|W|V|A|K|C|F|N|A)\s*\}", text))


_SPELLINGS = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\frac\s*([0-9])\s*([0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*([0-9A-Za-z])\s*(?=\{)"), r"\\frac{\1}"),
    (re.compile(r"\\frac\s*([0-9])\s*([A-Za-z])"), r"\\frac{\1}{\2}"),
    (re.compile(r"(\\frac\s*\{[^{}]{1,60}\})\s*([0-9A-Za-z])"), r"\1{\2}"),
    (re.compile(r"\\sqrt\s*([0-9A-Za-z])"), r"\\sqrt{\1}"),
    (re.compile(r"\\sqrt\s*\(([^()]{1,60})\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![A-Za-z\\])sqrt\s*\(([^()]{1,60})\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![A-Za-z\\])(?:pi)(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"\\(?:leq?slant|leq)(?![A-Za-z])|<="), r"\\le "),
    (re.compile(r"\\(?:geq?slant|geq)(?![A-Za-z])|>="), r"\\ge "),
    (re.compile(r"\\neq(?![A-Za-z])|!="), r"\\ne "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\(?:dots|cdots|dotsc|dotsb)(?![A-Za-z])|\.\.\.+"), r"\\ldots "),
    (re.compile(r"\\(?:varnothing)(?![A-Za-z])"), r"\\emptyset "),
    (re.compile(r"\\langle|\\lparen"), "("),
    (re.compile(r"\\rangle|\\rparen"), ")"),
    (re.compile(r"\\colon(?![A-Za-z])"), ":"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\lg(?![A-Za-z])"), r"\\log_{10}"),
    (re.compile(r"\\text\{\s*(arcsin|arccos|arctan|sin|cos|tan|ln|log|gcd|lcm)\s*\}"), r"\\\1 "),
    (re.compile(r"\{\s*([^{}]{1,20}?)\s*\\choose(?![A-Za-z])\s*([^{}]{1,20}?)\s*\}"), r"\\binom{\1}{\2}"),
    (re.compile(r"^([0-9A-Za-z]{1,9})\s*\\choose\s*([0-9A-Za-z]{1,9})$"), r"\\binom{\1}{\2}"),
    (re.compile(r"\\(?:lor)(?![A-Za-z])"), r"\\vee "),
    (re.compile(r"\\land(?![A-Za-z])"), r"\\wedge "),
    (re.compile(r"\*\*(?=[0-9({])"), "^"),
    (re.compile(r"\\mod(?![A-Za-z])"), r"\\pmod "),
    (re.compile(r"\\pmod\s*\{([^{}]{1,30})\}|\\pmod\s*([0-9A-Za-z]+)|\(\s*\\?(?:text\{\s*)?mod\s*\}?\s*([0-9A-Za-z]+)\s*\)"),
     lambda match: f"\\pmod{{{next(filter(None, match.groups())).strip()}}}"),
)  # fmt: skip


def spellings(text: str) -> str:
    r"""One spelling of each command: `\dfrac`, `\frac12`, `\sqrt3`, `<=`, `\geqslant`, `\langle`, `\dots`."""
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return text
