r"""Finds the answer a completion gives: in its last box, or stated without one.

What stands in `<think>...</think>` is no answer: the text after the last closing tag counts, and a completion whose
last thinking is not closed answers nothing. `\boxed` and `\fbox` are boxes. The last closed, non-empty box counts: a
later box that was cut off by the length limit does not hide an earlier one, an empty `\boxed{}` (quoted from the
prompt) is skipped, and of nested boxes the outer one counts, without the inner's command. Braces are counted as
math-verify counts them, escaped ones included. Linear in the length of the text, whatever it holds.
"""

from __future__ import annotations

import re

BOX = "\\boxed"
_TOKEN = re.compile(r"\\[bf]?boxed\s*\{|\\fbox\s*\{|[{}]")
_INNER = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_THINKING = re.compile(r"</?think(?:ing)?>")
_MAX_SEARCHED = 20_000
_MAX_BARE = 300
_MAX_STATED = 300


def final_part(text: str) -> str | None:
    """Returns the text after the last closing think tag; None where the last thinking is not closed."""
    if "<think" not in text and "</think" not in text:
        return text
    tags = list(_THINKING.finditer(text))
    if not tags:
        return text
    return text[tags[-1].end() :] if tags[-1].group().startswith("</") else None


def last_boxed(text: str) -> str | None:
    """Returns the content of the last closed non-empty box, stripped, or None where there is none."""
    start = text.rfind(BOX)
    if start < 0 and "\\fbox" not in text:
        return None
    if start >= 0 and text.find(BOX, 0, start) < 0 and "\\fbox" not in text:
        opening = start + len(BOX)
        if text[opening : opening + 1] == "{":
            closing = text.find("}", opening)
            if closing >= 0 and text.find("{", opening + 1, closing) < 0:
                content = text[opening + 1 : closing].strip()
                if content:
                    return content
    boxes = all_boxed(text)
    return boxes[-1] if boxes else None


def all_boxed(text: str) -> list[str]:
    """Returns the contents of the closed non-empty outer boxes, in order."""
    found: list[tuple[int, int]] = []
    stack: list[tuple[int, bool]] = []
    for token in _TOKEN.finditer(text):
        piece = token.group()
        if piece != "}":
            stack.append((token.end(), len(piece) > 1))
        elif stack:
            start, is_box = stack.pop()
            if is_box and not _is_blank(text, start, token.start()):
                while found and found[-1][0] >= start:
                    found.pop()
                found.append((start, token.start()))
    contents = (_without_inner(text[start:end].strip()) for start, end in found)
    return [content for content in contents if content]


def _is_blank(text: str, start: int, end: int) -> bool:
    return end - start < 100 and not _INNER.sub("", text[start:end]).strip("{} \t\n")


def _without_inner(content: str) -> str:
    if "box" not in content:
        return content
    whole = re.fullmatch(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}", content)
    return (whole.group(1) if whole else _INNER.sub("", content)).strip()


# An answer that is announced, up to the end of its line; what it says is cut at the end of the sentence.
_ANNOUNCED = re.compile(
    r"(?:####|(?i:\banswers?)(?i:\s{1,3}(?:is|are|(?:to|must|should)\s{1,3}be|was|equals))?|答案(?:是|为)?|故选|选|正确答案(?:是|为)?)"
    r"\s{0,3}\**\s{0,3}[:：]?\s{0,3}\**\s{0,3}[:：]?[ \t]{0,3}\n{0,2}"
)
_DENIED = re.compile(r"^\s*(?:not\b|n't|never\b|unlikely|unclear|unknown|wrong)", re.IGNORECASE)
_CONCLUDED = re.compile(
    r"(?:\bis|\bare|=|\bequals|\bgets?|\bgives?|\bhave|\bobtain)\s*:?\s*([^=]{1,300}?)\s*[.。]?\s*$"
)
_SENTENCE_END = re.compile(r"[.。!?]\**(?=\s|$)|[。！？]|\n")
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}")


def stated_answer(text: str) -> str | None:
    """Returns the answer of a completion without a box: all of it where it is one short line, else what it announces.

    The last "answer is ..." (or `####`, `Answer:`, in English or Chinese) counts unless it denies; without one, what
    the last line ends with after "is" or an equals sign.
    """
    text = text[-_MAX_SEARCHED:].strip()
    if not text:
        return None
    announced = list(_ANNOUNCED.finditer(text))
    if announced:
        stated = text[announced[-1].end() :][:_MAX_STATED]
        return None if _DENIED.match(stated) else _first_sentence(stated)
    if len(text) <= _MAX_BARE and "\n" not in text and not _is_prose(text):
        return _bare(text)
    last_line = re.split(r"(?<=[.!?。])\s+|，|：", text.rsplit("\n", 1)[-1][-_MAX_STATED:])[-1]
    if re.search(r"\bnot\b|n't\b|\bor\b", last_line):
        return None
    concluded = _CONCLUDED.search(last_line)
    return _bare(concluded.group(1)) if concluded else None


def _is_prose(text: str) -> bool:
    return len(_PROSE.findall(re.sub(r"\\text\s*\{[^{}]*\}", "", text))) > 2


# An answer in math mode with words behind it that say nothing of another one.
_LEADING_SPAN = re.compile(
    r"^\s*(?:\$([^$\n]{1,200})\$|\\\((.{1,200}?)\\\))(?=\s+(?!or\b|and\b|not\b|but\b)[a-z]+\b(?![^.\n]*(?:\$|\\\(|\bor\b|\bnot\b)))"
)


def _first_sentence(text: str) -> str | None:
    span = _LEADING_SPAN.match(text)
    if span:
        return _bare(next(filter(None, span.groups())))
    end = _SENTENCE_END.search(text)
    if end and end.group().startswith("?"):
        return None
    return _bare(text[: end.start()] if end else text)


# "Hence $x = 46$", "So we get 46": words that lead to an answer and say nothing of it.
_LEADING = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|finally|we|get|gets|have|obtain|find|it|this|that|which|gives?|is|the|final"
    r"|result|value|total|equals|equal to|to be)\b[,:]?\s+)+",
    re.IGNORECASE,
)


def _bare(text: str) -> str | None:
    text = _LEADING.sub("", text.strip())
    text = re.sub(r"\*\*|__(?=\S)", "", text).strip()
    text = re.sub(r"(?<!\\)[.,;:]+$", "", text).strip()
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(opening) and text.endswith(closing):
            text = text[2:-2].strip()
    return text or None
