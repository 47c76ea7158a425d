"""Reads an answer, all or nothing; what is words is kept as words."""

from __future__ import annotations

import re

from tasks.grading.second_opinion.nodes import Node, UnreadError
from tasks.grading.second_opinion.parser import LOOSEST, Parser
from tasks.grading.second_opinion.tokens import prepared, tokenize

_REMARK = re.compile(
    r"[(,]?\s*(?:since|where|because|with|as|for(?!\s+(?:odd|even|positive|negative|prime)))\b", re.IGNORECASE
)
_LEAD = re.compile(r"(?:so\s+)?(?:the\s+)?(?:final\s+)?(?:answer|result|value)\s*(?:is|:)\s*", re.IGNORECASE)


def read(text: str) -> Node:
    """Returns the tree of an answer without its box.

    Raises:
        UnreadError: the text leaves the grammar.
    """
    tokens = tokenize(_LEAD.sub("", prepared(text), count=1))
    for place, token in enumerate(tokens):  # a remark, with the parenthesis around it
        if place and token.kind == "words" and _REMARK.match(token.text):
            tokens = tokens[: place - (tokens[place - 1].text in ("(", ","))]
            break
    if not tokens:
        raise UnreadError("nothing to read")
    try:
        reader = Parser(tokens)
        node = reader.parse(LOOSEST)
        if reader.next.kind != "end":
            raise UnreadError(f"cannot place {reader.next.text!r}")
        return node
    except UnreadError:
        kinds = {token.kind for token in tokens}
        if "words" in kinds and "command" not in kinds:
            return Node("words", name=" ".join(token.text.casefold() for token in tokens))
        raise
