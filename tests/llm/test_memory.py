"""Answers that were paid for are not asked for again: not by another call, another thread, or another row."""

import threading
import time
from collections import Counter
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from nemocc_dask.errors import EndpointRefusedError
from nemocc_dask.llm import Answer, Failure, Memory, Stop, Store, answer_all, batch, close_runtime, request_key
from nemocc_dask.llm.claims import Claims


@pytest.fixture
def remember(tmp_path):
    """Makes memories of one store, each with an attempt of its own; they are closed after the test."""
    store, made = Store(str(tmp_path / "responses")), []

    def make(**settings):
        made.append(store.attempt(f"attempt-{len(made)}"))
        return Memory(attempt=made[-1], label="t", recipe="r", **settings)

    yield make
    close_runtime()
    for attempt in made:
        attempt.close()


def texts(answers):
    return [[one.text for one in results] for results in answers.results]


def test_a_second_call_sends_nothing_and_gets_the_same(server, endpoint, ask, remember):
    """What one call was answered another one finds, whole but for the note that it is reused."""
    requests = [ask(f"row {i}") for i in range(50)]
    first = answer_all(requests, endpoint, memory=remember())
    server.calls.clear()
    again = answer_all(requests, endpoint, memory=remember())
    assert server.calls == [] and again.http_requests == 0
    assert texts(again) == texts(first) and again.keys == first.keys
    assert all(one.reused for (one,) in again.results) and not any(one.reused for (one,) in first.results)
    assert [one.latency_s for (one,) in again.results] == [one.latency_s for (one,) in first.results]


def test_only_what_is_new_is_asked(server, endpoint, ask, remember):
    """Rows in another order, between rows that are new, are found."""
    answer_all([ask(f"row {i}") for i in range(20)], endpoint, memory=remember())
    server.calls.clear()
    answers = answer_all([ask(f"row {i}") for i in range(29, 4, -1)], endpoint, memory=remember())
    assert sorted(server.prompts) == sorted(f"row {i}" for i in range(20, 30))
    assert texts(answers) == [[f"to row {i}"] for i in range(29, 4, -1)]


def test_equal_rows_are_asked_once(server, endpoint, ask, remember):
    """Rows that ask the same share one answer, paid for once; the tokens of the others are known to be reused."""
    server.script = lambda call: server.chat(f"to {call.prompt}", delay_s=0.02)
    requests = [ask(f"row {i % 7}") for i in range(500)]
    answers = answer_all(requests, endpoint, memory=remember())
    assert len(server.calls) == 7 and texts(answers) == [[f"to row {i % 7}"] for i in range(500)]
    assert Counter(one.reused for (one,) in answers.results) == {False: 7, True: 493}


def test_equal_rows_of_several_threads_are_asked_once(server, endpoint, ask, remember):
    """Partitions that run side by side in a process do not pay twice either, in whatever order they come."""
    server.script = lambda call: server.chat(f"to {call.prompt}", delay_s=0.005)
    orders = [[(i * step) % 101 for i in range(101)] for step in (1, 7, 50, 100)]

    def run(order):
        return texts(answer_all([ask(f"row {i}") for i in order], endpoint, memory=remember()))

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(run, orders))
    assert found == [[[f"to row {i}"] for i in order] for order in orders]
    assert Counter(server.prompts) == {f"row {i}": 1 for i in range(101)}


def test_equal_rows_that_fail_all_fail(server, endpoint, ask, remember):
    """No answer is made up for a row because another one failed: each asks for itself, and says why."""
    server.script = lambda call: server.error(400, "never")
    answers = answer_all([ask("same")] * 5, endpoint, memory=remember())
    assert [one.reason for (one,) in answers.results] == ["http_400"] * 5 and len(server.calls) == 5


def test_a_failure_is_not_remembered(server, endpoint, ask, remember):
    """What failed is asked again by the next call; what was answered is not."""
    server.script = lambda call: server.error(400) if call.prompt == "row 3" else server.chat("a")
    answer_all([ask(f"row {i}") for i in range(6)], endpoint, memory=remember())
    server.calls.clear()
    server.script = lambda call: server.chat("b")
    answers = answer_all([ask(f"row {i}") for i in range(6)], endpoint, memory=remember())
    assert server.prompts == ["row 3"] and texts(answers) == [["a"], ["a"], ["a"], ["b"], ["a"], ["a"]]


