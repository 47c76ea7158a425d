r"""The rule of `normalize` for numbers in words: `seven`, `one hundred twenty`, `two thirds`, `3\text{ million}`."""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBER_WORDS = {word: value for value, word in enumerate(_SMALL.split())} | {
    word: 10 * place for place, word in enumerate(_TENS.split(), 2)
}
_POWERS = {"trillion": 12, "billion": 9, "million": 6, "thousand": 3, "hundred": 2}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
          "ninth": 9, "tenth": 10, "twelfth": 12, "hundredth": 100, "thousandth": 1000}  # fmt: skip
_PLURALS = {"halves" if part == "half" else f"{part}s": size for part, size in _PARTS.items()}
_MAX_WORDS = 12
_SCALE = re.compile(rf"^(-?[0-9][0-9,]*)(?:\.([0-9]+))?\s*(?:\\text\{{\s*)?({'|'.join(_POWERS)})s?\s*\}}?$")
_WORDS = re.compile(
    r"^(?:\\text\{\s*)?(?P<sign>(?:minus|negative)\s+)?(?P<words>[a-z]+(?:(?:\s*-\s*|\s+|,\s*)[a-z]+)*)\s*\}?\s*"
    r"(?P<percent>(?:\\%)?)$"
)
_MINUS = re.compile(r"^(?:\\text\{\s*)?(?:minus|negative)\s*\}?\s*(?=[0-9.]|\\frac)")
_BASE = re.compile(rf"(?<=[0-9A-F])\s*_\s*\{{?\s*\\text\{{\s*({'|'.join(_NUMBER_WORDS)})\s*\}}\s*\}}?$")


def number_words(text: str) -> str:
    r"""A number in words as digits or as a fraction; a base in words (`101_{\text{two}}`) as digits."""
    text = _BASE.sub(lambda match: f"_{{{_NUMBER_WORDS[match.group(1)]}}}", text)
    text = _MINUS.sub("-", text)
    match = _SCALE.match(text)
    if match:
        whole, decimals, scale = match.group(1).replace(",", ""), match.group(2) or "", _POWERS[match.group(3)]
        return whole + decimals.ljust(scale, "0") if len(decimals) <= scale else text
    match = _WORDS.match(text.lower())
    if not match:
        return text
    words = re.split(r"[\s,-]+", match["words"])
    value = _spelled(words) if len(words) <= _MAX_WORDS else None
    if value is None:
        return text
    digits = str(value) if value.denominator == 1 else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    return f"{'-' if match['sign'] else ''}{digits}{match['percent']}"


def _spelled(words: list[str]) -> Fraction | None:
    """The number that words write, None where they write none. `twenty-third` is an ordinal: none."""
    if words[-1] in _PARTS or words[-1] in _PLURALS:
        if "and" in words:
            place = len(words) - 1 - words[::-1].index("and")
            whole, part = _whole(words[:place]), _spelled(words[place + 1 :])
            return whole + part if whole is not None and part is not None and part < 1 else None
        count = 1 if words[:-1] in ([], ["a"], ["one"]) else _whole(words[:-1])
        if count == 1:
            bare = len(words) > 1 or words[-1] in ("half", "quarter")
            return Fraction(1, _PARTS[words[-1]]) if bare and words[-1] in _PARTS else None
        return Fraction(count, _PLURALS[words[-1]]) if count is not None and words[-1] in _PLURALS else None
    whole = _whole([word for place, word in enumerate(words) if word != "and" or place in (0, len(words) - 1)])
    return None if whole is None else Fraction(whole)


def _whole(words: list[str]) -> int | None:
    """The whole number that words write: split at the largest power of ten, then at the next one."""
    for name, power in _POWERS.items():
        if name in words:
            place, scale = words.index(name), 10**power
            left = 1 if words[:place] == ["a"] else _whole(words[:place])
            right = _whole(words[place + 1 :]) if words[place + 1 :] else 0
            if not left or right is None or left >= max(1000, scale // 10) or right >= scale:
                return None
            return left * scale + right
    values = [_NUMBER_WORDS.get(word) for word in words]
    if len(values) == 1:
        return values[0]
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    return values[0] + values[1] if values[0] >= 20 and 0 < values[1] < 10 else None
