"""The counters of a process: they agree with what the endpoint saw, and cost nothing that matters."""

import os
import threading
import time
from concurrent.futures import CancelledError

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from nemocc_dask.llm import Memory, Stop, Store, answer_all, asked_of_model, close_runtime
from nemocc_dask.llm.metrics import Asked


def samples(model="m"):
    """(name, label besides the model) → value, of one model, as a scrape tells."""
    families = text_string_to_metric_families(generate_latest(REGISTRY).decode())
    return {
        (sample.name, "".join(value for name, value in sample.labels.items() if name != "model")): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("model") == model
    }


def test_attempts_answers_failures_and_tokens(server, endpoint, ask):
    """Attempts are told apart by how they ended, retries and rows counted, tokens summed as billed."""
    endpoint = endpoint.replace(model="of-this-test")
    script = {"good": server.chat("yes"), "bad": server.error(400), "busy": server.error(429), "cut": server.reply()}
    server.models = server.reply(body={"data": []})

    def reply(call):
        first = [each.prompt for each in server.calls].count(call.prompt) == 1
        return script[call.prompt] if call.prompt in ("good", "bad") or first else server.chat("at last")

    server.script = reply
    answer_all([ask(prompt) for prompt in script], endpoint)
    told = samples("of-this-test")
    assert told["nemocc_requests_total", "http_200"] == 4  # good, cut's empty body, and both once more
    assert told["nemocc_requests_total", "http_400"] == told["nemocc_requests_total", "http_429"] == 1
    assert told["nemocc_retries_total", ""] == 2
    assert told["nemocc_answers_total", ""] == 3 and told["nemocc_failures_total", "http_400"] == 1
    assert (told["nemocc_prompt_tokens_total", ""], told["nemocc_completion_tokens_total", ""]) == (21, 33)
    assert told["nemocc_latency_seconds_count", ""] == told["nemocc_latency_seconds_bucket", "+Inf"] == 6
    assert told["nemocc_requests_in_flight", ""] == 0 and 1 <= told["nemocc_requests_limit", ""] <= 8


def test_what_reached_nobody_and_what_was_cut(server, endpoint, ask):
    """A connection that was cut went over the wire, one that was refused did not."""
    server.script = lambda call: server.reply(cut="before") if len(server.calls) == 1 else server.chat("now")
    answer_all([ask()], endpoint.replace(model="cut"))
    assert samples("cut")["nemocc_requests_total", "connection"] == 1
    gone = endpoint.replace(model="gone", max_retries=0, down_after=60)
    answer_all([ask("before")], gone)
    server.close()
    answer_all([ask("after")], gone)
    assert samples("gone")["nemocc_requests_total", "unreached"] == 1
    assert samples("gone")["nemocc_failures_total", "connection"] == 1


def test_reused_answers_are_not_paid_for(server, endpoint, ask, tmp_path):
    """What the store held is counted by itself, and its tokens are not counted again."""
    endpoint = endpoint.replace(model="stored")
    for name in ("first", "second"):
        with Store(str(tmp_path)).attempt(name) as attempt:
            answer_all([ask()], endpoint, memory=Memory(attempt=attempt, label="l", recipe="r"))
    told = samples("stored")
    assert (told["nemocc_answers_total", ""], told["nemocc_reused_total", ""]) == (1, 1)
    assert told["nemocc_prompt_tokens_total", ""] == 7


def test_requests_under_way_are_seen_while_they_are(server, endpoint, ask):
    """A scrape in the middle sees what is on the wire; after the loop has ended, and on the next one, all adds up."""
    endpoint, seen = endpoint.replace(model="slow"), []
    server.script = lambda call: server.chat("slow", delay_s=0.2)

    def looks():
        seen.append(samples("slow").get(("nemocc_requests_in_flight", ""), 0))
        return False

    answer_all([ask(str(number)) for number in range(8)], endpoint, should_stop=looks)
    assert max(seen) <= 8
    while_on_wire = threading.Thread(target=answer_all, args=([ask("one more")], endpoint))
    while_on_wire.start()
    while samples("slow")["nemocc_requests_in_flight", ""] < 1 and while_on_wire.is_alive():
        time.sleep(0.005)
    assert while_on_wire.is_alive()
    while_on_wire.join()
    close_runtime()
    assert ("nemocc_requests_in_flight", "") not in samples("slow")
    answer_all([ask("on another loop")], endpoint)
    assert samples("slow")["nemocc_answers_total", ""] == 10


def test_what_is_given_up_is_counted(server, endpoint, ask):
    """A request that is given up on the wire is counted as cancelled."""
    server.script = lambda call: server.chat("late", delay_s=30)
    with pytest.raises(CancelledError):
        answer_all([ask()], endpoint.replace(model="given-up"), should_stop=lambda: Stop.NOW if server.calls else False)
    assert samples("given-up")["nemocc_requests_total", "cancelled"] == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_from_nothing():
    """What the parent asked is the parent's; a child that was forked while a thread counted is not stuck."""
    parent = asked_of_model("forked")
    parent.retried()
    stop = threading.Event()

    def count():
        while not stop.is_set():
            asked_of_model("forked").retried()

    thread = threading.Thread(target=count)
    thread.start()
    codes = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            asked_of_model("forked").retried()
            os._exit(asked_of_model("forked").retries)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stop.set()
    thread.join()
    assert codes == [1] * 20


def test_counts_from_many_threads():
    """No count is lost where several threads count at once."""
    asked = Asked()

    def count():
        for _ in range(5_000):
            asked.sent("http_200", 0.01)
            asked.retried()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked.requests["http_200"] == asked.retries == asked.waited()[-1][1] == 20_000
