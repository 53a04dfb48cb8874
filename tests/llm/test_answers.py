"""What comes of requests: answers, failures, retries and refusals, against a real server."""

import gc
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from nemocc_dask.errors import EndpointRefusedError, EndpointUnreachableError, SettingError
from nemocc_dask.llm import Answer, Answers, Failure, answer_all, check_endpoint, runtime


def one(request, endpoint):
    """The results of one request and the number of HTTP requests it took."""
    answers = answer_all([request], endpoint)
    return answers.results[0], answers.http_requests


def test_an_answer_carries_its_ledger(server, endpoint, ask):
    """Text, finish reason, model, usage, attempts, latency and sample number come back."""
    server.script = lambda call: server.chat("Hello", delay_s=0.05)
    (answer,), sent = one(ask(sample=4), endpoint)
    assert answer == Answer("Hello", "stop", "m-1", 7, 11, 1, answer.latency_s, 4)
    assert 0.05 <= answer.latency_s < 1 and sent == 1
    assert server.calls[0].path == "/v1/chat/completions" and server.calls[0].body["seed"] == 4


def test_zero_requests_start_nothing(endpoint):
    """An empty partition costs no thread and no connection."""
    assert answer_all([], endpoint) == Answers([], 0, [])
    assert runtime._runtime is None


def test_results_keep_the_order_of_the_requests(server, endpoint, ask):
    """Answers that come in any order are handed back in the order asked."""
    delays = random.Random(0)
    server.script = lambda call: server.chat(call.prompt, delay_s=delays.uniform(0, 0.03))
    prompts = [str(i) for i in range(200)]
    seen = []
    answers = answer_all([ask(prompt) for prompt in prompts], endpoint, on_result=seen.append)
    assert [answer.text for (answer,) in answers.results] == prompts
    assert sorted(map(id, seen)) == sorted(map(id, answers.results))
    assert [answer.text for (answer,) in seen] != prompts
    assert answers.http_requests == 200


def test_one_bad_row_does_not_cost_the_others(server, endpoint, ask):
    """One row in ten answered 400 is one failure in ten, each asked once, with the endpoint's words."""
    server.script = lambda call: (
        server.error(400, f"row {call.prompt}") if int(call.prompt) % 10 == 3 else server.chat("a")
    )
    answers = answer_all([ask(str(i)) for i in range(100)], endpoint)
    failures = [result for (result,) in answers.results if isinstance(result, Failure)]
    assert [failure.detail.partition(" [")[0] for failure in failures] == [f"row {i}" for i in range(3, 100, 10)]
    assert {(f.reason, f.status, f.attempts) for f in failures} == {("http_400", 400, 1)}
    assert answers.http_requests == len(server.calls) == 100


@pytest.mark.parametrize("message", ["failed to generate", "got 1429 tokens", "rate limit, timeout, 503"])
def test_the_wording_of_an_error_never_causes_a_retry(server, endpoint, ask, message):
    """A 400 is final whatever its message says."""
    server.script = lambda call: server.error(400, message)
    (failure,), sent = one(ask(), endpoint)
    assert (failure.reason, failure.detail, sent) == ("http_400", f"{message} [a prompt of 2 characters]", 1)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_statuses_that_pass_are_tried_again(server, endpoint, ask, status):
    """After two refusals that pass, the answer comes, and counts three attempts."""
    server.script = lambda call: server.error(status) if call.number < 2 else server.chat("a")
    (answer,), sent = one(ask(), endpoint)
    assert (answer.text, answer.attempts, sent) == ("a", 3, 3)


@pytest.mark.parametrize("status", [400, 405, 413, 422, 501])
def test_other_statuses_are_final(server, endpoint, ask, status):
    """What would be answered alike the next time is not sent again."""
    server.script = lambda call: server.reply(status)
    (failure,), sent = one(ask(), endpoint)
    assert failure.attempts == sent == 1
    assert failure.status == status


