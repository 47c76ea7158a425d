r"""Rules of `normalize` for words around a value: announcements, remarks, connectives."""

from __future__ import annotations

import re

from tasks.grading.scorers.dress_latex import AND, OR

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
    r",?\s*(?:\\text\{\s*,?\s*(?:for|where|since|because|as)\b(?!\s*(?:odd|even|positive|negative|prime)\b)"
    r"|(?<![A-Za-z\\])(?:for (?:some|any|all|every|each)|where|since|because)\b).*$",
    re.DOTALL,
)
_LABEL = re.compile(r"^\\text\{\s*(?!not|or\b)[A-Za-z ]{1,30}(?::\s*\}|\}\s*=)")
_VECTOR = re.compile(r"^\((?:a, ?b|x, ?y|m, ?n|p, ?q|a, ?b, ?c|x, ?y, ?z)\)\s*=\s*(?=\()")
_COMMENT = re.compile(r"\s*\\text\{\s*(?:\((?!not|or\b|and\b)[A-Za-z ]{1,40}\)|only)\s*\}$")
_TICK = re.compile(r"\\checkmark|[✓✔✅☑]|\\(?:blacksquare|square|qed)(?![A-Za-z])|\*\*")
_TAIL = re.compile(r"[\s.;,]+$")
_QUOTED = re.compile(r"[\"'`“]+([^\"'`“”]+)[\"'`”]+")


_CALCULATION = re.compile(r"[.})]\s*[-+*/^]\s*\w+\s*$")


def remarks(text: str) -> str:
    """`The answer is 5`, `5 (since x>0)`, `ax for some integer a`, check marks, a full stop at the end."""
    text = _TICK.sub(" ", text)
    for pattern in (_LEAD, _LABEL, _VECTOR, _ASIDE, _COMMENT, _REMARK):
        shorter = pattern.sub("", text).strip()
        if _CALCULATION.search(text[len(shorter) :]):
            continue
        if re.search(r"[0-9A-Za-z]", shorter) and _balanced(shorter):
            text = shorter
    ending = _TAIL.sub("", text)
    if not ending or ending.endswith("\\"):
        return text
    quoted = _QUOTED.fullmatch(ending)
    return quoted.group(1) if quoted else ending


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
