"""Answers that are JSON: a document that the wanted schema allows, filled from sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nemocc_dask.simulate.dice import Dice
from nemocc_dask.simulate.extract import clipped, numbers, sentences, telling
from nemocc_dask.simulate.refusals import RefusedError

DEEPEST = 10
"""Levels of a schema, references counted; one that contains itself is refused by this."""
USUAL_ITEMS = 3
"""Most items of a list whose schema does not ask for more."""
MOST_ITEMS, LONGEST_STRING = 1000, 100_000
"""The most that a schema may ask for."""


@dataclass(frozen=True)
class Source:
    """What values are taken from: the sentences of a document, and the dice of one answer."""

    sentences: Sequence[str]
    dice: Dice

    @classmethod
    def of(cls, document: str, dice: Dice) -> Source:
        """The sentences of a document that tell something."""
        return cls(telling(sentences(document)), dice)

    def text(self, shortest: int, longest: int) -> str:
        """A sentence, repeated where it is too short and cut where it is too long."""
        sentence = clipped(self.dice.pick(self.sentences))
        times = -(-shortest // len(sentence))
        return " ".join([sentence] * max(1, times))[:longest]

    def whole(self, least: float, most: float) -> int:
        """A number of a sentence, or how many characters it has, within the bounds."""
        sentence = self.dice.pick(self.sentences)
        return int(max(least, min(most, self.dice.pick(numbers(sentence) or [len(sentence)]))))


Filler = Callable[[Source], Any]
"""Makes a value that its schema allows."""
_ANSWER: Mapping[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "points": {"type": "array", "items": {"type": "string"}}},
}
"""What is answered where any JSON object will do."""


@dataclass(frozen=True)
class WantedJson:
    """The JSON object that an answer has to be: what makes one, and whether any other would do as well."""

    fill: Filler
    any_object: bool = False

    def answer(self, document: str, dice: Dice) -> str:
        """One whole answer, before any limit on its length."""
        return json.dumps(self.fill(Source.of(document, dice)), ensure_ascii=False)


def wanted_json(response_format: Any) -> WantedJson | None:
    """What a request's `response_format` asks for, None for text; raises `RefusedError` (400) where it cannot be met.

    >>> wanted_json({"type": "text"}), wanted_json({"type": "json_object"}).any_object
    (None, True)
    """
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return WantedJson(filler(_ANSWER), any_object=True)
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return WantedJson(filler(schema))
    raise RefusedError.schema(
        'it has to be {"type": "json_schema", "json_schema": {"schema": {...}}}, or of type json_object or text.'
    )


def filler(schema: Mapping[str, Any]) -> Filler:
    """What fills this schema of an object; raises `RefusedError` (400) where it says what is not understood here.

    >>> year = {"type": "integer", "maximum": 20}
    >>> filler({"type": "object", "properties": {"year": year}})(Source.of("It was 1969.", Dice(b"")))
    {'year': 20}
    """
    if schema.get("type") != "object":
        raise RefusedError.schema("the outermost type has to be object.")
    definitions = schema.get("$defs", {})
    return _filler(schema, definitions if isinstance(definitions, Mapping) else {}, DEEPEST)


def _filler(schema: Any, definitions: Mapping[str, Any], levels: int) -> Filler:
    if not isinstance(schema, Mapping) or not levels:
        raise RefusedError.schema("a schema within it is no object, or too many levels deep.")

    def inner(one: Any) -> Filler:
        return _filler(one, definitions, levels - 1)

    match schema:
        case {"$ref": str(name)}:
            return inner(definitions.get(name.removeprefix("#/$defs/")))
        case {"anyOf": [*options]} if options:
            return inner(next((option for option in options if option != {"type": "null"}), options[0]))
        case {"type": [*kinds]} if kinds:
            return inner({**schema, "type": next((kind for kind in kinds if kind != "null"), kinds[0])})
        case {"const": value}:
            return lambda _: value
        case {"enum": [*values]} if values:
            return lambda source: source.dice.pick(values)
    kind = _kind(schema)
    return kind.make(schema, inner)


@dataclass(frozen=True)
class _Kind:
    """A type of JSON: the words by which a schema limits it, and what makes a filler."""

    words: frozenset[str]
    make: Callable[[Mapping[str, Any], Callable[[Any], Filler]], Filler]


_SAY_NOTHING = {"$defs", "$schema", "additionalProperties", "default", "description", "examples", "title", "type"}
"""Words of a schema that forbid nothing which a filler would do."""


def _kind(schema: Mapping[str, Any]) -> _Kind:
    name = schema.get("type")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise RefusedError.schema(f"type {json.dumps(name)[:100]} is none of {', '.join(_KINDS)}.")
    if unknown := sorted(schema.keys() - kind.words - _SAY_NOTHING):
        raise RefusedError.schema(f"the simulated endpoint does not understand {unknown[0]!r} of type {name}.")
    return kind


def _object(schema: Mapping[str, Any], inner: Callable[[Any], Filler]) -> Filler:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        raise RefusedError.schema("`properties` has to be an object, and `required` a list.")
    if any(name not in list(properties) for name in required):
        raise RefusedError.schema("`required` names what is not among the `properties`.")
    fillers = {name: inner(one) for name, one in properties.items()}
    return lambda source: {name: fill(source) for name, fill in fillers.items()}


def _array(schema: Mapping[str, Any], inner: Callable[[Any], Filler]) -> Filler:
    fill = inner(schema.get("items", {"type": "string"}))
    least, most = (int(bound) for bound in _bounds(schema, "minItems", "maxItems", 0, MOST_ITEMS))
    fewest = max(least, min(1, most))
    further = max(fewest, min(most, USUAL_ITEMS)) - fewest
    return lambda source: [fill(source) for _ in range(fewest + source.dice.below(further + 1))]


def _string(schema: Mapping[str, Any], _: Callable[[Any], Filler]) -> Filler:
    least, most = (int(bound) for bound in _bounds(schema, "minLength", "maxLength", 0, LONGEST_STRING))
    return lambda source: source.text(least, most)


def _number(schema: Mapping[str, Any], _: Callable[[Any], Filler]) -> Filler:
    least, most = _bounds(schema, "minimum", "maximum", -math.inf, math.inf)
    return lambda source: source.whole(least, most)


def _boolean(_: Mapping[str, Any], __: Callable[[Any], Filler]) -> Filler:
    return lambda source: source.dice.chance(0.5)


def _null(_: Mapping[str, Any], __: Callable[[Any], Filler]) -> Filler:
    return lambda _: None


_KINDS: Mapping[str, _Kind] = {
    "object": _Kind(frozenset({"properties", "required"}), _object),
    "array": _Kind(frozenset({"items", "minItems", "maxItems"}), _array),
    "string": _Kind(frozenset({"minLength", "maxLength"}), _string),
    "integer": _Kind(frozenset({"minimum", "maximum"}), _number),
    "number": _Kind(frozenset({"minimum", "maximum"}), _number),
    "boolean": _Kind(frozenset(), _boolean),
    "null": _Kind(frozenset(), _null),
}


def _bounds(schema: Mapping[str, Any], low: str, high: str, least: float, most: float) -> tuple[float, float]:
    """The whole numbers between which a value has to lie."""
    bounds = schema.get(low, least), schema.get(high, most)
    if any(not isinstance(bound, int | float) or isinstance(bound, bool) for bound in bounds):
        raise RefusedError.schema(f"`{low}` and `{high}` have to be numbers.")
    lower, upper = (
        bound if math.isinf(bound) else way(bound) for bound, way in zip(bounds, (math.ceil, math.floor), strict=True)
    )
    if not least <= lower <= upper <= most:
        raise RefusedError.schema(f"no whole number from {least} to {most} is between `{low}` and `{high}`.")
    return lower, upper
