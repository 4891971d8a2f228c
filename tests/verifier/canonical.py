"""Canonical JSON by docs/FORMAT.md section 2: a strict RFC 8259 reader and an RFC 8785 writer.

Python's json module is not used: it forgets number tokens, takes duplicate names and lone surrogates, and lets NaN
through. Values are read as dict, list, str, int, float, bool and None; an int is a number whose canonical form has only
digits and that lies within plus or minus 2^53 - 1.
"""

import re

DEPTH_MAX = 64
NUMBER_BYTES_MAX = 64
INTEGER_MAX = 2**53 - 1
EVENT_BYTES_MAX = 1_048_576

WHITE_SPACE = " \t\n\r"
NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
# What may stand in a string as it is: all but quotation mark, reverse solidus and U+0000 to U+001F.
PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
HEX4 = re.compile(r"[0-9a-fA-F]{4}")
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
ESCAPED = re.compile(r'["\\\x00-\x1f]')
SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Refused(Exception):
    """The input is not accepted; `code` is one of the codes of section 2."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def decimal_value(digits, exponent):
    """A decimal number as (coefficient without trailing zeros, exponent of ten), so that equal values are equal pairs."""
    stripped = digits.rstrip("0")
    coefficient = int(stripped or "0")
    return (coefficient, exponent + len(digits) - len(stripped)) if coefficient else (0, 0)


def shortest_digits(number):
    """The shortest digits that read back as this positive finite double, and the exponent: value = digits * 10^exponent.

    Python's repr() gives the same digits as ECMAScript; only the layout differs.
    """
    mantissa, _, exponent = repr(number).partition("e")
    whole, _, fraction = mantissa.partition(".")
    coefficient, power = decimal_value(whole + fraction, int(exponent or "0") - len(fraction))
    return str(coefficient), power


def ecmascript(number):
    """ECMAScript Number.prototype.toString of a finite double (ECMA-262, Number::toString, radix 10)."""
    if number == 0:
        return "0"
    if number < 0:
        return "-" + ecmascript(-number)
    digits, power = shortest_digits(number)
    k, n = len(digits), len(digits) + power
    if k <= n <= 21:
        return digits + "0" * (n - k)
    if 0 < n <= 21:
        return digits[:n] + "." + digits[n:]
    if -6 < n <= 0:
        return "0." + "0" * -n + digits
    fraction = "." + digits[1:] if k > 1 else ""
    return f"{digits[0]}{fraction}e{'+' if n > 0 else '-'}{abs(n - 1)}"


def read_number(match):
    """An int or a float from a number token, or Refused if a double does not carry its value."""
    token = match.group(0)
    sign, whole, fraction, exponent = match.groups()
    if len(token) > NUMBER_BYTES_MAX:
        raise Refused("number_not_exact")
    fraction = fraction or ""
    value = decimal_value(whole + fraction, int(exponent or "0") - len(fraction))
    if value[0] == 0:
        return 0
    number = float(whole + "." + (fraction or "0") + "e" + (exponent or "0"))
    if number == 0 or number == float("inf"):
        raise Refused("number_not_exact")
    digits, power = shortest_digits(number)
    long_mantissa, long_exponent = f"{number:.16e}".split("e")
    if value != decimal_value(digits, power) and value != decimal_value(
        long_mantissa.replace(".", ""), int(long_exponent) - 16
    ):
        raise Refused("number_not_exact")
    number = -number if sign else number
    return int(number) if abs(number) <= INTEGER_MAX and number == int(number) else number


class Reader:
    """Reads one JSON value out of a text."""

    def __init__(self, text, depth_max):
        self.text, self.at, self.depth_max = text, 0, depth_max

    def skip_white_space(self):
        while self.at < len(self.text) and self.text[self.at] in WHITE_SPACE:
            self.at += 1

    def take(self, expected):
        """Steps over `expected` if it comes next."""
        found = self.text.startswith(expected, self.at)
        self.at += len(expected) if found else 0
        return found

    def demand(self, expected):
        if not self.take(expected):
            raise Refused("invalid_json")

    def value(self, depth=1):
        self.skip_white_space()
        if self.take("{"):
            return self.object(depth)
        if self.take("["):
            return self.array(depth)
        if self.take('"'):
            return self.string()
        for literal, value in (("true", True), ("false", False), ("null", None)):
            if self.take(literal):
                return value
        match = NUMBER.match(self.text, self.at)
        if not match:
            raise Refused("invalid_json")
        self.at = match.end()
        return read_number(match)

    def items(self, close, depth):
        """Yields once for every element between the brackets; the caller reads it."""
        if depth > self.depth_max:
            raise Refused("too_deep")
        self.skip_white_space()
        if self.take(close):
            return
        while True:
            self.skip_white_space()
            yield
            self.skip_white_space()
            if self.take(close):
                return
            self.demand(",")

    def array(self, depth):
        return [self.value(depth + 1) for _ in self.items("]", depth)]

    def object(self, depth):
        members = {}
        for _ in self.items("}", depth):
            self.demand('"')
            name = self.string()
            if name in members:
                raise Refused("duplicate_key")
            self.skip_white_space()
            self.demand(":")
            members[name] = self.value(depth + 1)
        return members

    def string(self):
        parts = []
        while True:
            match = PLAIN.match(self.text, self.at)
            parts.append(match.group(0))
            self.at = match.end()
            if self.take('"'):
                return "".join(parts)
            self.demand("\\")
            parts.append(self.escape())

    def escape(self):
        letter = self.text[self.at : self.at + 1]
        if letter in ESCAPES:
            self.at += 1
            return ESCAPES[letter]
        self.demand("u")
        unit = self.hex4()
        if unit == 0:
            raise Refused("nul_character")
        if 0xD800 <= unit <= 0xDBFF and self.take("\\u"):
            low = self.hex4()
            if not 0xDC00 <= low <= 0xDFFF:
                raise Refused("lone_surrogate")
            return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        if 0xD800 <= unit <= 0xDFFF:
            raise Refused("lone_surrogate")
        return chr(unit)

    def hex4(self):
        match = HEX4.match(self.text, self.at)
        if not match:
            raise Refused("invalid_json")
        self.at = match.end()
        return int(match.group(0), 16)


def parse(data, depth_max=DEPTH_MAX):
    """One JSON value from bytes, or Refused."""
    if data.startswith(b"\xef\xbb\xbf"):
        raise Refused("byte_order_mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("invalid_utf8") from error
    if not text.strip(WHITE_SPACE):
        raise Refused("empty")
    reader = Reader(text, depth_max)
    value = reader.value()
    reader.skip_white_space()
    if reader.at != len(text):
        raise Refused("trailing_data")
    return value


def write_string(text):
    def escape(match):
        character = match.group(0)
        return SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"

    return '"' + ESCAPED.sub(escape, text) + '"'


def write_text(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return write_string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return ecmascript(value)
    if isinstance(value, list):
        return "[" + ",".join(map(write_text, value)) + "]"
    # UTF-16 big endian sorts as its code units do.
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    return "{" + ",".join(write_string(name) + ":" + write_text(value[name]) for name in names) + "}"


def write(value):
    """The RFC 8785 form of a value, as bytes."""
    return write_text(value).encode("utf-8")


def canonical(data):
    """The RFC 8785 form of one JSON value given as bytes, by the rules of section 2 up to `too_large`."""
    form = write(parse(data))
    if len(form) > EVENT_BYTES_MAX:
        raise Refused("too_large")
    return form
