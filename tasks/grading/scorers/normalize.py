r"""Strips the dress of a mathematical answer: what changes its looks and not its value. Text in, text out.

`normalize` applies the rules of `RULES` in the order written there; each is a small function on text with its own
tests. What a rule does not know it leaves, and `unread` then tells that words or marks are left which the parser would
drop or misread: for an answer the verdict is "wrong", for a ground truth "unjudged".

Decided once: a percentage equals the number before its sign as well as its hundredth (`28\%`, `28` and `0.28` are
equal where one of the two is written with a sign); degrees are a unit outside of trigonometric functions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

MAX_LENGTH = 4_000
OR = " \\vee "
AND = " \\wedge "

# --- characters -------------------------------------------------------------------------------------------------------
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
    "，": ",", "（": "(", "）": ")", "：": ":", "；": ";", "。": ".", "＝": "=", "、": ",", "→": "\\to ",
}  # fmt: skip
_CHARACTER = re.compile("|".join(map(re.escape, _CHARACTERS)))
_SUPERSCRIPT = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_SUBSCRIPT = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_UNICODE_ROOT = re.compile(r"√\s?(?:\(([^()]{1,40})\)|\{([^{}]{1,40})\}|([0-9]+(?:\.[0-9]+)?|[A-Za-z]))")


def unicode_mathematics(text: str) -> str:
    """`2√3`, `x²`, `½`, `∞`, `90°`, `≤` as LaTeX. Digits of other scripts stay: they are no answer."""
    if text.isascii():
        return text
    text = _UNICODE_ROOT.sub(lambda match: f"\\sqrt{{{next(filter(None, match.groups()))}}}", text)
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{''.join(map(_SUPERSCRIPTS.__getitem__, match.group()))}}}", text)
    text = _SUBSCRIPT.sub(lambda match: f"_{{{''.join(map(_SUBSCRIPTS.__getitem__, match.group()))}}}", text)
    text = re.sub(r"(?<=[0-9])(?=[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])", " ", text)
    return _CHARACTER.sub(lambda match: _CHARACTERS[match.group()], text)


# --- LaTeX ------------------------------------------------------------------------------------------------------------
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
        text = pattern.sub(replacement, text)  # type: ignore[arg-type]
    return text


# --- words ------------------------------------------------------------------------------------------------------------
_LEAD = re.compile(
    r"^(?:\\text\{)?\s*(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:the|my)\s+)?(?:final\s+|correct\s+)?"
    r"(?:answer|ans|result|solution|value)s?\s*(?:is|are|=|:)\s*:?\s*\}?",
    re.IGNORECASE,
)
_ASIDE = re.compile(
    r"\s*(?:\\text\{\s*)?\(\s*(?:\\text\{\s*)?(?:since|because|for|where|as|by|with|approximately|approx)\b.*$",
    re.DOTALL,
)
_REMARK = re.compile(
    r",?\s*(?:\\text\{\s*,?\s*(?:for (?:some|any|all|every|each)|for|where|since|because|as)\b|(?<![A-Za-z\\])(?:for (?:some|any|all|every|each)|where|since|because)\b).*$",
    re.DOTALL,
)
_TICK = re.compile(r"\\checkmark|[✓✔✅☑]|\\(?:blacksquare|square|qed)(?![A-Za-z])|\*\*")
_TAIL = re.compile(r"[\s.;,]+$")
_QUOTES = re.compile(r"^[\"'`“”]+|[\"'`“”]+$")


_CALCULATION = re.compile(r"[.})]\s*[-+*/^]\s*\w+\s*$")


def remarks(text: str) -> str:
    """`The answer is 5`, `5 (since x>0)`, `ax for some integer a`, check marks, a full stop at the end."""
    text = _TICK.sub(" ", text)
    for pattern in (_LEAD, _ASIDE, _REMARK):
        shorter = pattern.sub("", text).strip()
        if _CALCULATION.search(text[len(shorter) :]):
            continue
        if re.search(r"[0-9A-Za-z]", shorter) and _balanced(shorter):
            text = shorter
    ending = _TAIL.sub("", text)
    return _QUOTES.sub("", ending) if ending and not ending.endswith("\\") else text


def _balanced(text: str) -> bool:
    return (text.count("{") == text.count("}") and text.count("(") == text.count(")")) or (
        text.count("{") == text.count("}") and bool(re.search(r"[\[(][^()\[\]]*[\])]", text))
    )


_OR_WORD = re.compile(r",?\s*(?:\\text\{\s*,?\s*or\s*\}|(?<![A-Za-z\\])or(?![A-Za-z]))\s*", re.IGNORECASE)
_AND_WORD = re.compile(r",?\s*(?:\\text\{\s*,?\s*(?:and|&)\s*\}|(?<![A-Za-z\\])and(?![A-Za-z]))\s*", re.IGNORECASE)


_INEQUALITY = re.compile(r"[<>]|\\(?:le|ge|ne)(?![A-Za-z])")


def connectives(text: str) -> str:
    r"""`or` becomes `\vee`, `and` a comma (`\wedge` between inequalities), in text or bare."""
    text = _OR_WORD.sub(lambda _: OR, text)
    return _AND_WORD.sub(lambda _: AND if _INEQUALITY.search(text) else ", ", text)


# --- units ------------------------------------------------------------------------------------------------------------
_MONEY_BEFORE = re.compile(
    r"^(-?)\s*(?:[£€¥₹₽₩]|(?:\\text\{\s*)?(?:Rs\.?|USD|EUR|GBP|US\$|INR)\s*\}?|\\(?:pounds|euro|yen|textsterling))\s*(?=[0-9.])"
)
_MONEY_AFTER = re.compile(
    r"(?<=[0-9])\s*(?:[£€¥₹₽₩]|\\text\{\s*(?:USD|EUR|GBP|Rs\.?)\s*\}|(?:USD|EUR|GBP)(?![A-Za-z]))\s*$"
)
_UNIT_WORDS = [
    "mm",
    "cm",
    "dm",
    "km",
    "m",
    "in",
    "ft",
    "yd",
    "mi",
    "kg",
    "mg",
    "lb",
    "lbs",
    "oz",
    "g",
    "ml",
    "mL",
    "L",
    "l",
    "s",
    "sec",
    "secs",
    "ms",
    "min",
    "mins",
    "h",
    "hr",
    "hrs",
    "N",
    "J",
    "W",
    "V",
    "A",
    "K",
    "Hz",
    "kHz",
    "Pa",
    "mol",
    "C",
    "F",
    "kW",
    "kWh",
    "cc",
    "mph",
    "kmph",
    "kmh",
    "kph",
    "bits?",
    "bytes?",
    "meters?",
    "metres?",
    "kilometers?",
    "kilometres?",
    "centimeters?",
    "centimetres?",
    "millimeters?",
    "inch",
    "inches",
    "foot",
    "feet",
    "yards?",
    "miles?",
    "grams?",
    "kilograms?",
    "pounds?",
    "ounces?",
    "tons?",
    "tonnes?",
    "liters?",
    "litres?",
    "gallons?",
    "quarts?",
    "seconds?",
    "minutes?",
    "hours?",
    "days?",
    "weeks?",
    "months?",
    "years?",
    "yrs?",
    "decades?",
    "degrees?",
    "radians?",
    "rad",
    "dollars?",
    "cents?",
    "euros?",
    "rupees?",
    "pence",
    "yen",
    "units?",
    "points?",
    "people",
    "persons?",
    "men",
    "women",
    "children",
    "students?",
    "girls?",
    "boys?",
    "apples?",
    "oranges?",
    "coins?",
    "balls?",
    "marbles?",
    "books?",
    "tickets?",
    "ways?",
    "times",
    "cards?",
    "games?",
    "pieces?",
    "sides?",
    "edges?",
    "vertices",
    "faces?",
    "diagonals?",
    "digits?",
    "numbers?",
    "integers?",
    "solutions?",
    "pairs?",
    "triangles?",
    "squares",
    "cubes?",
    "rectangles?",
    "circles?",
    "tiles?",
    "boxes",
    "bags?",
    "cookies",
    "pages?",
    "steps?",
    "cars?",
    "dogs?",
    "cats?",
    "pencils?",
    "pens?",
    "eggs?",
    "trees?",
    "flowers?",
    "chairs?",
    "tables?",
    "cups?",
    "slices?",
    "pizzas?",
    "candies",
    "stickers?",
    "stamps?",
    "toys?",
    "Äpfel",
    "Stück",
    "euros?",
    "members?",
    "teachers?",
    "houses?",
    "rooms?",
    "shirts?",
    "bottles?",
    "questions?",
    "problems?",
    "divisors?",
    "factors?",
    "terms?",
    "zeros?",
    "roots?",
    "values?",
    "primes?",
]
_UNIT_WORD = f"(?:{'|'.join(dict.fromkeys(_UNIT_WORDS))})"
_LONG_UNIT = f"(?:{'|'.join(dict.fromkeys(word for word in _UNIT_WORDS if len(word) > 1 and word not in {'in'}))})"
_POWER = r"(?:\s*\^\s*\{?[23]\}?)?"
_MODIFIER = r"(?:(?:square|cubic|sq|cu)\.?\s+)?"
_PHRASE = rf"{_MODIFIER}{_UNIT_WORD}\.?{_POWER}(?:\s*(?:/|per)\s*(?:{_UNIT_WORD})\.?{_POWER})?"
_UNIT_TEXT = re.compile(
    rf"(?<=[0-9A-Za-z}})\]])\s*\\text\{{\s*[-]?{_PHRASE}\s*\}}(?:\s*/\s*\\text\{{\s*{_UNIT_WORD}\s*\}})?{_POWER}\s*(?=$|[,)\]]| \\vee)",
    re.UNICODE,
)
_UNIT_BARE = re.compile(
    rf"(?<=[0-9}})])\s*{_MODIFIER}{_LONG_UNIT}\.?(?:/{_UNIT_WORD}|\s+per\s+{_LONG_UNIT})?{_POWER}\s*(?=$|[,)\]]| \\vee)"
)
_DEGREE = re.compile(r"\s*\^\s*(?:\\circ|\{\s*\\circ\s*\}|\\degree|\{\\degree\})|(?<=[0-9])\s*\\degree(?![A-Za-z])")
_DEGREE_SCALE = re.compile(r"(?<=DEG)\s*(?:\\text\{\s*[CF]\s*\}|[CF](?![A-Za-z]))\s*$")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREE_VALUE = re.compile(r"\(?([0-9]+(?:\.[0-9]+)?|\\frac\{[0-9]+\}\{[0-9]+\})\)?DEG\)?")


def money(text: str) -> str:
    """A currency before or after a number."""
    return _MONEY_AFTER.sub("", _MONEY_BEFORE.sub(r"\1", text))


def degrees(text: str) -> str:
    """A degree sign: a factor of pi/180 where the text has a trigonometric function, else a unit."""
    text = _DEGREE.sub("DEG", text)
    if "DEG" not in text or "\\pi" in text:
        return text
    if _TRIGONOMETRIC.search(text):
        text = re.sub(r"\(\s*([0-9.]+)DEG\s*\)", r"\1DEG", text)
        return re.sub(r"([0-9]+(?:\.[0-9]+)?)DEG", r"{(\\frac{\1\\pi}{180})}", text)
    return _DEGREE_SCALE.sub("", text).replace("DEG", "")


def units(text: str) -> str:
    r"""One unit after a value: `12\text{ cm}`, `9.8\,\text{m/s}^2`, `46 apples`; not two of them, nor single bare letters."""
    if len(re.findall(r"\\text\{", text)) <= max(1, text.count(",") + text.count(OR) + 1):
        shorter = _UNIT_TEXT.sub("", text)
        if not re.search(r"\\text", shorter):
            text = shorter
    shorter = _UNIT_BARE.sub("", text)
    return text if re.search(rf"[0-9]\s*{_LONG_UNIT}(?![A-Za-z])", shorter) else shorter


# --- numbers ----------------------------------------------------------------------------------------------------------
_SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NUMBER_WORDS = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * place for place, word in enumerate(_TENS, 2)
}
_SPELLED = re.compile(r"^(?:\\text\{\s*)?([A-Za-z]+)(?:[-\s]([A-Za-z]+))?\s*\}?$")
_POWERS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALE = re.compile(rf"^(-?[0-9][0-9,]*)(?:\.([0-9]+))?\s*(?:\\text\{{\s*)?({'|'.join(_POWERS)})s?\s*\}}?$")


def number_words(text: str) -> str:
    r"""`seven`, `twenty-one`, `3\text{ million}` as digits."""
    match = _SCALE.match(text)
    if match:
        whole, decimals, scale = match.group(1).replace(",", ""), match.group(2) or "", _POWERS[match.group(3)]
        return whole + decimals.ljust(scale, "0") if len(decimals) <= scale else text
    match = _SPELLED.match(text)
    if not match or match.group(1).lower() not in _NUMBER_WORDS:
        return text
    first, second = _NUMBER_WORDS[match.group(1).lower()], (match.group(2) or "").lower()
    if not second:
        return str(first)
    return str(first + _NUMBER_WORDS[second]) if first >= 20 and 0 < _NUMBER_WORDS.get(second, 0) < 10 else text


_PERCENT = re.compile(
    r"\s*(?:\\text\{\s*(?:percent(?:age)?(?: points?)?|per cent|pct\.?|%|\\%)\s*\}|(?<![A-Za-z])(?:percent(?:age)?|per cent|pct)(?![A-Za-z])|\\?%)",
    re.IGNORECASE,
)


def percent(text: str) -> str:
    r"""Every spelling of a percent sign becomes `\%`, straight after its number."""
    return _PERCENT.sub(r"\\%", text)


_LIST_COMMA = re.compile(r"(?<![0-9,.])([1-9][0-9]{0,2}(?:,[0-9]{3})+)(?![0-9,])")
_GROUPED_ALONE = re.compile(r"^-?[1-9][0-9]{0,2}(?:[ ][0-9]{3})+(?:\.[0-9]+)?$")
_SCIENTIFIC = re.compile(r"(?<![0-9A-Za-z.])(-?[0-9]+(?:\.[0-9]+)?)[eE]([+-]?)([0-9]{1,4})(?![0-9A-Za-z.])")
_MIXED = re.compile(r"(?<![0-9A-Za-z./}^_])([0-9]{1,9})\s+([0-9]{1,9})\s*/\s*([0-9]{1,9})(?![0-9/])")
_MIXED_FRAC = re.compile(r"(?<![0-9A-Za-z./}^_])([0-9]{1,9})\s*\\frac\s*\{([0-9]{1,9})\}\s*\{([0-9]{1,9})\}")
_REPEATING = re.compile(
    r"(?<![0-9.])([0-9]{0,15})\.([0-9]{0,15})(?:\\(?:overline|bar|dot|overset\{\.\})\s*(?:\{([0-9]{1,30})\}|([0-9]))((?:[0-9]*\\dot\{?[0-9]\}?)?))"
)


def repeating_decimals(text: str) -> str:
    r"""`0.1\overline{6}`, `0.\bar{3}`, `0.\dot{1}4285\dot{7}` as the fraction they are."""
    return _REPEATING.sub(_as_fraction, text)


def _as_fraction(match: re.Match[str]) -> str:
    whole, fixed, period = match.group(1) or "0", match.group(2), match.group(3) or match.group(4)
    period += re.sub(r"[^0-9]", "", match.group(5) or "")
    top = int(whole + fixed + period) - int(whole + fixed)
    return f"\\frac{{{top}}}{{{10 ** len(fixed) * (10 ** len(period) - 1)}}}"


def numbers(text: str) -> str:
    r"""Thousands separators, `1.2e3`, mixed numbers. A comma inside brackets separates elements: `\{1,234\}` is two."""
    text = repeating_decimals(text)
    if not re.search(r"[({\[]", text):
        text = _LIST_COMMA.sub(lambda match: match.group(1).replace(",", ""), text) if _one_number(text) else text
    if _GROUPED_ALONE.match(text):
        text = text.replace(" ", "")
    text = _SCIENTIFIC.sub(lambda m: f"{m.group(1)}\\times 10^{{{m.group(2).replace('+', '')}{m.group(3)}}}", text)
    for pattern in (_MIXED, _MIXED_FRAC):
        text = pattern.sub(_improper, text)
    return re.sub(r"(?<![0-9])\.(?=[0-9])", "0.", text)


def _one_number(text: str) -> bool:
    return bool(re.search(r"(?<![0-9,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9,])", text)) and ", " not in text


def _improper(match: re.Match[str]) -> str:
    whole, top, bottom = map(int, match.groups())
    return f"\\frac{{{whole * bottom + top}}}{{{bottom}}}" if 0 < top < bottom else match.group()


RULES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("doubled backslashes", doubled_backslashes),
    ("Unicode mathematics", unicode_mathematics),
    ("layout", layout),
    ("fonts", fonts),
    ("spellings", spellings),
    ("remarks", remarks),
    ("connectives", connectives),
    ("money", money),
    ("percent", percent),
    ("degrees", degrees),
    ("number words", number_words),
    ("units", units),
    ("numbers", numbers),
)


@functools.lru_cache(maxsize=4096)
def normalize(text: str) -> str:
    """Returns the text without its dress; longer texts than 4,000 characters as they are."""
    if len(text) > MAX_LENGTH:
        return text
    text = text.strip()
    for _, rule in RULES:
        text = rule(text)
    text = re.sub(r"\s+", " ", text).strip()
    while len(text) > 2 and text[0] == "{" and text[-1] == "}" and _wraps(text):
        text = text[1:-1].strip()
    return text


def _wraps(text: str) -> bool:
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return place == len(text) - 1
    return False


# --- what is left -----------------------------------------------------------------------------------------------------
_COMMAND = re.compile(r"\\[A-Za-z]+")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "max", "min", "gcd", "lcm", "det", "arcsin", "arccos",
              "arctan", "sinh", "cosh", "tanh", "matrix", "pmatrix", "bmatrix", "vmatrix", "array", "cases"}  # fmt: skip
_BARE_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}(?![A-Za-z])")
_COMMON = {"is", "not", "the", "for", "odd", "even", "and", "or", "if", "no", "yes", "are", "all", "any", "than", "mod", "base",
           "am", "pm", "in", "at", "to", "of", "with", "less", "more", "but", "only", "none", "deg"}  # fmt: skip
_MARKS = re.compile(
    r"\\(?:ldots|vdots|sim|cong|perp|parallel|pmod|equiv|mapsto|to|mid|nmid|implies|iff|forall|exists|overline|underline|hat|vec|tilde)(?![A-Za-z])|[?&#@;]"
)
_CLOCK = re.compile(r"^[0-9]{1,2}:[0-5][0-9]$")
_BASE = re.compile(r"(?<![A-Za-z])[0-9A-F]+\)?\s*_\s*(?:\{?\s*[0-9]+\s*\}?)")
_CAPITALS = re.compile(r"[A-Z]{2,}")
_PURE_WORDS = re.compile(r"(?:\\text\{[^{}\\]*\}|[\w\s.,'()-])+")


def unread(text: str) -> str | None:
    """Returns what of a normalized text the parser would drop or misread, or None."""
    for match in _TEXT.finditer(text):
        if re.search(r"\w", match.group(1)):
            return f"the words {match.group(1).strip()[:40]!r}"
    bare = _COMMAND.sub(" ", _TEXT.sub(" ", text))
    for match in _BARE_WORD.finditer(bare):
        word = match.group()
        if word not in _FUNCTIONS and (len(word) > 3 or word.lower() in _COMMON):
            return f"the word {word[:40]!r}"
    if _CLOCK.match(text):
        return "a time of day"
    if _BASE.search(text):
        return "a base"
    capitals = _CAPITALS.fullmatch(text)
    if capitals:
        return "names of points"
    match = _MARKS.search(text if not _ROWS.search(text) else text.replace("&", ""))
    if match and not (match.group() == "\\to" and "\\lim" in text):
        return f"the mark {match.group()!r}"
    return "a sign of another script" if not text.isascii() else None


def is_words(text: str) -> bool:
    """Tells whether a normalized text is words alone (`Evelyn`, `January 5`): compared as text, it can judge."""
    return (
        bool(_PURE_WORDS.fullmatch(text))
        and bool(re.search(r"[^\W\d_]{2}", text))
        and not re.search(r"[=+*/^<>]", text)
    )


def as_words(text: str) -> str:
    """Returns the words of a normalized text, for comparing texts: no layout, no case except in short capitals."""
    text = _TEXT.sub(r" \1 ", text)
    text = re.sub(r"\\ |[{}]", " ", re.sub(r"_\{?([0-9A-Za-z]+)\}?", r"_\1", text))
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s*([-+*/=<>,:;()\[\]])\s*", r"\1", text)
    letters = re.sub(r"[^A-Za-z]", "", text)
    return text if len(letters) <= 3 or (letters.isupper() and len(letters) <= 5) else text.lower()