HOWS = {
    "cut before the headers": ({"cut": "before"}, "connection", None),
    "cut within the body": ({"body": b'{"choices": [' * 9, "cut": "within"}, "connection", None),
    "no HTTP at all": ({"raw": b"SSH-2.0-OpenSSH\r\n\r\n"}, "bad_body", None),
    "HTML": ({"body": b"<html>busy</html>"}, "bad_body", 200),
    "half a JSON": ({"body": b'{"choices": [{"mess'}, "bad_body", 200),
    "content that is a number": ({"body": {"choices": [{"message": {"content": 5}}]}}, "bad_body", 200),
    "too slow": ({"delay_s": 0.5}, "timeout", None),
}


@pytest.mark.parametrize("how", HOWS)
def test_damage_is_repaired_by_a_retry(server, endpoint, ask, how):
    """A cut connection, a time-out and a damaged body are tried again, and the answer then counts."""
    server.script = lambda call: server.reply(**HOWS[how][0]) if call.number < 2 else server.chat("a")
    (answer,), sent = one(ask(), endpoint.replace(timeout=0.2))
    assert (answer.text, answer.attempts, sent) == ("a", 3, 3)


@pytest.mark.parametrize("how", HOWS)
def test_lasting_damage_is_a_failure_after_max_retries(server, endpoint, ask, how):
    """max_retries=3 means four attempts, each sent once: nothing beneath retries on its own."""
    reply, reason, status = HOWS[how]
    server.script = lambda call: server.reply(**reply)
    (failure,), sent = one(ask(), endpoint.replace(timeout=0.2))
    assert (failure.reason, failure.status, failure.attempts) == (reason, status, 4)
    assert sent == len(server.calls) == 4


def test_a_kept_connection_that_is_cut_is_not_used_twice_unasked(server, endpoint, ask):
    """A POST over a connection used before is sent once an attempt: aiohttp does not repeat it by itself."""
    server.script = lambda call: server.reply(cut="before") if call.number else server.chat("a")
    answer_all([ask()], endpoint)
    (failure,), sent = one(ask(), endpoint.replace(max_retries=0))
    assert (failure.reason, sent, len(server.calls)) == ("connection", 1, 2)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"])
def test_nobody_there_is_told_before_the_first_request(endpoint, ask, address):
    """Refused connections and unknown hosts end the call in one line, and no row is tried."""
    with pytest.raises(EndpointUnreachableError, match=address):
        answer_all([ask()], endpoint.replace(base_url=address))


def test_nobody_there_any_more_is_a_failure_that_went_over_no_wire(server, endpoint, ask):
    """Where the server left after the first look, its refused connections are attempts, but no HTTP requests."""
    check_endpoint(endpoint)
    server.close()
    (failure,), sent = one(ask(), endpoint.replace(max_retries=1))
    assert (failure.reason, failure.status, failure.attempts, sent) == ("connection", None, 2, 0)


def test_no_choices_are_asked_for_once_more(server, endpoint, ask):
    """A well-formed response without choices is tried again once, then a failure."""
    server.script = lambda call: server.chat()
    (failure,), sent = one(ask(), endpoint)
    assert (failure.reason, failure.status, failure.attempts, sent) == ("no_choices", 200, 2, 2)


