"""`response_format`: sent as it is, answers checked against it, a schema that is none told before anything is sent."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pandas as pd
import pytest
from books import assert_accounted, reasons, rejects
from click.testing import CliRunner
from corpora import corpus
from hypothesis import given
from hypothesis import strategies as st
from job.jobs import assert_accounted_for, books_of
from job.jobs import rejects as rejects_of
from scripted import chat

from nemocc_dask.cli import nemocc
from nemocc_dask.errors import SettingError
from nemocc_dask.generate import generate
from nemocc_dask.settings import Endpoint, GenerationConfig, Job, check_format
from nemocc_dask.settings.formats import COMPLAINT_CHARACTERS
from nemocc_dask.tasks import Task, task_to_toml

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 1},
        "facts": {"type": "array", "items": {"$ref": "#/$defs/fact"}, "minItems": 1},
        "kind": {"enum": ["news", "essay"]},
    },
    "required": ["title", "facts"],
    "additionalProperties": False,
    "$defs": {"fact": {"type": "object", "properties": {"says": {"type": "string"}}, "required": ["says"]}},
}
TREE = {"type": "object", "properties": {"inner": {"$ref": "#"}}}
FACTS = Task(
    name="facts",
    output_field="facts",
    prompt="Take this text apart:\n<document>\n{document}\n</document>",
    max_input_tokens=1000,
    max_output_tokens=600,
)


def of_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "made", "strict": True, "schema": schema}}


OBJECT = {"type": "json_object"}


def complaint(text, response_format):
    (only,) = check_format([text], response_format)
    return only


# --- what is found fault with -----------------------------------------------------------------------------------------

FITTING = {"title": "Salt", "facts": [{"says": "It dissolves."}], "kind": "essay"}
MISFITS = {
    "facts missing": ({"title": "Salt"}, "$: 'facts' is a required property"),
    "a fact that is text": (FITTING | {"facts": ["It dissolves."]}, "$.facts[0]: 'It dissolves.' is not of type"),
    "a fact within": (FITTING | {"facts": [{"says": "a"}, {}]}, "$.facts[1]: 'says' is a required property"),
    "none of the words": (FITTING | {"kind": "poem"}, "$.kind: 'poem' is not one of ['news', 'essay']"),
    "too few": (FITTING | {"facts": []}, "$.facts: [] should be non-empty"),
    "a field too many": (FITTING | {"more": 1}, "$: Additional properties are not allowed ('more' was unexpected)"),
    "a list of it": ([FITTING], "$: [{'title': 'Salt',"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_the_schema_is_told_with_its_place(name):
    """A complaint says where in the answer and what is wrong there; what fits has none."""
    value, words = MISFITS[name]
    assert complaint(json.dumps(value), of_schema(SCHEMA)).startswith(words)
    assert complaint(json.dumps(FITTING), of_schema(SCHEMA)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Sorry, I cannot.", "no JSON: Expecting value at character 0"),
        ('```json\n{"a": 1}\n```', "no JSON: Expecting value at character 0"),
        ('{"a": 1} That is all.', "no JSON: Extra data at character 9"),
        ('{"a": ', "no JSON: Expecting value at character 6"),
        ('{"a": NaN}', "no JSON: it holds NaN"),
        ('{"a": -Infinity}', "no JSON: it holds -Infinity"),
        (None, "no JSON: Expecting value at character 0"),
        ("", "no JSON: Expecting value at character 0"),
        ("[1]", "no JSON object"),
        ('"a"', "no JSON object"),
        ("null", "no JSON object"),
        ('{"a": {}}', None),
        (" {}\n", None),
    ],
)
def test_any_object_will_do_but_an_object_it_is(text, words):
    """json_object takes whatever JSON's grammar calls an object, and nothing round it."""
    assert complaint(text, OBJECT) == words


@pytest.mark.parametrize("kind", [{"type": "text"}, {"type": "grammar", "grammar": "x"}, {}])
def test_formats_nothing_is_known_of_are_not_checked(kind):
    """What an endpoint alone understands is sent, and its answers are taken."""
    assert complaint("Anything.", GenerationConfig(response_format=kind).response_format) is None


NASTY = {
    "deep beyond the parser": "[" * 100_000,
    "deep beyond the schema": '{"inner":' * 400 + "{}" + "}" * 400,
    "a number of 5,000 digits": '{"inner": ' + "9" * 5000 + "}",
    "half a surrogate pair as a name": '{"inner": {"\\ud800": {}, "inner": {"inner": 1}}}',
    "a hundred thousand characters": json.dumps({"inner": "x" * 100_000}),
}


