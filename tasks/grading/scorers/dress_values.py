r"""Rules of `normalize` for values: currencies, units, degrees, percent, separators, periods."""

from __future__ import annotations

import re

from tasks.grading.scorers.dress_latex import OR

_CURRENCIES = "£€¥₹₽₩₤₺₴₦₱₫₪฿₡₲₵₸₭₮₿"
_CURRENCY = re.compile(rf"[{_CURRENCIES}]|\\\$")
# A dollar sign is gone by now: US\$5 reads US5.
_MONEY_BEFORE = re.compile(
    rf"^(-?)\s*(?:[{_CURRENCIES}]|(?:US|AU|NZ|HK)(?=[0-9])|"
    r"(?:\\text\{\s*)?(?:Rs\.?|USD|EUR|GBP|INR)\s*\}?|\\(?:pounds|euro|yen|textsterling))\s*(?=[0-9.])"
)
_MONEY_AFTER = re.compile(
    rf"(?<=[0-9])\s*(?:[{_CURRENCIES}]|\\text\{{\s*(?:USD|EUR|GBP|Rs\.?)\s*\}}|(?:USD|EUR|GBP)(?![A-Za-z]))\s*$"
)
_UNIT_WORDS = (
    "mm cm dm km m in ft yd mi kg mg lb lbs oz g ml mL L l s sec secs ms min mins h hr hrs N J W V A K Hz "
    "kHz Pa mol C F kW kWh cc mph kmph kmh kph bits? bytes? meters? metres? kilometers? kilometres? "
    "centimeters? centimetres? millimeters? inch inches foot feet yards? miles? grams? kilograms? pounds? "
    "ounces? tons? tonnes? liters? litres? gallons? quarts? seconds? minutes? hours? days? weeks? months? "
    "years? yrs? decades? degrees? radians? rad dollars? cents? euros? rupees? pence yen units? points? "
    "people persons? men women children students? girls? boys? apples? oranges? coins? balls? marbles? "
    "books? tickets? ways? times cards? games? pieces? sides? edges? vertices faces? diagonals? digits? "
    "numbers? integers? solutions? pairs? triangles? squares cubes? rectangles? circles? tiles? boxes "
    "bags? cookies pages? steps? cars? dogs? cats? pencils? pens? eggs? trees? flowers? chairs? tables? "
    "cups? slices? pizzas? candies stickers? stamps? toys? Äpfel Stück euros? members? teachers? houses? "
    "rooms? shirts? bottles? questions? problems? divisors? factors? terms? zeros? roots? values? primes?"
)
_UNIT_WORD = f"(?:{'|'.join(dict.fromkeys(_UNIT_WORDS.split()))})"
_LONG_UNIT = (
    f"(?:{'|'.join(dict.fromkeys(word for word in _UNIT_WORDS.split() if len(word) > 1 and word not in {'in'}))})"
)
_POWER = r"(?:\s*\^\s*\{?[23]\}?)?"
_MODIFIER = r"(?:(?:square|cubic|sq|cu)\.?\s+)?"
_PHRASE = rf"{_MODIFIER}{_UNIT_WORD}\.?{_POWER}(?:\s*(?:/|per)\s*(?:{_UNIT_WORD})\.?{_POWER})?"
_UNIT_TEXT = re.compile(
    rf"(?<=[0-9A-Za-z}})\]])\s*\\text\{{\s*[-]?{_PHRASE}\s*\}}(?:\s*/\s*\\text\{{\s*{_UNIT_WORD}\s*\}})?"
    rf"{_POWER}\s*(?=$|[,)\]]| \\vee)",
    re.UNICODE,
)
_UNIT_BARE = re.compile(
    rf"(?<=[0-9}})])\s*{_MODIFIER}{_LONG_UNIT}\.?(?:/{_UNIT_WORD}|\s+per\s+{_LONG_UNIT})?{_POWER}\s*(?=$|[,)\]]| \\vee)"
)
# Any plural that counts things, but not what multiplies or divides the number.
_THINGS = (
    r"(?:(?!not |or |and |more |less |at )[a-z]{2,15} )?"
    r"(?!dozens|tens|hundreds|thousands|millions|billions|trillions|halves|thirds|quarters|fifths|sixths|pairs of)"
    r"[a-z]{3,15}s"
)
_THINGS_TEXT = re.compile(rf"(?<=[0-9}}])\s*\\text\{{\s*{_THINGS}\s*\}}$")
_RATIO = re.compile(r"(\\text\{\s*[A-Za-z]+)\s*\}\s*/\s*(?:\\text\{\s*)?([A-Za-z]{1,7})(?:\s*\}|(?![A-Za-z{]))")
_SIZES = {
    "length": "mm|millimeters? cm|centimeters?|centimetres? m|meters?|metres? km|kilometers?|kilometres? "
    "in|inch|inches ft|feet|foot yd|yards? mi|miles?",
    "time": "s|secs?|seconds? min|mins|minutes? h|hrs?|hours? days? weeks? months? years?|yrs?",
    "mass": "mg|milligrams? g|grams? kg|kilograms? lbs?|pounds? oz|ounces? tons?|tonnes?",
    "money": "cents? dollars? euros?",
}
_LAST_UNIT = re.compile(r"[0-9}]\s*\\?(?:text|mathrm|,|\s)*\{?\s*([A-Za-z]{1,12})\s*\}?(\^\{?[23]\}?)?\s*\.?$")
_DEGREE = re.compile(r"\s*\^\s*(?:\\circ|\{\s*\\circ\s*\}|\\degree|\{\\degree\})|(?<=[0-9])\s*\\degree(?![A-Za-z])")
_DEGREE_SCALE = re.compile(r"(?<=DEG)\s*(?:\\text\{\s*[CF]\s*\}|[CF](?![A-Za-z]))\s*$")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREE_VALUE = re.compile(r"\(?([0-9]+(?:\.[0-9]+)?|\\frac\{[0-9]+\}\{[0-9]+\})\)?DEG\)?")