@pytest.mark.parametrize("text", [None, ""])
def test_an_empty_answer_is_an_answer(server, endpoint, ask, text):
    """Null and empty content come back as they are, after one request."""
    server.script = lambda call: server.chat(text)
    (answer,), sent = one(ask(), endpoint)
    assert isinstance(answer, Answer) and answer.text == text and sent == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(server, endpoint, ask, form):
    """No attempt comes earlier than the endpoint asked, in seconds or as a date."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)  # whole seconds: 1 to 2 s
    header = {"seconds": "1.0", "date": date}[form]
    server.script = lambda call: server.chat("a") if call.number else server.error(429, headers={"Retry-After": header})
    (answer,), _ = one(ask(), endpoint)
    assert answer.attempts == 2 and server.calls[1].at - server.calls[0].at >= 0.9


def test_a_retry_after_beyond_the_time_limit_gives_up_at_once(server, endpoint, ask):
    """There is no use in waiting for a moment after which nothing would be sent."""
    server.script = lambda call: server.error(429, headers={"Retry-After": "3600"})
    start = time.monotonic()
    (failure,), sent = one(ask(), endpoint)
    assert (failure.reason, failure.attempts, sent) == ("http_429", 1, 1)
    assert time.monotonic() - start < 0.5


def test_retries_end_by_time(server, endpoint, ask):
    """With retries to spare, none is sent later than retry_for after the first attempt."""
    server.script = lambda call: server.error(503)
    limited = endpoint.replace(max_retries=1000, retry_for=0.3, max_delay=0.04)
    (failure,), sent = one(ask(), limited)
    assert 3 < failure.attempts == sent < 200
    assert server.calls[-1].at - server.calls[0].at <= 0.35


@pytest.mark.parametrize("status", [401, 403, 404, 307])
def test_a_refusal_stops_the_whole_call(server, endpoint, ask, status):
    """A status that every request would meet raises one clear line, and what is pending is not sent."""
    server.script = lambda call: (
        server.error(status, "the words", headers={"Location": "https://elsewhere/v1"} if status == 307 else {})
        if call.number == 20
        else server.chat("a", delay_s=0.02)
    )
    with pytest.raises(EndpointRefusedError) as error:
        answer_all([ask()] * 1000, endpoint)
    said = str(error.value)
    assert "\n" not in said and endpoint.base_url in said and "'m'" in said and str(status) in said
    assert ("elsewhere" if status == 307 else "the words") in said
    time.sleep(0.1)  # what was on its way has arrived
    calls = len(server.calls)
    time.sleep(0.1)
    assert len(server.calls) == calls < 60


@pytest.mark.parametrize("status", [200, 400, 422, 500, 503])
def test_an_unknown_model_stops_the_call_whatever_the_status(server, endpoint, ask, status):
    """The code model_not_found is read from the body's field of that name."""
    server.script = lambda call: server.error(status, "no such model", "model_not_found")
    with pytest.raises(EndpointRefusedError, match="no such model"):
        answer_all([ask()] * 3, endpoint)


def test_several_samples_come_from_one_request(server, endpoint, ask):
    """n choices are one HTTP request, its usage on the first, samples numbered on from the request's."""
    server.script = lambda call: server.chat(*"abc"[: call.body["n"]])
    answers, sent = one(ask(n=3, sample=10), endpoint)
    assert [(a.text, a.sample, a.prompt_tokens, a.completion_tokens) for a in answers] == [
        ("a", 10, 7, 11),
        ("b", 11, 0, 0),
        ("c", 12, 0, 0),
    ]
    assert sent == 1


def test_an_endpoint_that_ignores_n_still_gives_n_answers(server, endpoint, ask):
    """The missing answers are asked for again, each with the seed of its own number."""
    server.script = lambda call: server.chat(f"seed {call.body['seed']}")
    answers, sent = one(ask(n=4, seed=5), endpoint)
    assert [(a.text, a.sample) for a in answers] == [(f"seed {5 + i}", i) for i in range(4)]
    assert [(c.body["n"], c.body["seed"]) for c in server.calls] == [(4, 5), (3, 6), (2, 7), (1, 8)]
    assert sum(a.prompt_tokens for a in answers) == 4 * 7 and sent == 4
    assert [a.attempts for a in answers] == [1, 2, 3, 4]


def test_answers_beyond_n_are_dropped(server, endpoint, ask):
    """An endpoint that gives more than asked for does not change the number of rows."""
    server.script = lambda call: server.chat("a", "b", "c")
    answers, _ = one(ask(n=2), endpoint)
    assert [a.text for a in answers] == ["a", "b"]


