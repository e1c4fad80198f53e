"""What a model finds wrong with what was handed in, in the words of this project."""

from __future__ import annotations

import re
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

NO_OBJECT = frozenset({"dict_type", "model_type", "model_attributes_type"})
"""Pydantic's types of errors for what should have been an object; in a configuration it is a table."""
_WORDS = {
    **dict.fromkeys(NO_OBJECT, "must be an object"),
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}
"""Of pydantic's types of errors, those whose own sentence speaks of Python, or of parsing."""
_OWN = re.compile(r"^(?:Value error|Assertion failed), ")
_SHOULD = re.compile(r"^\w+ should (?P<what>.+?)(?: after validation, not \d+)?$", re.DOTALL)


class Mistake(NamedTuple):
    """One thing that is wrong. `reason` continues the sentence that `field`, a dotted path or empty, begins; `kind` is
    pydantic's slug."""

    field: str
    reason: str
    kind: str


def first_mistake(error: ValidationError) -> Mistake:
    """The first thing that is wrong. It quotes nothing of the input that the model's own validators do not quote."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return Mistake(".".join(str(part) for part in first["loc"]), worded(first), first["type"])


def worded(problem: ErrorDetails) -> str:
    """`must be greater than 0` for pydantic's "Input should be greater than 0"; what our own validators say, as it
    is."""
    message = problem["msg"]
    if _OWN.match(message):
        return _OWN.sub("", message)
    return _WORDS.get(problem["type"]) or _SHOULD.sub(r"must \g<what>", message)


def json_type(value: object) -> str:
    """What a reader of JSON calls the type of a value; of one that JSON has not, Python's name."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return type(value).__name__
