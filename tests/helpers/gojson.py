# SPDX-License-Identifier: MIT
"""JSON as a server written in Go reads and writes it.

The development server (devserver.py) stores and answers what the real one does, byte for byte: keys
matched without regard to case, integers through a double, map keys sorted, "<", ">" and "&"
escaped, every byte that is not UTF-8 turned into U+FFFD. This file owns that and nothing else.
"""
import codecs
import decimal
import json
import re

codecs.register_error("one-by-one", lambda e: ("\ufffd", e.start + 1))
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPED = re.compile("[<>&\u2028\u2029]")


class Error(ValueError):
    """The text is what the real server would say."""


class _Float(float):
    """A number that was not written as an integer; the real server quotes it in some refusals."""

    def __new__(cls, text):
        value = super().__new__(cls, text)
        if value in (float("inf"), float("-inf")):
            raise Error(f"json: cannot unmarshal number {text} into Go value of type float64")
        value.text = text
        return value


def _no_constant(text):
    raise Error(f"invalid character '{text[0]}' looking for beginning of value")


_decoder = json.JSONDecoder(parse_float=_Float, parse_constant=_no_constant)
_slow_decoder = json.JSONDecoder(parse_float=_Float, parse_constant=_no_constant,
                                 parse_int=lambda text: -0.0 if text == "-0" else int(text))


def loads(data):
    """Bytes to a tree. Anything wrong with the text is an Error."""
    text = data.decode("utf-8", "one-by-one")
    try:
        if text.startswith("\ufeff"):
            raise Error("invalid character '\ufeff' looking for beginning of value")
        start = len(text) - len(text.lstrip(" \t\r\n"))
        value, end = (_slow_decoder if "-0" in text else _decoder).raw_decode(text, start)
        rest = text[end:].lstrip(" \t\r\n")
        if rest:
            raise Error(f"invalid character '{rest[0]}' after top-level value")
        return value
    except json.JSONDecodeError as e:
        if e.pos >= len(text) or "Unterminated" in e.msg or not text.strip():
            raise Error("unexpected end of JSON input") from None
        raise Error(f"invalid character '{text[e.pos]}' looking for beginning of value") from None
    except Error:
        raise
    except (RecursionError, ValueError) as e:  # too deep, or an integer of thousands of digits
        raise Error(str(e)) from None


def text(value):
    """A string as Go holds it: no lone surrogates."""
    return _SURROGATE.sub("\ufffd", value)


def _number(value):
    digits = float.__repr__(float(value))  # the shortest that reads back as the same, as in Go
    if digits.endswith(".0"):
        digits = digits[:-2]
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return format(decimal.Decimal(digits), "f")
    if "e" not in digits:
        digits = format(decimal.Decimal(digits).normalize(), "e")
    mantissa, exponent = digits.split("e")
    return f"{mantissa}e{exponent[0] if exponent[0] in '+-' else '+'}{exponent.lstrip('+-0')}"


def quote(value):
    """One string, with the quotes."""
    out = json.dumps(text(value), ensure_ascii=False)
    return _ESCAPED.sub(lambda m: _ESCAPES[m.group()], out)


def dumps(value):
    """A tree to text. Plain trees (no fractions, no big integers) take the fast way."""
    if _plain(value):
        out = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return _ESCAPED.sub(lambda m: _ESCAPES[m.group()], text(out))
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{quote(k)}:{dumps(value[k])}" for k in sorted(value)) + "}"
    return _number(value)


def _plain(value):
    if isinstance(value, (str, bool)) or value is None:
        return True
    if isinstance(value, int):
        return -(1 << 53) <= value <= 1 << 53
    if isinstance(value, list):
        return all(map(_plain, value))
    return isinstance(value, dict) and all(map(_plain, value.values()))


_KINDS = ((bool, "bool"), ((int, float), "number"), (str, "string"), (list, "array"), (dict, "object"))


def _kind(value):
    return next(name for types, name in _KINDS if isinstance(value, types))


def decode(value, fields, go_type, where=""):
    """An object into {name: value}, as a Go struct takes it: keys without regard to case, the last one
    wins, unknown ones are dropped, null leaves the field alone. FIELDS maps a name to "string", "int",
    "uint8", "[]string", "[]interface {}", "map[string]interface {}", or to (fields, Go type) of a struct."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Error(f"json: cannot unmarshal {_kind(value)} into Go value of type {go_type}")
    out, struct = {}, where or go_type.rpartition(".")[2]
    for key, item in value.items():
        name = key if key in fields else next((n for n in fields if n.casefold() == key.casefold()), None)
        if name is None:
            continue
        if item is None:
            if name in NULLABLE:
                out.pop(name, None)
            continue
        out[name] = _field(item, fields[name], f"{struct}.{name}")
    return out


NULLABLE = ("retry", "failure", "custom", "args", "labels", "backtrace")


def _field(item, kind, where):
    def refuse(what, wanted):
        raise Error(f"json: cannot unmarshal {what} into Go struct field {where} of type {wanted}")

    if isinstance(kind, tuple):
        if not isinstance(item, dict):
            refuse(_kind(item), kind[1])
        return decode(item, kind[0], kind[1], where)
    if kind == "string":
        return text(item) if isinstance(item, str) else refuse(_kind(item), kind)
    if kind in ("int", "int64", "uint8"):
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            refuse(_kind(item), kind)
        low, high = (0, 255) if kind == "uint8" else (-(1 << 63), (1 << 63) - 1)
        if type(item) is float:
            item = 0  # it was written "-0"
        if isinstance(item, float) or not low <= item <= high:
            refuse(f"number {getattr(item, 'text', item)}", kind)
        return item
    if kind == "map[string]interface {}":
        return item if isinstance(item, dict) else refuse(_kind(item), kind)
    if not isinstance(item, list):
        refuse(_kind(item), kind)
    if kind == "[]string":
        for one in item:
            if one is not None and not isinstance(one, str):
                refuse(_kind(one), "string")
        return [text(one or "") for one in item]
    return item
