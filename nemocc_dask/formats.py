"""Whether answers are what `response_format` asked for: JSON, and of the shape that a schema describes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import jsonschema
from jsonschema.validators import validator_for

from nemocc_dask.errors import SettingError


def check_format(texts: Sequence[str | None], response_format: dict[str, Any]) -> list[str | None]:
    """For each text what is wrong with it, in words, or None where it is as asked for.

    response_format: in OpenAI's words. ``json_object`` and ``json_schema`` are checked, of others nothing is known.

    Raises `SettingError` where the schema is none.

    >>> check_format(['{"a": 1}', "Sorry!"], {"type": "json_object"})
    [None, 'no JSON: Expecting value at character 0']
    """
    check = _check_of(response_format)
    return [check(text) for text in texts]


def _check_of(response_format: dict[str, Any]) -> Any:
    kind = response_format.get("type")
    if kind == "json_object":
        return lambda text: _complaint(text, None)
    if kind != "json_schema":
        return lambda _: None
    schema = (response_format.get("json_schema") or {}).get("schema")
    if schema is None:
        raise SettingError("GenerationConfig: response_format of type 'json_schema' lacks json_schema.schema.")
    validator = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise SettingError(f"GenerationConfig: response_format holds no valid schema: {error.message}.") from None
    return lambda text: _complaint(text, validator(schema))


def _complaint(text: str | None, validator: Any) -> str | None:
    try:
        value = json.loads(text or "")
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "too deep"
        return f"no JSON: {where}"
    if validator is None:
        return None if isinstance(value, dict) else "no JSON object"
    worst = jsonschema.exceptions.best_match(validator.iter_errors(value))
    return None if worst is None else f"{worst.json_path}: {worst.message}"
