"""What `response_format` asks for, and whether an answer is that: JSON, and of the shape that a schema describes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NoReturn

COMPLAINT_CHARACTERS = 500
"""Most of a complaint that is kept: some repeat the whole answer."""

Check = Callable[[str | None], str | None]
"""From a text to what is wrong with it, None where nothing is."""


def check_format(texts: Sequence[str | None], response_format: dict[str, Any]) -> list[str | None]:
    """For each text what is wrong with it, in words on one line, or None where it is as asked for.

    response_format: in OpenAI's words. ``json_object`` and ``json_schema`` are checked, of others nothing is known.

    Raises `ValueError` where the schema is none.

    >>> check_format(['{"a": 1}', "Sorry!"], {"type": "json_object"})
    [None, 'no JSON: Expecting value at character 0']
    """
    check = check_of(response_format)
    return [check(text) for text in texts]


def check_of(response_format: dict[str, Any]) -> Check:
    """What finds fault with a text. Raises `ValueError` where a schema is wanted and there is none, or it is no schema.

    >>> check_of({"type": "json_schema", "json_schema": {"schema": {"type": "objekt"}}})
    Traceback (most recent call last):
    ValueError: json_schema.schema is no JSON schema: 'objekt' is not valid under any of the given schemas
    """
    kind = response_format.get("type")
    if kind == "json_object":
        return lambda text: _complaint(text, _about_an_object)
    if kind != "json_schema":
        return lambda _: None
    given = response_format.get("json_schema")
    schema = given.get("schema") if isinstance(given, dict) else None
    if not isinstance(schema, dict):
        raise ValueError("of type 'json_schema' it needs json_schema.schema, an object")  # noqa: TRY004 - a setting
    about = _about(json.dumps(schema))
    return lambda text: _complaint(text, about)


def _complaint(text: str | None, about: Callable[[Any], str | None]) -> str | None:
    try:
        words = about(json.loads(text or "", parse_constant=_no_json))
    except json.JSONDecodeError as error:
        return f"no JSON: {error.msg} at character {error.pos}"
    except _ConstantError as error:
        return f"no JSON: it holds {error}"
    except (RecursionError, ArithmeticError, ValueError):  # an answer must not take its neighbours along
        return "JSON that is too deep, or has too large a number, to be checked"
    if words is None:
        return None
    # Half a surrogate pair in an answer's JSON is no Unicode once it is read.
    return " ".join(words.encode("utf-8", "backslashreplace").decode().split())[:COMPLAINT_CHARACTERS]


class _ConstantError(ValueError):
    pass


def _no_json(constant: str) -> NoReturn:
    """NaN and the infinities, which Python would read."""
    raise _ConstantError(constant)


def _about_an_object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "no JSON object"


@lru_cache(maxsize=16)
def _about(schema_json: str) -> Callable[[Any], str | None]:
    # Not above: it takes a tenth of a second, and every `dask` call imports the settings.
    import jsonschema
    from jsonschema.validators import validator_for
    from referencing import Registry

    schema = json.loads(schema_json)
    validator = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"json_schema.schema is no JSON schema: {error.message}") from None
    _check_references(schema)
    ready = validator(schema, registry=Registry())  # without one, references are looked up on the network

    def about(value: Any) -> str | None:
        worst = jsonschema.exceptions.best_match(ready.iter_errors(value))
        return None if worst is None else f"{worst.json_path}: {worst.message}"

    return about


def _check_references(schema: dict[str, Any]) -> None:
    """Raises `ValueError` where a part of the schema is named that is not in it: nobody would find it later."""
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resolver = Registry().resolver_with_root(Resource.from_contents(schema, default_specification=DRAFT202012))
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise ValueError(f"json_schema.schema refers to {reference!r}, which is not in it") from None


def _references(schema: Any) -> Iterator[str]:
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    if isinstance(schema, dict):
        yield from (schema[word] for word in ("$ref", "$dynamicRef") if isinstance(schema.get(word), str))
    for each in inner:
        yield from _references(each)
