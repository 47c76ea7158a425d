"""Fenced code blocks of a completion, as CommonMark has them and models write them.

A fence is three or more backticks or tildes; the closing one is at least as long as the opening one and of the same
character, so that longer fences may contain shorter ones. More than CommonMark allows: backticks may follow text on
the opening line (`Answer: ```python`) and on the closing one (`return x```), and the closing one may be missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCES = re.compile(r"`{3,}|~{3,}")
_INFO = re.compile(r"[ \t]*(?:\{?\.?([\w+#-]+)\}?)?(?:[ \t][^`]*)?")


@dataclass(frozen=True)
class CodeBlock:
    """A block: its language in lower case ("" where none is named) and its text."""

    language: str
    text: str


@dataclass(frozen=True)
class _Opening:
    fence: str
    language: str
    indent: int


def code_blocks(text: str) -> list[CodeBlock]:
    """Returns the fenced blocks of a text in order. Linear in its length."""
    blocks: list[CodeBlock] = []
    opening: _Opening | None = None
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        fences = list(_FENCES.finditer(line)) if "```" in line or "~~~" in line else []
        if opening is None:
            opening = _opening(line, fences)
            continue
        last_line = _before_closing(line, fences, opening)
        if last_line is None:
            lines.append(_outdented(line, opening.indent))
            continue
        lines += [_outdented(last_line, opening.indent)] if last_line.strip() else []
        blocks.append(CodeBlock(opening.language, "".join(f"{each}\n" for each in lines)))
        opening, lines = None, []
    if opening is not None:
        blocks.append(CodeBlock(opening.language, "\n".join(lines)))
    return blocks


def _opening(line: str, fences: list[re.Match[str]]) -> _Opening | None:
    """Reads an opening fence: the only fence of its line, with nothing behind it but a language and remarks."""
    if len(fences) != 1:
        return None
    fence, before = fences[0], line[: fences[0].start()]
    info = _INFO.fullmatch(line, fence.end())
    if info is None or (before.strip() and (fence.group()[0] == "~" or " " in line[fence.end() :].strip())):
        return None
    return _Opening(fence.group(), (info.group(1) or "").lower(), 0 if before.strip() else len(before))


def _before_closing(line: str, fences: list[re.Match[str]], opening: _Opening) -> str | None:
    """Returns what stands before the closing fence; None where the line does not close the block."""
    closing = [match for match in fences if match.group().startswith(opening.fence)]
    if len(closing) != 1 or len(fences) != 1:
        return None
    before, behind = line[: closing[0].start()], line[closing[0].end() :].strip()
    if before.strip():
        return before if not behind and opening.fence[0] == "`" else None
    return None if behind[:1].isalnum() else ""


def _outdented(line: str, indent: int) -> str:
    return line[min(indent, len(line) - len(line.lstrip(" \t"))) :]
