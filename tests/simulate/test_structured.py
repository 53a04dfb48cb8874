"""A response_format is met: JSON that its schema allows, of the document's sentences, except where a knob says not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.simulate import Simulator
from nemocc_dask.simulate.dice import Dice
from nemocc_dask.simulate.structured import Source, filler

from .asking import DOCUMENT, SENTENCES, ask, chat

Simulate = Callable[..., Simulator]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "description": "What it is about."},
        "facts": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "year": {"type": "integer", "minimum": 1000},
        "is_news": {"type": "boolean"},
    },
    "required": ["title", "facts", "year", "is_news"],
    "additionalProperties": False,
}


def wanting(schema: Any, **fields: Any) -> dict[str, Any]:
    """A chat that wants JSON by a schema."""
    wanted = {"type": "json_schema", "json_schema": {"name": "made", "strict": True, "schema": schema}}
    return chat("Take it apart.", response_format=wanted, **fields)


def allows(schema: dict[str, Any], content: str) -> bool:
    """Whether the content is JSON that the schema allows."""
    jsonschema = pytest.importorskip("jsonschema")
    try:
        jsonschema.validate(json.loads(content), schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def test_an_answer_is_json_by_its_schema(simulator: Simulator) -> None:
    """Each answer is valid, has every property in the schema's order, and its texts stand in the document."""
    answer = ask(simulator, wanting(SCHEMA, n=20))
    for content in answer.contents:
        made = json.loads(content)
        assert allows(SCHEMA, content)
        assert list(made) == list(SCHEMA["properties"])
        assert {made["title"], *made["facts"]} <= set(SENTENCES)
    assert len(set(answer.contents)) == 20
    assert {json.loads(content)["is_news"] for content in answer.contents} == {True, False}
    assert simulator.stats()["by_task"] == {"json": 1}


def test_the_same_body_gets_the_same_json(simulator: Simulator) -> None:
    """An answer repeats with its seed, and is another with another."""
    one, again, other = (ask(simulator, wanting(SCHEMA, seed=seed)).contents for seed in (1, 1, 2))
    assert one == again != other


def test_any_object_will_do(simulator: Simulator) -> None:
    """A request for json_object gets an object; one for text gets text."""
    made = ask(simulator, chat("Begin with 'Paraphrased Text:'.", response_format={"type": "json_object"}))
    assert isinstance(json.loads(made.contents[0]), dict)
    text = chat("Begin with 'Paraphrased Text:'.", response_format={"type": "text"})
    assert ask(simulator, text).contents == ask(simulator, chat("Begin with 'Paraphrased Text:'.")).contents


