"""Python reference of the eight tools that the model is trained to call.

The product runs WASM components with the same contract; this file exists so
that data can be made and a model can be scored without the product.
"""

import json
import math
import re
import unicodedata
from fractions import Fraction

import units

NAMES = ["calculator", "count_letter", "count_words", "count_characters",
         "reverse_text", "change_case", "slugify", "convert_units"]


class Raw(str):
    """A number kept as the user typed it, so that 12.50 stays 12.50 in JSON."""


def dumps(value):
    """JSON as Hugging Face's `tojson` prints it, keeping `Raw` numbers as typed."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(k)}: {dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dumps, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- calculator

TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d*)?|\.\d+)|([a-z]+)|(.))", re.S)
MAX_BITS = 40_000  # keeps a hostile 9^9^9 from eating the machine


class Parser:
    """Recursive descent: sum < product < unary minus < power < postfix `!`."""

    def __init__(self, text):
        self.items = [m.groups() for m in TOKEN.finditer(text.strip())]
        self.at = 0

    def peek(self):
        return self.items[self.at] if self.at < len(self.items) else (None, None, None)

    def accept(self, symbols):
        symbol = self.peek()[2]
        if symbol is not None and symbol in symbols:
            self.at += 1
            return symbol
        return None

    def sum(self):
        value = self.product()
        while op := self.accept("+-"):
            right = self.product()
            value = value + right if op == "+" else value - right
        return value

    def product(self):
        value = self.unary()
        while op := self.accept("*/%"):
            right = self.unary()
            if op != "*" and right == 0:
                raise ValueError("division by zero")
            value = value * right if op == "*" else (
                value / right if op == "/" else value % right)
        return value

    def unary(self):
        if self.accept("-"):
            return -self.unary()
        if self.accept("+"):
            return self.unary()
        return self.power()

    def power(self):
        base = self.postfix()
        return power(base, self.unary()) if self.accept("^") else base

    def postfix(self):
        value = self.atom()
        while self.accept("!"):
            if value.denominator != 1 or value < 0 or value > 2000:
                raise ValueError("factorial needs a whole number from 0 to 2000")
            value = Fraction(math.factorial(int(value)))
        return value

    def atom(self):
        number, name, _ = self.peek()
        if number is not None:
            self.at += 1
            return Fraction(number)
        if name is not None:
            self.at += 1
            return self.function(name)
        if self.accept("("):
            value = self.sum()
            if not self.accept(")"):
                raise ValueError("missing )")
            return value
        raise ValueError("cannot read the expression")

    def function(self, name):
        if not self.accept("("):
            raise ValueError(f"unknown name: {name}")
        arguments = [self.sum()]
        while self.accept(","):
            arguments.append(self.sum())
        if not self.accept(")"):
            raise ValueError("missing )")
        return apply(name, arguments)


def power(base, exponent):
    if exponent.denominator != 1:
        raise ValueError("the exponent must be a whole number")
    if base == 0 and exponent < 0:
        raise ValueError("division by zero")
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) * size > MAX_BITS:
        raise ValueError("the result is too large")
    return base ** int(exponent)


def square_root(x):
    if x < 0:
        raise ValueError("square root of a negative number")
    a, b = math.isqrt(x.numerator), math.isqrt(x.denominator)
    if a * a == x.numerator and b * b == x.denominator:
        return Fraction(a, b)
    # An irrational root is shown to ten decimals, rounded half up.
    scaled = math.isqrt(x.numerator * 4 * 10**20 // x.denominator)
    return Fraction((scaled + 1) // 2, 10**10)


def apply(name, arguments):
    if name == "sqrt" and len(arguments) == 1:
        return square_root(arguments[0])
    if name == "abs" and len(arguments) == 1:
        return abs(arguments[0])
    if name in ("min", "max"):
        return min(arguments) if name == "min" else max(arguments)
    if name in ("gcd", "lcm") and len(arguments) > 1:
        if any(a.denominator != 1 for a in arguments):
            raise ValueError(f"{name} needs whole numbers")
        function = math.gcd if name == "gcd" else math.lcm
        return Fraction(function(*(int(a) for a in arguments)))
    raise ValueError(f"unknown function: {name}")


def rounded(value, digits):
    """Half-up (away from zero) decimal text, trailing zeros trimmed."""
    scale = 10**digits
    whole = (abs(value) * scale * 2 + 1) // 2
    text = f"{whole // scale}.{whole % scale:0{digits}d}".rstrip("0").rstrip(".")
    return ("-" if value < 0 and whole else "") + text


def exact(value):
    """The exact decimal, or None when the expansion does not terminate."""
    rest, digits = value.denominator, 0
    for prime in (2, 5):
        count = 0
        while rest % prime == 0:
            rest //= prime
            count += 1
        digits = max(digits, count)
    return rounded(value, digits) if rest == 1 else None


def calculator(expression):
    parser = Parser(expression)
    value = parser.sum()
    if parser.at != len(parser.items):
        raise ValueError("cannot read the expression")
    text = exact(value)
    if text is None:
        text = f"{rounded(value, 10)} (exactly {value.numerator}/{value.denominator})"
    return text


# ---------------------------------------------------------------- text tools

def count_letter(text, letter):
    if len(letter) != 1:
        raise ValueError("letter must be one character")
    return str(text.lower().count(letter.lower()))


def pieces(text):
    """Words of an identifier or phrase: splits on punctuation and camel humps."""
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)
    return [w for w in re.split(r"[\W_]+", text) if w]


def change_case(text, to):
    if to in ("upper", "lower"):
        return text.upper() if to == "upper" else text.lower()
    if to == "title":
        return re.sub(r"\S+", lambda m: m.group()[:1].upper() + m.group()[1:].lower(), text)
    words = [w.lower() for w in pieces(text)]
    if to in ("snake", "kebab"):
        return ("_" if to == "snake" else "-").join(words)
    if to == "camel":
        return "".join(words[:1] + [w[:1].upper() + w[1:] for w in words[1:]])
    raise ValueError(f"unknown case: {to}")


def slugify(text):
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c)).lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def convert_units(value, source, target):
    result = units.convert(Fraction(str(value)), source, target)
    return f"{value} {source} = {rounded(result, 6)} {target}"


def call(name, a):
    """Run a tool; a failure is a result text that starts with `error: `."""
    try:
        if name == "calculator":
            return calculator(a["expression"])
        if name == "count_letter":
            return count_letter(a["text"], a["letter"])
        if name == "count_words":
            return str(len(a["text"].split()))
        if name == "count_characters":
            return str(len(a["text"]))
        if name == "reverse_text":
            return a["text"][::-1]
        if name == "change_case":
            return change_case(a["text"], a["to"])
        if name == "slugify":
            return slugify(a["text"])
        if name == "convert_units":
            return convert_units(a["value"], a["from"], a["to"])
    except (ValueError, KeyError, TypeError) as problem:
        return f"error: {problem}"
    return f"error: unknown tool {name}"
