r"""Reads an answer: recursive descent over tokens, bounded in depth, all or nothing.

answer  = item { separator item }                        a list, or the union of inequalities joined by "or"
item    = [relation] side { relation side } [modulus] [words]
side    = [sign] product { ("+" | "-" | "\pm") product }
product = power { ["\cdot" | "/"] power }
power   = factor { "^" group | "!" | "%" | degree }
"""

from __future__ import annotations

import re
from fractions import Fraction

from tasks.grading.second_opinion import shapes
from tasks.grading.second_opinion.factors import FRACTIONS, MAX_DEPTH, FactorReader
from tasks.grading.second_opinion.nodes import Apply, Items, Node, Number, Quantity, UnreadError, Words
from tasks.grading.second_opinion.tokens import Token, prepared, tokenize

_REMARK = re.compile(r"[(,]?\s*(?:since|for|where|because|with|as|when|if)\b", re.IGNORECASE)
_LEAD = re.compile(r"(?:so\s+)?(?:the\s+)?(?:final\s+)?(?:answer|result|value)\s*(?:is|:)\s*", re.IGNORECASE)


def read(text: str, grouped: bool = True) -> Node:
    """Returns the tree of an answer.

    Args:
        text: the answer, without its box.
        grouped: whether `1,234` is one number where it stands alone.

    Raises:
        UnreadError: the text leaves the grammar.
    """
    clean = _LEAD.sub("", prepared(text), count=1)
    tokens = tokenize(clean, grouped)
    if not tokens:
        raise UnreadError("nothing to read")
    tokens = _without_remark(tokens)
    try:
        return _Reader(tokens).answer()
    except UnreadError:
        if any(token.kind == "words" for token in tokens):
            return Words(" ".join(token.text.casefold() for token in tokens))
        raise


def _without_remark(tokens: list[Token]) -> list[Token]:
    """Cuts off what a word such as "for" or "since" begins, with the parenthesis around it."""
    for place, token in enumerate(tokens):
        if place and token.kind == "words" and _REMARK.match(token.text):
            return tokens[: place - 1] if place > 1 and tokens[place - 1].text in ("(", ",") else tokens[:place]
    return tokens


class _Reader(FactorReader):
    def answer(self) -> Node:
        node = self.items()
        if self.next.kind != "end":
            raise UnreadError(f"cannot place {self.next.text!r}")
        return node

    def items(self) -> Node:
        """Reads items up to a closing delimiter or the end."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadError("too deep")
        found = [self.item()]
        separators = []
        while self.next.kind == "separator":
            separators.append(self.step().text)
            while self.next.kind == "separator":  # ", and"
                separators.append(self.step().text)
            found.append(self.item())
        self.depth -= 1
        return shapes.joined(found, separators)

    def item(self) -> Node:
        if self.next.kind == "words" and shapes.CURRENCY.fullmatch(self.next.text):
            self.step()
        sides: list[Node] = [] if self.next.kind == "relation" else [self.side()]
        signs = []
        while self.next.kind == "relation":
            signs.append(self.step().text)
            sides.append(self.side())
        modulus = self.group() if self.take("\\pmod", "\\bmod") else self.written_modulus()
        if self.take(":"):
            ratio = [sides[0], self.side()]
            while self.take(":"):
                ratio.append(self.side())
            if signs or len(sides) > 1:
                raise UnreadError("a ratio in a relation")
            return self.with_words(Items("ratio", tuple(ratio)))
        node = shapes.related(sides, signs, modulus)
        return self.with_words(node)

    def written_modulus(self) -> Node | None:
        if self.next.text == "(" and self.tokens[self.place + 1].text in ("\\mod", "mod"):
            self.place += 2
            value = self.side()
            self.need(")")
            return value
        return None

    def with_words(self, node: Node) -> Node:
        """Reads units behind a value, and further values with units of their own."""
        if self.next.kind != "words":
            return node
        parts = [self.quantity(node)]
        while self.next.kind == "number":
            parts.append(self.quantity(self.side()))
        if len(parts) == 1:
            return parts[0]
        if not all(isinstance(part, Quantity) for part in parts):
            raise UnreadError("values and words in turn")
        return Items("measures", tuple(parts))

    def quantity(self, node: Node) -> Node:
        words = []
        while self.next.kind == "words":
            words.append(self.step().text)
            if self.take("^"):  # m/s^2
                words.append("^" + self.tokens[self.place].text)
                self.group()
        return shapes.quantity(node, " ".join(words))

    def side(self) -> Node:
        """Reads a sum, or sets and intervals joined by a union sign."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadError("too deep")
        node = self.signed()
        while self.next.text in ("+", "-", "\\pm", "\\mp") and self.next.kind in ("sign", "command"):
            sign = self.step().text
            term = self.product()
            node = Apply("pm", (node, term)) if sign[0] == "\\" else Apply("+", (node, shapes.signed(sign, term)))
        parts = [node]
        while self.take("\\cup"):
            parts.append(self.signed())
        self.depth -= 1
        return node if len(parts) == 1 else shapes.union(parts)

    def signed(self) -> Node:
        if self.next.text in ("+", "-") and self.next.kind == "sign":
            return shapes.signed(self.step().text, self.signed_product())
        if self.take("\\pm", "\\mp"):
            return Apply("pm", (Number(Fraction(0)), self.product()))
        return self.product()

    def signed_product(self) -> Node:
        return shapes.signed(self.step().text, self.product()) if self.next.text == "-" else self.product()

    def product(self) -> Node:
        node = self.mixed_number() or self.power()
        while True:
            if self.take("\\cdot", "\\times", "*"):
                node = Apply("*", (node, self.signed_power()))
            elif self.take("/", "\\div"):
                node = Apply("/", (node, self.signed_power()))
            elif self.starts_factor():
                if self.next.kind == "number":
                    raise UnreadError("two numbers side by side")
                node = Apply("*", (node, self.power()))
            else:
                return node

    def signed_power(self) -> Node:
        return shapes.signed("-", self.power()) if self.take("-") else self.power()

    def mixed_number(self) -> Node | None:
        """Reads `1\\frac{3}{4}` and `1 3/4`: a whole number before a proper fraction of whole numbers."""
        texts = [token.text for token in self.tokens[self.place : self.place + 8]]
        if not texts[0].isdecimal() or self.next.kind != "number":
            return None
        start = self.place
        whole = int(texts[0]) if len(texts[0]) < 20 else 0
        if len(texts) > 3 and texts[1].isdecimal() and texts[2] == "/" and texts[3].isdecimal():
            self.place += 1
            top = self.factor()
            self.need("/")
            bottom = self.factor()
        elif texts[1] in FRACTIONS:
            self.place += 2
            top, bottom = self.group(), self.group()
        else:
            return None
        if isinstance(top, Number) and isinstance(bottom, Number) and whole and 0 < top.value < bottom.value:
            return Number(whole + top.value / bottom.value)
        self.place = start
        return None