def bounded(kind: str, low: str, high: str, inner: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas of a kind, with bounds or without."""
    pairs = st.tuples(st.integers(0, 60), st.integers(0, 30)).map(lambda pair: {low: pair[0], high: sum(pair)})
    unbounded: dict[str, int] = {}
    return st.one_of(st.just(unbounded), pairs).map(lambda bounds: {"type": kind, **inner, **bounds})


VALUES = st.one_of(
    bounded("string", "minLength", "maxLength", {}),
    bounded("integer", "minimum", "maximum", {"title": "A number"}),
    bounded("number", "minimum", "maximum", {}),
    st.sampled_from(
        [
            {"type": "boolean"},
            {"type": "null"},
            {"enum": ["a", 1, None]},
            {"const": {"x": 1}},
            {"anyOf": [{"type": "null"}, {"type": "integer"}]},
            {"type": ["string", "null"]},
            {"$ref": "#/$defs/Word"},
        ]
    ),
)
SCHEMAS = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        inner.map(lambda one: {"type": "array", "items": one}),
        inner.flatmap(lambda one: bounded("array", "minItems", "maxItems", {"items": one})),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(
            lambda properties: {"type": "object", "properties": properties, "required": list(properties)}
        ),
    ),
    max_leaves=4,
)


@given(
    st.dictionaries(st.text(max_size=3), SCHEMAS, max_size=4), st.binary(max_size=3), st.sampled_from([DOCUMENT, ""])
)
def test_what_is_filled_in_is_allowed(properties: dict[str, Any], key: bytes, document: str) -> None:
    """Every schema of the kinds that are understood is filled by a document which it allows, from any text."""
    definitions = {"Word": {"type": "string", "minLength": 3}}
    schema = {"type": "object", "properties": properties, "required": list(properties), "$defs": definitions}
    made = filler(schema)(Source.of(document, Dice(key)))
    assert allows(schema, json.dumps(made))


SELF = {"type": "object", "properties": {"self": {"$ref": "#/$defs/Self"}}}
NOT_UNDERSTOOD: dict[str, Any] = {
    "no schema": {"type": "json_schema"},
    "no such type": {"type": "yaml"},
    "no object": 5,
    "a schema of a list": {"type": "array", "items": {"type": "string"}},
    "a pattern": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^a$"}}},
    "no type": {"type": "object", "properties": {"a": {}}},
    "a type there is not": {"type": "object", "properties": {"a": {"type": "date"}}},
    "properties that are a list": {"type": "object", "properties": []},
    "a property that is text": {"type": "object", "properties": {"a": "string"}},
    "required and not there": {"type": "object", "properties": {}, "required": ["a"]},
    "required that is no list": {"type": "object", "required": "a"},
    "a reference to nothing": {"type": "object", "properties": {"a": {"$ref": "#/$defs/No"}}},
    "a schema in itself": {**SELF, "$defs": {"Self": SELF}},
    "bounds that cross": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 2}}},
    "no whole number between": {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 0.2, "maximum": 0.9}},
    },
    "a bound that is text": {"type": "object", "properties": {"a": {"type": "string", "maxLength": "5"}}},
    "too many items": {"type": "object", "properties": {"a": {"type": "array", "minItems": 10**9}}},
}


@pytest.mark.parametrize("wanted", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD.keys())
def test_what_is_not_understood_is_refused(simulator: Simulator, wanted: Any) -> None:
    """A response_format that cannot be met for certain gets 400 that names the field; nothing is guessed."""
    is_schema = isinstance(wanted, dict) and wanted["type"] in ("object", "array")
    answer = ask(simulator, wanting(wanted) if is_schema else chat("Hello", response_format=wanted))
    assert answer.status == 400
    assert (answer.error["code"], answer.error["param"]) == ("invalid_json_schema", "response_format")


@pytest.mark.parametrize("any_object", [False, True])
def test_json_may_be_bad(simulate: Simulate, any_object: bool) -> None:
    """Knob bad_json_rate: that share of answers is no JSON, or such as was not asked for; others stay as they were."""
    schema = {"type": "object"} if any_object else SCHEMA
    body = chat("Hello", response_format={"type": "json_object"}, n=100) if any_object else wanting(SCHEMA, n=100)
    good, all_bad = ask(simulate(), body).contents, ask(simulate(bad_json_rate=1.0), body).contents
    some = ask(simulate(bad_json_rate=0.3), body).contents
    assert not any(allows(schema, content) for content in all_bad)
    assert 15 <= sum(not allows(schema, content) for content in some) <= 45
    assert all(content in (whole, bad) for content, whole, bad in zip(some, good, all_bad, strict=True))
    assert any(_is_json(content) for content in all_bad)
    assert not all(_is_json(content) for content in all_bad)


def _is_json(content: str) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def test_bad_json_is_counted_and_leaves_text_alone(simulate: Simulate) -> None:
    """It is a fault of answers that are to be JSON, and of no others."""
    simulator = simulate(bad_json_rate=1.0)
    ask(simulator, wanting(SCHEMA))
    assert simulator.stats()["faults"] == {"bad_json": 1}
    assert (
        ask(simulator, chat("Begin with 'Paraphrased Text:'.")).contents
        == ask(simulate(), chat("Begin with 'Paraphrased Text:'.")).contents
    )
    assert simulator.stats()["faults"] == {"bad_json": 1}


def test_json_is_cut_at_max_tokens(simulator: Simulator) -> None:
    """A document that is too long ends in the middle, with reason length."""
    answer = ask(simulator, wanting(SCHEMA, max_tokens=10))
    assert answer.body["choices"][0]["finish_reason"] == "length"
    assert not _is_json(answer.contents[0])