@pytest.mark.parametrize("name", NASTY)
def test_no_answer_breaks_the_check(name):
    """Whatever a model writes comes to a complaint that is short, on one line, and can be written to a file."""
    words = complaint(NASTY[name], of_schema(TREE))
    assert words and len(words.encode()) <= COMPLAINT_CHARACTERS and "\n" not in words


def test_a_number_too_large_for_arithmetic_is_a_complaint():
    """A schema's arithmetic on a number of 400 digits overflows, and costs that answer alone."""
    assert "too large a number" in complaint("9" * 400, of_schema({"multipleOf": 0.5}))


def test_a_complaint_about_half_a_surrogate_pair_is_text():
    """A name that is no Unicode stands in the complaint as an escape."""
    words = complaint('{"\\ud800": 1}', of_schema({"additionalProperties": {"type": "string"}}))
    assert "\\ud800" in words and words.encode()


JSON = st.recursive(
    st.none() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["title", "facts", "says"]), inner),
)


@given(st.text() | JSON.map(json.dumps))
def test_a_check_says_yes_or_why(text):
    """Of any text it is said either that it fits or what is wrong."""
    words = complaint(text, of_schema(SCHEMA))
    assert words is None or (words and words.isprintable())


# --- schemas that are none --------------------------------------------------------------------------------------------

