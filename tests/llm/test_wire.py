"""The protocol's JSON: what is sent, what a request is known by, and how nonsense is read."""

import hashlib
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.errors import SettingError
from nemocc_dask.llm import Answer, ChatRequest, Failure, Message, request_body, request_key
from nemocc_dask.llm.body import to_json
from nemocc_dask.llm.reply import Choice, Reply, error_code, error_words, parse_reply
from nemocc_dask.llm.retry import Trouble
from nemocc_dask.settings import GenerationConfig

FULL = GenerationConfig(
    max_tokens=9,
    n=3,
    seed=5,
    stop=("a", "b"),
    temperature=0.0,
    top_k=4,
    top_p=0.5,
    extra_kwargs={"min_p": 0.1},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def request(sample=0, prompt="Hi", **sampling):
    return ChatRequest((Message("user", prompt),), GenerationConfig(**sampling), sample)


def test_every_sampling_field_reaches_the_wire_under_its_own_name():
    """All fields that are not None are in the body: stop as a list, the seed shifted by the sample."""
    body = request_body("m", ChatRequest((("system", "S"), ("user", "{U}")), FULL, sample=2))
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "{U}"}],
        "max_tokens": 9,
        "n": 3,
        "seed": 7,
        "stop": ["a", "b"],
        "temperature": 0.0,
        "top_k": 4,
        "top_p": 0.5,
        "min_p": 0.1,
    }
    assert json.loads(to_json(body)) == body


def test_fields_that_are_none_are_left_out():
    """None means the endpoint's own choice, so nothing is sent for it."""
    body = request_body("m", request(sample=3, seed=None, temperature=None, top_p=None))
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "n": 1}


def test_extra_kwargs_reach_the_wire():
    """Fields of the user's own stand beside the others under their own names."""
    assert request_body("m", request(extra_kwargs={"min_p": 0.1}))["min_p"] == 0.1


@pytest.mark.parametrize("field", ["model", "messages", "stream", "seed", "n", "temperature"])
def test_extra_kwargs_replace_no_field(field):
    """What has a setting of its own is said there: a second say could buy answers that are then thrown away."""
    with pytest.raises(SettingError, match=field):
        request(extra_kwargs={field: 1})


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_extra_kwargs_that_json_cannot_hold_are_a_setting_error(value):
    """What cannot be sent is the caller's mistake, and the message names the setting."""
    with pytest.raises(SettingError, match="extra_kwargs"):
        to_json(request_body("m", request(extra_kwargs={"x": value})))


def test_the_key_changes_with_all_that_makes_the_answer():
    """Model, messages, every sampling setting, seed and sample number each change the key; n does not."""
    requests = [
        request(),
        request(prompt="Ho"),
        request(sample=1),
        request(seed=1),
        request(seed=None),
        request(seed=None, sample=1),
        request(temperature=0.1),
        request(top_k=3),
        request(stop="x"),
        request(max_tokens=5),
        request(extra_kwargs={"a": 1}),
    ]
    keys = [request_key("m", each) for each in requests] + [request_key("o", request())]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)
    assert request_key("m", request(n=4)) == request_key("m", request())


def test_the_key_is_the_same_for_ever():
    """A store outlives the program that filled it, so the keys of today are the keys of tomorrow."""
    assert request_key("m", request()) == "93355533483d4fef4ad5f74dc4e21d8c"
    assert request_key("m", ChatRequest((("user", "Zoë"),), FULL), choice=2) == "acafd3ff8d2079d66e6a8e5bc023c8e0"


def test_the_key_is_what_it_is_said_to_be():
    """Whoever reads a store elsewhere can make its keys: two lines of JSON, hashed."""
    fields = {"model": "m", "seed": 9, "temperature": 0.5, "top_p": 0.9}
    settings = json.dumps({"request": fields, "sample": 2}, sort_keys=True, separators=(",", ":"))
    messages = '"messages":[{"role":"user","content":"Hi"}]'
    asked = ChatRequest((("user", "Hi"),), GenerationConfig(seed=7), sample=2)
    assert request_key("m", asked) == hashlib.sha256(f"{settings}\n{messages}".encode()).hexdigest()[:32]


THOUGHTS = {
    "<think>Hm.</think>\n\nYes.": ("Yes.", "Hm."),
    "\n<think>\nHm.\n</think>Yes.": ("Yes.", "Hm."),
    "Hm.\n</think>\nYes.": ("Yes.", "Hm."),
    "<think>Hm, and hm": ("", "Hm, and hm"),
    "Yes.": ("Yes.", None),
    "The tag <think> opens, </think> closes.": ("The tag <think> opens, </think> closes.", None),
    "": ("", None),
}


