r"""Turns tokens into a tree: precedence climbing, bounded in depth.

Operators bind in this order, from loose to tight: separators; `\mid` and `:`; relations; units; `\cup`; sums; products,
written or not; the sign of a product; powers; `!`, `%` and degrees.
"""

from __future__ import annotations

import re

from tasks.grading.second_opinion.nodes import ALL_REALS, TUPLES, Node, UnreadError, negative, number, symbol
from tasks.grading.second_opinion.shapes import is_bounded, related, union, written_number
from tasks.grading.second_opinion.tokens import Token

MAX_DEPTH = 40
_SEPARATED, _MODULUS, _GIVEN, _RELATED, _UNIT, _JOINED, _SUM, _SIGNED, _PRODUCT, _POWER = range(10, 110, 10)
LOOSEST = 0
_END = Token("end", "")
_OPERATORS = {
    "+": _SUM, "-": _SUM, "\\cup": _JOINED, ":": _GIVEN, "\\pmod": _MODULUS,
    "\\bmod": _MODULUS, "*": _PRODUCT, "\\cdot": _PRODUCT, "\\times": _PRODUCT, "/": _PRODUCT, "\\div": _PRODUCT,
    "^": _POWER, "!": _POWER, "%": _POWER, "\\degree": _POWER,
}  # fmt: skip
_CLOSING = {"(": (")", "]"), "[": (")", "]"), "\\{": ("\\}",), "{": ("}",), "\\langle": ("\\rangle",)}
_GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi",
    "Psi", "Omega", "pi", "infty",
})  # fmt: skip
_BINARY = {"\\frac": "/", "\\dfrac": "/", "\\tfrac": "/", "\\binom": "binom", "\\dbinom": "binom", "\\tbinom": "binom"}
_STARTS = {"(", "[", "{", "\\{", "|", "\\sqrt", *_BINARY}
_CURRENCY = re.compile(r"(?:rs|usd|us|eur|gbp|inr)\.?", re.IGNORECASE)
_MULTIPLIERS = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NOT_UNITS = {
    "squared", "cubed", "factorial", "half", "dozen", "not", "or", "and", "is", "are", "odd", "even", "times", "if",
}  # fmt: skip


