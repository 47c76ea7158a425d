"""Reads the factors of an answer: numbers, names, functions, commands, delimiters, powers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

from tasks.grading.second_opinion import shapes
from tasks.grading.second_opinion.nodes import Apply, Items, Node, Number, Quantity, Symbol, UnreadError
from tasks.grading.second_opinion.tokens import Token

MAX_DEPTH = 40
_END = Token("end", "")
_CLOSING = {"(": (")", "]"), "[": (")", "]"), "\\{": ("\\}",), "{": ("}",), "\\langle": ("\\rangle",)}
_GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda",
    "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega",
    "Gamma", "Delta", "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega",
})  # fmt: skip
FRACTIONS = {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"}
_BINOMIALS = {"\\binom", "\\dbinom", "\\tbinom"}
_STARTS = {"(", "[", "{", "\\{", "|", *FRACTIONS, *_BINOMIALS, "\\sqrt", "\\pi", "\\lfloor", "\\lceil", "\\infty"}


class FactorReader(ABC):
    """The cursor over the tokens, and everything that binds tighter than a product."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = [*tokens, _END, _END]
        self.place = 0
        self.depth = 0
        self.bars = 0

    @property
    def next(self) -> Token:
        """The token that comes next; kind "end" behind the last."""
        return self.tokens[self.place]

    def step(self) -> Token:
        """Returns the next token and steps over it."""
        token = self.tokens[self.place]
        self.place += token.kind != "end"
        return token

    def take(self, *texts: str) -> bool:
        """Steps over the next token if it is one of these; tells whether it was."""
        found = self.next.text in texts and self.next.kind not in ("end", "words")
        self.place += found
        return found

    def need(self, text: str) -> None:
        """Steps over a token that must come next."""
        if not self.take(text):
            raise UnreadError(f"expected {text!r} before {self.next.text!r}")

    @abstractmethod
    def items(self) -> Node:
        """Reads items up to a closing delimiter or the end."""

    @abstractmethod
    def side(self) -> Node:
        """Reads a sum."""

    @abstractmethod
    def signed_power(self) -> Node:
        """Reads a power with its sign."""

    def starts_factor(self) -> bool:
        """Tells whether a factor without a multiplication sign comes next."""
        token = self.next
        if token.text == "(" and self.tokens[self.place + 1].text in ("\\mod", "mod"):
            return False
        if token.text == "|":
            return self.bars == 0
        return token.kind in ("number", "symbol", "function") or (
            token.kind in ("sign", "command") and (token.text in _STARTS or token.text[1:] in _GREEK)
        )

    def power(self) -> Node:
        """Reads a factor with its exponents, factorials, percent and degree signs."""
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
        """Tells whether `^{\\circ}` comes next."""
        return [token.text for token in self.tokens[self.place + 1 : self.place + 4]] == ["{", "\\circ", "}"]

    def exponent(self) -> Node:
        """Reads an exponent, perhaps negative."""
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
        """Reads a number, a name, a function, a command or a group."""
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
        """Reads what follows a command or an opening delimiter."""
        if text in _CLOSING:
            return self.delimited(text)
        if text in FRACTIONS:
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
        """Returns a set, a constant or a Greek letter."""
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
        """Reads the `[3]` of a cube root."""
        if not self.take("["):
            return None
        index = self.side()
        self.need("]")
        return index

    def delimited(self, opening: str) -> Node:
        """Reads up to the closing delimiter."""
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
        """Reads the name of an environment."""
        self.need("{")
        name = ""
        while self.next.kind in ("words", "symbol"):
            name += self.step().text
        self.need("}")
        return name

    def indexed(self, name: str) -> Symbol:
        """Reads the index and primes of a name."""
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