@pytest.mark.parametrize("content", THOUGHTS)
def test_thoughts_are_set_apart_from_the_text(content):
    """What a reasoning model thinks is no part of its answer, wherever its server leaves it."""
    (choice,) = read({"choices": [{"message": {"content": content}}]}).choices
    assert (choice.text, choice.reasoning) == THOUGHTS[content]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_in_a_field_of_their_own_are_read(field):
    """A server that sets them apart itself is taken at its word, and its count of their tokens is read."""
    usage = {"prompt_tokens": 1, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}}
    reply = read({"choices": [{"message": {"content": "Yes.", field: "Hm."}}], "usage": usage})
    assert reply.choices == [Choice("Yes.", None, "Hm.")] and reply.reasoning_tokens == 3 and reply.tokens == 6


def test_a_completed_text_is_an_answer():
    """An endpoint that completes texts answers with `text` in place of a message."""
    assert read({"choices": [{"text": " Yes.", "finish_reason": "stop"}]}).choices == [Choice(" Yes.", "stop")]


@given(st.integers(0, 5), st.integers(0, 5))
def test_sample_i_of_a_request_has_a_key_of_its_own(sample, choice):
    """Choice i of a request is known as the single answer that its sample number asks for."""
    assert request_key("m", request(sample, n=9), choice) == request_key("m", request(sample + choice))
    assert request_key("m", request(sample, n=9), choice) != request_key("m", request(sample, n=9), choice + 1)


@given(st.text(st.characters()))
def test_any_text_can_be_sent(text):
    """Every Python string, half a surrogate pair included, makes a body and a key."""
    assert json.loads(to_json(request_body("m", request(prompt=text))))["messages"][0]["content"] == text
    assert len(request_key("m", request(prompt=text))) == 32


def read(body):
    return parse_reply(200, json.dumps(body).encode())


def test_usage_and_finish_reason_of_the_wrong_type_are_none():
    """Nonsense beside a good answer costs the nonsense only."""
    for usage in (None, [], "x", {"prompt_tokens": "7"}, {"prompt_tokens": -1}, {"prompt_tokens": True}, {}):
        reply = read({"choices": [{"message": {"content": "a"}, "finish_reason": 3}], "usage": usage, "model": 5})
        assert reply == Reply([Choice("a", None)], None, None, None)


@pytest.mark.parametrize("content", [None, ""])
def test_an_empty_content_is_an_answer(content):
    """The model answered with nothing; whether that is of use is judged elsewhere."""
    assert read({"choices": [{"message": {"content": content}}]}).choices == [Choice(content, None)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"choices": []}, "no_choices"),
        ({}, "no_choices"),
        ({"choices": {"a": 1}}, "no_choices"),
        ({"error": {"message": "overloaded"}}, "no_choices"),
        ([], "bad_body"),
        (None, "bad_body"),
        ({"choices": [{"message": {"content": 5}}]}, "bad_body"),
        ({"choices": [{"message": {"content": [{"text": "a"}]}}]}, "bad_body"),
        ({"choices": [{"message": None}]}, "bad_body"),
        ({"choices": [None, 3]}, "bad_body"),
    ],
)
def test_bodies_without_an_answer_have_a_reason(body, reason):
    """A body that holds no readable choice is trouble of one of two kinds."""
    assert read(body).reason == reason


def test_a_bad_choice_does_not_take_its_neighbours_along():
    """The readable choices of a response are kept: they have been paid for."""
    body = {"choices": [{"message": {"content": 5}}, {"message": {"content": "a"}}]}
    assert read(body).choices == [Choice("a", None)]


def test_texts_always_encode():
    """Half a surrogate pair in an answer becomes the replacement character; whole pairs stay."""
    payload = b'{"choices": [{"message": {"content": "caf\\u00e9 \\ud83d\\ude00 \\ud83d"}}]}'
    assert parse_reply(200, payload).choices == [Choice("café 😀 \ufffd", None)]


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_raises(payload):
    """Whatever an endpoint sends comes to a reply or to trouble."""
    assert isinstance(parse_reply(200, payload), (Reply, Trouble))
    assert isinstance(error_words(payload), str)
    error_code(payload)


@given(
    st.fixed_dictionaries(
        {"choices": st.lists(st.fixed_dictionaries({"message": st.fixed_dictionaries({"content": JSON})}) | JSON)},
        optional={"usage": JSON, "model": JSON},
    )
)
def test_nearly_right_bodies_do_not_raise_either(body):
    """Nonsense in the right places comes to texts and counts of the right types."""
    reply = read(body)
    for choice in reply.choices if isinstance(reply, Reply) else []:
        for part in choice:
            assert part is None or part.encode() is not None


def test_deep_nesting_is_a_bad_body():
    """A body nested beyond the parser's depth is unreadable, not an exception."""
    assert parse_reply(200, b"[" * 100_000).reason == "bad_body"


def test_results_pickle():
    """Answers, failures and requests travel between processes."""
    values = [
        Answer("a", "stop", "m", 1, 2, 1, 0.5, 0),
        Failure("http_400", 400, "no", 1, 0.5, 0),
        ChatRequest((Message("user", "Hi"),), FULL),
    ]
    assert pickle.loads(pickle.dumps(values)) == values