def conflicting_units(one: str, other: str) -> bool:
    """Tells whether two texts end in different units of one quantity: 6 cm is not 6 m, 6 min not 6 h, £6 not €6."""
    currencies = [set(_CURRENCY.findall(text)) for text in (one, other)]
    if currencies[0] and currencies[1] and currencies[0] != currencies[1]:
        return True
    found = [_LAST_UNIT.search(text) for text in (one, other)]
    if found[0] is None or found[1] is None:
        return False
    places = [_size(match.group(1)) for match in found if match]
    return None not in places and places[0][:1] == places[1][:1] and places[0] != places[1]  # type: ignore[index]


def _size(word: str) -> tuple[str, int] | None:
    for quantity, sizes in _SIZES.items():
        for place, spellings in enumerate(sizes.split()):
            if re.fullmatch(spellings, word):
                return quantity, place
    return None


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
    r"""One unit after a value: `12\text{ cm}`, `9.8\,\text{m/s}^2`, `46 apples`; never two, never one bare letter."""
    text = _RATIO.sub(r"\1/\2}", text)
    if len(re.findall(r"\\text\{", text)) <= max(1, text.count(",") + text.count(OR) + 1):
        shorter = _UNIT_TEXT.sub("", text)
        if not re.search(r"\\text", shorter):
            text = shorter
    text = _THINGS_TEXT.sub("", text) if text.count("\\text") == 1 else text
    shorter = _UNIT_BARE.sub("", text)
    return text if re.search(rf"[0-9]\s*{_LONG_UNIT}(?![A-Za-z])", shorter) else shorter


_PERCENT = re.compile(
    r"\s*(?:\\text\{\s*(?:percent(?:age)?(?: points?)?|per cent|pct\.?|%|\\%)\s*\}"
    r"|(?<![A-Za-z])(?:percent(?:age)?|per cent|pct)(?![A-Za-z])|\\?%)",
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


_DOTTED = re.compile(r"(?<![0-9.])([0-9]{1,15})\.([0-9]{0,6}?)([0-9]{1,6}?)\3{2,}\s*\\ldots")
_BRACKETED = re.compile(r"(?<![0-9.])([0-9]{1,15})\.([0-9]{0,15})\(([0-9]{1,15})\)")


def repeating_decimals(text: str) -> str:
    r"""`0.1\overline{6}`, `0.\bar{3}`, `0.\dot{1}4285\dot{7}` as the fraction they are."""
    for pattern in (_DOTTED, _BRACKETED):
        text = pattern.sub(r"\1.\2\\overline{\3}", text)
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