class Parser:
    """The cursor over the tokens, and one method per kind of thing that can come next."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = [*tokens, _END, _END]
        self.place = self.depth = 0
        self.inside = ""  # the delimiter that is open

    @property
    def next(self) -> Token:
        """The token that comes next; kind "end" behind the last."""
        return self.tokens[self.place]

    def _ahead(self, count: int) -> str:
        return "".join(token.text for token in self.tokens[self.place : self.place + count])

    def _step(self) -> Token:
        token = self.next
        self.place += token.kind != "end"
        return token

    def _take(self, *texts: str) -> bool:
        found = self.next.text in texts and self.next.kind not in ("end", "words")
        self.place += found
        return found

    def parse(self, loosest: int) -> Node:
        """Reads on until an operator that binds no tighter than `loosest`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadError("too deep")
        node = self._prefix()
        while (binds := self._binding()) > loosest:
            node = self._infix(node, binds)
        self.depth -= 1
        return node

    def _binding(self) -> int:
        """How tightly what comes next binds what was read; 0 where it ends it."""
        token = self.next
        if token.kind in ("separator", "relation", "words"):
            kinds = {"separator": _SEPARATED, "relation": _GIVEN if token.text == "mid" else _RELATED, "words": _UNIT}
            return kinds[token.kind]
        if token.text in _OPERATORS and token.kind != "end":
            return _OPERATORS[token.text]
        if token.text == "|":
            return {"|": 0, "\\{": _GIVEN}.get(self.inside, _PRODUCT)
        return _PRODUCT if self._starts_factor() else 0

    def _starts_factor(self) -> bool:
        token = self.next
        known = token.kind in ("sign", "command") and (token.text in _STARTS or token.text[1:] in _GREEK)
        return known or token.kind in ("number", "symbol", "function")

    def _infix(self, left: Node, binds: int) -> Node:
        """Reads an operator behind `left`, and its right side."""
        if binds == _SEPARATED:
            return self._listed(left)
        if binds == _RELATED:
            sides, signs = [left], []
            while self.next.kind == "relation" and self.next.text != "mid":
                signs.append(self._step().text)
                sides.append(self.parse(_RELATED))
            return related(sides, signs)
        if binds == _UNIT:
            return self._with_words(left)
        if binds == _POWER:
            return self._raised(left)
        if binds == _PRODUCT:
            return self._multiplied(left)
        sign = self._step().text
        if binds == _MODULUS:
            if left.kind != "relation" or left.name != "equiv":
                raise UnreadError("a modulus without a congruence")
            return Node("congruence", (*left.args, self._group()))
        right = self.parse(binds)
        if binds == _GIVEN:
            ratio = left.args if left.kind == "ratio" else (left,)
            return Node("ratio", (*ratio, right)) if sign == ":" else Node("relation", (left, right), "mid")
        if binds == _JOINED:
            return union([*(left.args if left.kind == "union" else (left,)), right])
        return Node("+", (left, negative(right) if sign == "-" else right))

    def _listed(self, first: Node) -> Node:
        found, separators = [first], set()
        while self.next.kind == "separator":
            while self.next.kind == "separator":  # ", and"
                separators.add(self._step().text)
            found.append(self.parse(_SEPARATED))
        bounds = all(item.kind in TUPLES and item.name for item in found)
        return union(found) if bounds and separators == {"or"} else Node("list", tuple(found))

    def _multiplied(self, left: Node) -> Node:
        if self._take("/", "\\div"):
            return Node("/", (left, self.parse(_PRODUCT)))
        if not self._take("*", "\\cdot", "\\times") and self.next.kind == "number":
            raise UnreadError("two numbers side by side")
        return Node("*", (left, self.parse(_PRODUCT)))

    def _raised(self, left: Node) -> Node:
        """Reads an exponent, a factorial, a percent or a degree sign."""
        degree = re.match(r"\^?(?:\{\\circ\}|\\circ|\\degree)", self._ahead(4))
        if degree:
            self.place += degree.group().startswith("^") + (3 if "{" in degree.group() else 1)
            return Node("deg", (left,))
        sign = self._step().text
        if sign == "%":
            return Node("quantity", (Node("/", (left, number(100))),), "%")
        if sign == "!":
            return Node("!", (left,))
        return Node("^", (left, negative(self.parse(_POWER)) if self._take("-") else self._group()))

    def _with_words(self, node: Node) -> Node:
        """Reads units behind a value, and further values with units of their own."""
        parts = [self._quantity(node)]
        while self.next.kind == "number":
            parts.append(self._quantity(self.parse(_UNIT)))
        if len(parts) > 1 and any(part.kind != "quantity" for part in parts):
            raise UnreadError("values and words in turn")
        return parts[0] if len(parts) == 1 else Node("measures", tuple(parts))

    def _quantity(self, node: Node) -> Node:
        """Returns a value with its unit; "thousand" and the like multiply."""
        words = []
        while self.next.kind == "words":
            words += self._step().text.casefold().split()
            if self._take("/"):
                words.append("/" + self._step().text)
            if self._take("^"):  # m/s^2
                words.append("^" + self.next.text)
                self._group()
        while words and words[0] in _MULTIPLIERS:
            node = Node("*", (node, number(_MULTIPLIERS[words.pop(0)])))
        unit = " ".join(words)
        if unit in ("percent", "per cent"):
            return Node("quantity", (Node("/", (node, number(100))),), "%")
        names = re.findall(r"[^\W\d_]+", unit)
        if len(names) > 3 or _NOT_UNITS & set(names):
            raise UnreadError(f"{unit!r} is no unit")
        return Node("quantity", (node,), unit) if unit else node

    def _prefix(self) -> Node:
        """Reads what begins an expression: a sign, a number, a name, a function, a command, a delimiter."""
        if self.next.kind == "relation":  # "> 5"
            return symbol("?")
        token = self._step()
        if token.kind == "words" and _CURRENCY.fullmatch(token.text):
            return self._prefix()
        if token.text in ("+", "-") and token.kind == "sign":
            return negative(self.parse(_SIGNED)) if token.text == "-" else self.parse(_SIGNED)
        if token.kind == "number":
            return self._based(token.text)
        if token.kind in ("symbol", "label"):
            return self._indexed(token.text)
        if token.kind == "function":
            return self._function(token.text)
        if token.kind in ("sign", "command"):
            return self._command(token.text)
        raise UnreadError(f"cannot read {token.text!r} here")

    def _command(self, text: str) -> Node:
        if text in _CLOSING or text == "|":
            return self._delimited(text)
        if text in _BINARY:
            return Node(_BINARY[text], (self._group(), self._group()))
        if text == "\\sqrt":
            index = (self._delimited("["),) if self._take("[") else ()
            return Node("sqrt", (self._group(), *index))
        if text == "\\mathbb" and self._ahead(3) == "{R}":
            self.place += 3
            return ALL_REALS
        if text in ("\\emptyset", "\\varnothing"):
            return Node("set")
        if text in ("\\ldots", "\\dots", "\\cdots"):
            return symbol("...")
        if text[1:] in _GREEK:
            return self._indexed(text[1:])
        raise UnreadError(f"cannot read {text!r}")

    def _delimited(self, opening: str) -> Node:
        """Reads up to the closing delimiter: a group, a tuple or interval, a set, an absolute value."""
        if opening == "\\{" and self._take("\\}"):
            return Node("set")
        outside, self.inside = self.inside, opening
        inner, closing = self.parse(LOOSEST), self._step().text
        self.inside = outside
        if closing not in _CLOSING.get(opening, ("|",)):
            raise UnreadError(f"{opening!r} is closed by {closing!r}")
        if opening == "|":
            return Node("abs", (inner,))
        parts = inner.args if inner.kind == "list" else (inner,)
        if opening == "\\{":
            condition = inner.args[-1] if inner.kind == "ratio" or inner.name == "mid" else inner
            return condition if condition.kind == "union" or is_bounded(condition) else Node("set", parts)
        if len(parts) > 1:
            return Node("set" if opening == "{" else "()" if opening == "\\langle" else opening + closing, parts)
        if opening + closing in ("()", "{}", "[]"):
            return inner
        raise UnreadError("delimiters that do not match around one value")

    def _group(self) -> Node:
        """Reads the argument of a command: braces, one digit of a number, or one factor."""
        digits = self.next.text
        if self.next.kind == "number" and len(digits) > 1 and digits.isdecimal():
            self.tokens[self.place] = Token("number", digits[1:])
            return number(int(digits[0]))
        return self.parse(_POWER)

    def _indexed(self, name: str) -> Node:
        """Reads the index and primes of a name."""
        if self._take("_"):
            start = self.place
            self._group()
            name += "_" + "".join(token.text for token in self.tokens[start : self.place] if token.text not in "{}")
        while self._take("'"):
            name += "'"
        return symbol(name)

    def _based(self, digits: str) -> Node:
        """Reads a number, and the base behind it (`52_8`)."""
        node = written_number(digits)
        if not self._take("_"):
            return node
        base = self._group().value
        if base.denominator != 1 or not 2 <= base <= 36 or not digits.isdecimal() or int(max(digits)) >= base:
            raise UnreadError("not a number in a base")
        return Node("quantity", (number(int(digits, int(base))),), f"base {base}")

    def _function(self, name: str) -> Node:
        r"""Reads a function: `\sin^2 x`, `\log_2 8`, `\cos\frac{\pi}{7}`; its argument ends at a sum or a dot."""
        base = (self._group(),) if name == "log" and self._take("_") else ()
        exponent = self._group() if self._take("^") else None
        if exponent is not None and exponent.value < 0:
            raise UnreadError("an inverse function or a reciprocal")
        bracketed = self.next.text in ("(", "{")
        argument = self.parse(_PRODUCT)
        while not bracketed and self._starts_factor() and self.next.kind != "function":
            argument = Node("*", (argument, self.parse(_PRODUCT)))
        while not bracketed and self.next.text == "/" and self.tokens[self.place + 1].kind == "number":
            self._step()
            argument = Node("/", (argument, self.parse(_PRODUCT)))
        node = Node(name, (argument, *base))
        return node if exponent is None else Node("^", (node, exponent))