def test_more_samples_ask_for_the_missing_ones(server, endpoint, ask, remember):
    """Samples found in the store stay where they are; those that lack are asked for in one request, by their seeds."""
    server.script = lambda call: server.chat("a", "b")
    answer_all([ask("row", n=2)], endpoint, memory=remember())
    server.calls.clear()
    server.script = lambda call: server.chat(*(f"seed {call.body['seed'] + i}" for i in range(call.body["n"])))
    answers = answer_all([ask("row", n=4, sample=0)], endpoint, memory=remember())
    assert [(call.body["n"], call.body["seed"]) for call in server.calls] == [(2, 2)]
    assert [(one.sample, one.reused) for one in answers.results[0]] == [(0, True), (1, True), (2, False), (3, False)]


@pytest.mark.parametrize(("flaw", "reply"), [
    ("empty", {"texts": [" "]}),
    ("truncated", {"texts": ["half"], "finish_reason": "length"}),
])  # fmt: skip
def test_a_useless_answer_is_kept_unless_it_is_asked_for_again(server, endpoint, ask, remember, flaw, reply):
    """It was paid for, so it is not silently paid for again; when the user says so, it is, once."""
    choices = [{"message": {"content": reply["texts"][0]}, "finish_reason": reply.get("finish_reason", "stop")}]
    server.script = lambda call: server.reply(body={"choices": choices})
    answer_all([ask()], endpoint, memory=remember())
    ((kept,),) = answer_all([ask()], endpoint, memory=remember()).results
    assert kept.flaw == flaw and kept.reused and len(server.calls) == 1
    server.script = lambda call: server.chat("whole")
    ((again,),) = answer_all([ask()], endpoint, memory=remember(ask_again=frozenset({flaw}))).results
    assert again.text == "whole" and len(server.calls) == 2
    ((found,),) = answer_all([ask()], endpoint, memory=remember()).results
    assert found.text == "whole" and found.reused and len(server.calls) == 2


def test_without_a_memory_equal_rows_are_asked_each(server, endpoint, ask):
    """Who keeps nothing is promised nothing."""
    answer_all([ask("same")] * 3, endpoint)
    assert len(server.calls) == 3


# --- a batch that ends early ------------------------------------------------------------------------------------------


def stored(remember, requests):
    """Texts of the answers to these requests that the store holds."""
    keys = [request_key("m", request) for request in requests]
    return {answer.text for answer in remember().attempt.find(keys).values()}


@pytest.mark.parametrize("how", [Stop.DRAIN, Stop.FINISH, True])
def test_a_stop_sends_no_more_and_stores_what_is_in_flight(server, endpoint, ask, remember, how):
    """Requests on the wire when the batch is stopped are awaited and stored; none is sent after."""
    server.script = lambda call: server.chat(f"to {call.prompt}", delay_s=0.6)
    requests = [ask(f"row {i}") for i in range(40)]
    with pytest.raises(CancelledError):
        answer_all(
            requests, endpoint, memory=remember(), should_stop=lambda: how if len(server.calls) >= 8 else Stop.GO
        )
    assert len(server.calls) == 8  # the limit
    assert stored(remember, requests) == {f"to {prompt}" for prompt in server.prompts}


def test_a_hurried_stop_waits_for_nothing(server, endpoint, ask, remember):
    """NOW gives up what is on the wire, and the server sees the connections close."""
    server.script = lambda call: server.chat("late", delay_s=30)
    with pytest.raises(CancelledError):
        answer_all([ask("a")], endpoint, memory=remember(), should_stop=lambda: Stop.NOW if server.calls else Stop.GO)


def test_a_refusal_does_not_lose_what_others_are_answered(server, endpoint, ask, remember):
    """Where one request is refused for good the batch ends, after the answers under way are in the store."""

    def script(call):
        if call.prompt == "row 7":
            return server.error(401, "no", delay_s=0.1)
        return server.chat(f"to {call.prompt}", delay_s=0.4)

    server.script = script
    requests = [ask(f"row {i}") for i in range(8)]
    with pytest.raises(EndpointRefusedError):
        answer_all(requests, endpoint, memory=remember())
    assert stored(remember, requests) == {f"to row {i}" for i in range(7)}