BAD = {
    "no schema": ({"type": "json_schema"}, "needs json_schema.schema"),
    "no object": ({"type": "json_schema", "json_schema": "SCHEMA"}, "needs json_schema.schema"),
    "a number for a schema": (of_schema(5), "needs json_schema.schema"),
    "an unknown type": (of_schema({"type": "objekt"}), "'objekt' is not valid"),
    "a bad pattern": (of_schema({"properties": {"a": {"pattern": "("}}}), "'\\(' is not a 'regex'"),
    "a part that is not there": (of_schema({"items": {"$ref": "#/$defs/a"}}), "refers to '#/\\$defs/a'"),
    "a part elsewhere": (of_schema({"$ref": "http://127.0.0.1:9/s.json"}), "refers to 'http://127.0.0.1:9/s.json'"),
    "a set": ({"type": "json_object", "more": {1}}, "cannot be written as JSON"),
    "no number": ({"type": "json_object", "more": float("nan")}, "not JSON compliant"),
    "a list": ([OBJECT], "valid dictionary"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_format_that_is_none_is_told_where_it_is_set(name):
    """Settings with a schema that nobody could meet or check are refused in words, a job's before it begins."""
    response_format, words = BAD[name]
    with pytest.raises(SettingError, match=f"response_format.*{words}"):
        GenerationConfig(response_format=response_format)
    with pytest.raises(SettingError, match=f"response_format.*{words}"):
        Job(output="o", samples=1, base_url="http://h/v1", model="m", response_format=response_format)


def test_a_schema_may_name_itself_and_its_parts():
    """References within a schema, to all of it or by an anchor, are no reason to refuse it."""
    for schema in (SCHEMA, TREE, {"$ref": "#a", "$defs": {"b": {"$anchor": "a", "type": "object"}}}):
        assert check_format(["{}", "5"], GenerationConfig(response_format=of_schema(schema)).response_format)[1]


@pytest.mark.parametrize("words", ["[1]", "@schema.json", "{", '{"type": "json_schema"}'])
def test_the_command_line_takes_json_alone(words, simulate, tmp_path):
    """What is no JSON, no object or no schema ends with exit code 2 and one line, and the endpoint hears nothing."""
    simulator = simulate()
    corpus(2).to_parquet(tmp_path / "in.parquet")
    done = run(tmp_path, simulator, "--response-format", words)
    assert done.exit_code == 2 and "response" in done.stderr and done.stderr.count("\n") == 1
    assert simulator.stats()["requests"] == 0 and not (tmp_path / "out").exists()


# --- on the wire, and in the books ------------------------------------------------------------------------------------


def segments(rows):
    return pd.DataFrame({"id": range(rows), "segment_id": 0, "text": [f"number {row}." for row in range(rows)]})


def test_the_format_is_sent_as_it_is(scripted):
    """The endpoint gets what the settings say, field for field, and nothing where they say nothing."""
    for response_format in (of_schema(SCHEMA), None):
        config = GenerationConfig(response_format=response_format)
        generate(segments(1), FACTS, endpoint=scripted.endpoint(), config=config)
    assert scripted.bodies[0]["response_format"] == of_schema(SCHEMA)
    assert "response_format" not in scripted.bodies[1]


def test_answers_of_another_shape_are_responses_that_are_rejected(scripted):
    """A misfit was paid for, so it counts as a response; its row is rejected with the complaint, and no other row."""
    choices = [json.dumps(FITTING), json.dumps({"title": "Salt"}), "Sorry!", json.dumps(FITTING)]
    scripted.reply = lambda body: chat(*choices)
    config = GenerationConfig(n=4, response_format=of_schema(SCHEMA))
    outcome = generate(segments(3), FACTS, endpoint=scripted.endpoint(), config=config)
    assert outcome.kept["sample"].tolist() == [0, 3] * 3
    assert reasons(outcome) == {"generate": {"wrong_format": 6}} and outcome.stages[0].notes["responses"] == 12
    told = Counter(rejects(outcome)["detail"])
    assert told == {"$: 'facts' is a required property": 3, "no JSON: Expecting value at character 0": 3}
    assert rejects(outcome)["facts"].tolist() == choices[1:3] * 3
    assert_accounted(outcome, 12)


def test_an_answer_that_was_cut_off_is_called_that(scripted):
    """Half an object is no JSON, but the reason is that the answer was truncated; empty ones are called empty."""
    scripted.reply = lambda body: chat('{"a": ', finish_reason="length") if "0" in str(body["messages"]) else chat("")
    config = GenerationConfig(response_format=OBJECT)
    outcome = generate(segments(2), FACTS, endpoint=scripted.endpoint(), config=config)
    assert reasons(outcome) == {"generate": {"truncated": 1, "empty": 1}}


def test_no_rows_are_fine(scripted):
    """Zero rows with a format are zero rows, as Dask asks for them."""
    config = GenerationConfig(response_format=OBJECT)
    outcome = generate(segments(0), FACTS, endpoint=scripted.endpoint(), config=config)
    assert len(outcome.kept) == 0 and scripted.bodies == []


def test_another_format_asks_anew(simulate, tmp_path):
    """What answers have to be is part of what was asked, so answers to another format are not found in the store."""
    simulator = simulate()
    endpoint = Endpoint(base_url=simulator.base_url, model="simulated")
    formats = [OBJECT, of_schema({"type": "object"}), OBJECT]
    for sent, response_format in zip([4, 8, 8], formats, strict=True):
        config = GenerationConfig(response_format=response_format)
        segments(4).nemocc.generate(FACTS, endpoint=endpoint, config=config, store=str(tmp_path))
        assert simulator.stats()["requests"] == sent


def test_a_job_checks_its_answers_and_finds_them_again(simulate, tmp_path, tokenizer_file):
    """On the command line too misfits are rejected and booked; run anew beside its store, nothing is asked again."""
    simulator = simulate(bad_json_rate=0.4)
    corpus(30, lines=1).to_parquet(tmp_path / "in.parquet")
    (tmp_path / "facts.toml").write_text(task_to_toml(FACTS))
    words = ("--task-file", tmp_path / "facts.toml", "--response-format", json.dumps(of_schema(SCHEMA)))
    done = run(tmp_path, simulator, *words, "--tokenizer", tokenizer_file)
    assert done.exit_code == 0, done.stderr
    books = books_of(tmp_path / "out")
    assert_accounted_for(tmp_path / "out", books, http_requests=30)
    account, spoilt = books["tasks"]["facts"], simulator.stats()["faults"]["bad_json"]
    assert account["rejected"]["generate"] == {"wrong_format": spoilt} and 0 < spoilt < 30
    assert account["responses"] == 30 and account["kept"] == 30 - spoilt
    rows = rejects_of(tmp_path / "out", "facts")
    assert len(rows) == spoilt and rows["detail"].str.match(r"no JSON|\$").all()
    shards = pd.read_parquet(tmp_path / "out" / "facts")
    assert check_format(shards["facts"].tolist(), of_schema(SCHEMA)) == [None] * len(shards)

    (tmp_path / "facts.toml").write_text(task_to_toml(dataclasses.replace(FACTS, min_result_tokens=1)))
    done = run(tmp_path, simulator, *words, "--tokenizer", tokenizer_file)
    assert done.exit_code == 0, done.stderr
    assert books_of(tmp_path / "out")["tasks"]["facts"]["rejected"]["generate"] == {"wrong_format": spoilt}
    assert simulator.stats()["requests"] == 30


def run(folder, simulator, *words):
    """The job on the command line, in this process."""
    there = ("--input", folder / "in.parquet", "--output", folder / "out", "--base-url", simulator.base_url)
    words = ["run", *there, "--model", "simulated", *words]
    return CliRunner().invoke(nemocc, [str(word) for word in words], prog_name="nemocc-dask")
