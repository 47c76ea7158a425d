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
from tasks.grading.second_opinion.nodes import Apply, Items, Node, Number, Quantity, Symbol, UnreadError, Words
from tasks.grading.second_opinion.tokens import Token, prepared, tokenize

MAX_DEPTH = 40
_END = Token("end", "")
_CLOSING = {"(": (")", "]"), "[": (")", "]"), "\\{": ("\\}",), "{": ("}",), "\\langle": ("\\rangle",)}
_GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda",
    "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega",
    "Gamma", "Delta", "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega",
})  # fmt: skip
_FRACTIONS = {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"}
_BINOMIALS = {"\\binom", "\\dbinom", "\\tbinom"}
_STARTS = {"(", "[", "{", "\\{", "|", *_FRACTIONS, *_BINOMIALS, "\\sqrt", "\\pi", "\\lfloor", "\\lceil", "\\infty"}
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


class _Reader:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = [*tokens, _END, _END]
        self.place = 0
        self.depth = 0
        self.bars = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def step(self) -> Token:
        token = self.tokens[self.place]
        self.place += token.kind != "end"
        return token

    def take(self, *texts: str) -> bool:
        found = self.next.text in texts and self.next.kind not in ("end", "words")
        self.place += found
        return found

    def need(self, text: str) -> None:
        if not self.take(text):
            raise UnreadError(f"expected {text!r} before {self.next.text!r}")

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

    def starts_factor(self) -> bool:
        token = self.next
        if token.text == "(" and self.tokens[self.place + 1].text in ("\\mod", "mod"):
            return False
        if token.text == "|":
            return self.bars == 0
        return token.kind in ("number", "symbol", "function") or (
            token.kind in ("sign", "command") and (token.text in _STARTS or token.text[1:] in _GREEK)
        )

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
        elif texts[1] in _FRACTIONS:
            self.place += 2
            top, bottom = self.group(), self.group()
        else:
            return None
        if isinstance(top, Number) and isinstance(bottom, Number) and whole and 0 < top.value < bottom.value:
            return Number(whole + top.value / bottom.value)
        self.place = start
        return None

    def power(self) -> Node:
        node = self.factor()
        while True:
            if self.next.text == "^" and self.tokens[self.place + 1].text in ("\\circ", "\\degree"):
                self.place += 2
                node = Apply("deg", (node,))
            elif self.next.text == "^" and self.circle_in_braces():
                self.place += 4
                node = Apply("deg", (node,))
            elif self.take("^"):
                node = Apply("^", (node, self.exponent()))
            elif self.take("!"):
                node = Apply("!", (node,))
            elif self.take("%"):
                node = Quantity(Apply("/", (node, Number(Fraction(100)))), "%")
            elif self.take("\\degree"):
                node = Apply("deg", (node,))
            else:
                return node

    def circle_in_braces(self) -> bool:
        return [token.text for token in self.tokens[self.place + 1 : self.place + 4]] == ["{", "\\circ", "}"]

    def exponent(self) -> Node:
        if self.next.text == "-":
            self.step()
            return shapes.signed("-", self.factor())
        return self.group()

    def group(self) -> Node:
        """Reads the argument of a command: braces, one digit of a number, or one factor."""
        if self.next.kind == "number" and len(self.next.text) > 1 and self.next.text.isdecimal():
            digits = self.next.text
            self.tokens[self.place] = Token("number", digits[1:])
            return Number(Fraction(int(digits[0])))
        return self.factor()

    def factor(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadError("too deep")
        node = self._factor()
        self.depth -= 1
        return node

    def _factor(self) -> Node:
        token = self.step()
        if token.kind == "number":
            return self.based(shapes.number(token.text), token.text)
        if token.kind in ("symbol", "label"):
            return self.indexed(token.text)
        if token.kind == "function":
            return self.function(token.text)
        if token.kind in ("sign", "command"):
            return self.command(token.text)
        raise UnreadError(f"cannot read {token.text!r} here")

    def command(self, text: str) -> Node:
        if text in _CLOSING:
            return self.delimited(text)
        if text in _FRACTIONS:
            return Apply("/", (self.group(), self.group()))
        if text in _BINOMIALS:
            return Apply("binom", (self.group(), self.group()))
        if text == "\\sqrt":
            index = self.root_index()
            return Apply("sqrt", (self.group(),)) if index is None else Apply("root", (self.group(), index))
        if text == "|":
            self.bars += 1
            inner = self.side()
            self.bars -= 1
            self.need("|")
            return Apply("abs", (inner,))
        if text in ("\\lfloor", "\\lceil"):
            inner = self.side()
            self.need("\\r" + text[2:])
            return Apply(text[2:], (inner,))
        if text == "\\begin":
            return self.matrix()
        if text == "\\angle":
            return Symbol("angle " + self.indexed(self.step().text).name)
        return self.constant(text)

    def constant(self, text: str) -> Node:
        if text == "\\mathbb":
            self.need("{")
            if not self.take("R"):
                raise UnreadError("cannot read this set")
            self.need("}")
            return shapes.ALL_REALS
        if text in ("\\emptyset", "\\varnothing"):
            return Items("set", ())
        if text in ("\\ldots", "\\dots", "\\cdots"):
            return Symbol("...")
        if text in ("\\pi", "\\infty") or text[1:] in _GREEK:
            return self.indexed(text[1:])
        raise UnreadError(f"cannot read {text!r}")

    def root_index(self) -> Node | None:
        if not self.take("["):
            return None
        index = self.side()
        self.need("]")
        return index

    def delimited(self, opening: str) -> Node:
        if opening == "\\{" and self.take("\\}"):
            return Items("set", ())
        if opening == "{" and self.bars:
            bars, self.bars = self.bars, 0
            inner = self.delimited("{")
            self.bars = bars
            return inner
        inner = self.items()
        if opening == "{" and self.take("\\over"):
            inner = Apply("/", (inner, self.items()))
        if opening == "\\{" and self.take("|", ":"):
            inner = shapes.set_builder(inner, self.items())
        closing = self.step().text
        if closing not in _CLOSING[opening]:
            raise UnreadError(f"{opening!r} is closed by {closing!r}")
        return shapes.delimited(opening, closing, inner)

    def matrix(self) -> Node:
        """Reads a matrix environment: rows of cells."""
        name = self.environment()
        if name not in ("pmatrix", "bmatrix", "matrix"):
            raise UnreadError(f"cannot read {name}")
        rows: list[list[Node]] = [[]]
        while True:
            rows[-1].append(self.side())
            if self.take("&"):
                continue
            if self.take("\\\\"):
                if self.next.text == "\\end":
                    break
                rows.append([])
            else:
                break
        self.need("\\end")
        if self.environment() != name:
            raise UnreadError("an environment closes another")
        return Items("matrix", tuple(Items("row", tuple(row)) for row in rows))

    def environment(self) -> str:
        self.need("{")
        name = ""
        while self.next.kind in ("words", "symbol"):
            name += self.step().text
        self.need("}")
        return name

    def indexed(self, name: str) -> Symbol:
        if self.take("_"):
            start = self.place
            self.group()
            name += "_" + "".join(token.text for token in self.tokens[start : self.place] if token.text not in "{}")
        while self.take("'"):
            name += "'"
        return Symbol(name)

    def based(self, node: Number, digits: str) -> Node:
        """Reads a base behind a number, `52_8`."""
        if not self.take("_"):
            return node
        base = self.group()
        if not isinstance(base, Number):
            raise UnreadError("a base that is no number")
        return shapes.in_base(digits, base)

    def function(self, name: str) -> Node:
        """Reads a function: `\\sin^2 x`, `\\log_2 8`, `\\cos\\frac{\\pi}{7}`; its argument ends at a sum or a dot."""
        base = self.group() if name == "log" and self.take("_") else None
        exponent = self.exponent() if self.take("^") else None
        if exponent == shapes.MINUS_ONE:
            raise UnreadError("an inverse function or a reciprocal")
        if self.next.text in ("(", "{"):
            argument = self.power()
        else:
            argument = self.signed_power()
            while self.starts_factor() and self.next.kind != "function":
                argument = Apply("*", (argument, self.power()))
            while self.next.text == "/" and self.tokens[self.place + 1].kind == "number":
                self.step()
                argument = Apply("/", (argument, self.power()))
        node: Node = Apply(name, (argument,) if base is None else (argument, base))
        return node if exponent is None else Apply("^", (node, exponent))