def test_what_a_stopped_batch_had_claimed_is_asked_by_those_who_wait(server, endpoint, ask, remember):
    """A batch that waits for another's answers asks for them itself when the other gives up."""
    hold = threading.Event()
    server.script = lambda call: server.chat("a", delay_s=0.0 if hold.is_set() else 30)
    requests = [ask(f"row {i}") for i in range(4)]
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(
            answer_all,
            requests,
            endpoint,
            memory=remember(),
            should_stop=lambda: Stop.NOW if hold.is_set() else Stop.GO,
        )
        while len(server.calls) < 4:
            time.sleep(0.01)
        second = threads.submit(answer_all, requests, endpoint, memory=remember())
        hold.set()
        assert texts(second.result(20)) == [["a"]] * 4
        with pytest.raises(CancelledError):
            first.result(20)


def test_an_error_of_on_result_comes_after_the_answer_is_stored(server, endpoint, ask, remember):
    """Whatever goes wrong behind the engine, what was paid for is on disk by then."""

    def on_result(results):
        raise ValueError(results[0].text)

    with pytest.raises(ValueError, match="to row"):
        answer_all([ask("row")], endpoint, memory=remember(), on_result=on_result)
    assert stored(remember, [ask("row")]) == {"to row"}


def test_memory_serves_rows_of_any_number(server, endpoint, ask, remember):
    """Far more rows than are looked up at once come back in order, half of them from the store."""
    requests = [ask(str(i)) for i in range(700)]
    answer_all(requests[::2], endpoint, memory=remember())
    server.calls.clear()
    answers = answer_all(requests, endpoint, memory=remember())
    assert texts(answers) == [[f"to {i}"] for i in range(700)] and len(server.calls) == 350


def test_claims_tell_everybody_who_waits():
    """A key is one taker's until it is settled; then all waiters are told, once, and it is free again."""
    claims, told = Claims(), []
    answer = Answer("a", "stop", "m", 1, 1, 1, 0.1, 0)
    assert claims.take("k", told.append)
    assert not claims.take("k", told.append) and not claims.take("k", told.append)
    claims.settle("k", answer)
    assert told == [answer, answer]
    claims.settle("k", answer)
    assert claims.take("k", told.append) and len(told) == 2
    claims.give_up(["k", "unknown"])
    assert claims.take("k", told.append)


def test_failures_have_their_own_attempts(server, endpoint, ask, remember):
    """Rows that retry keep count by themselves, with a memory as without."""
    server.script = lambda call: server.error(503)
    ((failure,),) = answer_all([ask()], endpoint, memory=remember()).results
    assert isinstance(failure, Failure) and failure.attempts == 4


def test_finish_waits_for_answers_that_take_long(server, endpoint, ask, remember, monkeypatch):
    """What is paid for is awaited to its end where time does not press, however long that takes."""
    monkeypatch.setattr(batch, "DRAIN_S", 0.2)
    server.script = lambda call: server.chat("late", delay_s=1.0)
    with pytest.raises(CancelledError):
        answer_all([ask()], endpoint, memory=remember(), should_stop=lambda: Stop.FINISH if server.calls else Stop.GO)
    assert stored(remember, [ask()]) == {"late"}


def test_nothing_is_sent_after_it_was_said_to_stop(server, endpoint, ask, remember):
    """A cap that an answer reaches costs no request beyond those in flight, whichever thread's they are."""
    server.script = lambda call: server.chat("a", delay_s=0.05)
    come = []

    def run(number):
        requests = [ask(f"{number}: {i}") for i in range(99)]
        said = {"on_result": come.append, "before_sending": lambda: Stop.FINISH if come else Stop.GO}
        with pytest.raises(CancelledError):
            answer_all(requests, endpoint, memory=remember(), **said)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(run, range(3)))
    assert len(server.calls) <= 8 + 1  # and one whose turn came while the first answer was read