def test_a_round_that_fails_fails_what_is_missing(server, endpoint, ask):
    """Answers that came stay, and each missing one is a failure with a number of its own."""
    server.script = lambda call: server.error(400) if call.number else server.chat("a", "b")
    results, sent = one(ask(n=4), endpoint)
    assert [(type(r).__name__, r.sample) for r in results] == [
        ("Answer", 0),
        ("Answer", 1),
        ("Failure", 2),
        ("Failure", 3),
    ]
    assert sent == 3  # two at once, the others at once, one of them by itself


def test_unknown_usage_is_unknown_on_every_choice(server, endpoint, ask):
    """Where the endpoint says nothing of usage, no choice claims zero."""
    server.script = lambda call: server.chat("a", "b", usage=None, model=None)
    answers, _ = one(ask(n=2), endpoint)
    assert [(a.prompt_tokens, a.completion_tokens, a.model) for a in answers] == [(None, None, "m")] * 2


def test_random_trouble_loses_and_doubles_nothing(server, endpoint, ask):
    """Under all kinds of trouble each row is answered or failed, and every request sent is counted."""
    rng = random.Random(3)
    kinds = [server.reply(**how) for how, _, _ in HOWS.values()] + [server.error(429), server.error(400)]
    server.script = lambda call: rng.choice(kinds) if rng.random() < 0.3 else server.chat(call.prompt)
    answers = answer_all([ask(str(i)) for i in range(300)], endpoint.replace(timeout=0.3))
    assert [len(results) for results in answers.results] == [1] * 300
    assert all(r.text == str(i) for i, (r,) in enumerate(answers.results) if isinstance(r, Answer))
    assert answers.http_requests == len(server.calls)
    per_row = Counter(server.prompts)
    assert [r.attempts for (r,) in answers.results] == [per_row[str(i)] for i in range(300)]


def test_detail_is_short_and_on_one_line(server, endpoint, ask):
    """A page of HTML in place of an error is cut to 500 characters of one line."""
    server.script = lambda call: server.reply(418, b"<html>\n\n" + b"x y\n" * 1000 + b"\xff")
    (failure,), _ = one(ask(), endpoint)
    assert len(failure.detail) == 500 and failure.detail.startswith("<html> x y x y")


def test_big_prompts_go_out_without_a_warning(server, endpoint, ask):
    """A prompt of two million characters is sent like any other."""
    (answer,), _ = one(ask("x" * 2_000_000), endpoint)
    assert len(answer.text) == 2_000_003
    gc.collect()


def test_a_setting_that_no_json_can_hold_stops_before_the_wire(server, endpoint, ask):
    """The mistake is the caller's, so it is raised, not written into rows."""
    with pytest.raises(SettingError, match="extra_kwargs"):
        answer_all([ask(extra_kwargs={"x": object()})], endpoint)
    assert server.calls == []


@pytest.mark.parametrize("status", [400, 422])
def test_settings_that_no_request_can_have_stop_the_job(server, endpoint, ask, status):
    """Where the first fifty are all refused as invalid, the rows are not to blame, and no more are sent for nothing."""
    server.script = lambda call: server.error(status, "unexpected field top_k")
    with pytest.raises(EndpointRefusedError, match=r"each of the first 50 requests.*unexpected field top_k"):
        answer_all([ask(str(i)) for i in range(300)], endpoint)
    assert 50 <= len(server.calls) <= 50 + 8


def test_rows_that_are_refused_after_an_answer_stop_nothing(server, endpoint, ask):
    """Once anything was answered, a refused row is its own affair, however many there are."""
    server.script = lambda call: server.chat("a") if call.number == 0 else server.error(400)
    answers = answer_all([ask(str(i)) for i in range(100)], endpoint)
    assert Counter(type(one).__name__ for (one,) in answers.results) == {"Answer": 1, "Failure": 99}
