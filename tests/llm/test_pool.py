"""Several addresses through `answer_all`: shared load, and servers that die and come back."""

import socket
import threading
import time
import urllib.request
from contextlib import ExitStack

import pytest

from nemocc_dask.errors import EndpointUnreachableError
from nemocc_dask.llm import Answer, answer_all
from nemocc_dask.llm.backend import TELL_EVERY_S
from nemocc_dask.settings import Endpoint
from nemocc_dask.simulate import Knobs, Simulator


@pytest.fixture
def start():
    """Starts a simulated server; all stop with the test."""
    with ExitStack() as stack:
        yield lambda **knobs: stack.enter_context(Simulator(Knobs(**{"latency_s": 0.05} | knobs)))


@pytest.fixture
def nobody():
    """An address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


def reach(*servers, **more):
    urls = tuple(server if isinstance(server, str) else server.base_url for server in servers)
    settings = {"max_concurrent_requests": 24, "base_delay": 0.05, "max_delay": 0.1, "max_retries": 4} | more
    return Endpoint(base_url=urls, model="simulated", **settings)


def revive(server):
    request = urllib.request.Request(server.base_url.removesuffix("v1") + "revive", method="POST")
    urllib.request.urlopen(request).close()


def all_answered(answers):
    return all(isinstance(answer, Answer) for (answer,) in answers.results)


@pytest.mark.parametrize(("weights", "shares"), [((), (1 / 3, 1 / 3, 1 / 3)), ((1, 1, 2), (1 / 4, 1 / 4, 1 / 2))])
def test_load_is_shared_by_weight(start, ask, weights, shares):
    """Each server gets its part of the requests, evenly where nothing else was said."""
    # So slow that what a busy machine adds, now to one and now to another, is little beside it.
    servers = [start(latency_s=0.2) for _ in range(3)]
    answers = answer_all([ask(str(i)) for i in range(600)], reach(*servers, weights=weights))
    got = [server.stats()["requests"] / 600 for server in servers]
    print(got)
    assert all_answered(answers) and answers.http_requests == 600
    assert got == pytest.approx(shares, abs=0.07)


def test_an_address_where_nobody_is_costs_no_row(start, ask, nobody):
    """Two of three answer everything, and the third is seldom tried."""
    servers = [start(), start()]
    answers = answer_all([ask(str(i)) for i in range(900)], reach(nobody, *servers))
    attempts = sum(answer.attempts for (answer,) in answers.results)
    print(f"{attempts - 900} attempts in vain")
    assert all_answered(answers) and answers.http_requests == 900
    assert attempts < 900 + 40


def test_a_server_that_comes_and_goes_is_told_of_now_and_then(start, ask, caplog):
    """Connections that are cut again and again, and a word about it once a minute."""
    server, began = start(latency_s=0.01, cut_rate=0.7), time.monotonic()
    answers = answer_all([ask(str(i)) for i in range(150)], reach(server, max_retries=30, base_delay=0.01))
    minutes = 1 + int((time.monotonic() - began) / TELL_EVERY_S)
    said = [record.getMessage().partition("/v1 ")[2] for record in caplog.records]
    said = [words for words in said if "answer" in words]
    print(answers.http_requests, said)
    assert all_answered(answers) and 1 <= len(said) / 2 <= minutes
    assert set(said) == {"does not answer. It is tried now and then.", "answers again."}


def test_a_server_that_dies_and_comes_back_costs_no_row(start, ask):
    """It dies after 100 requests and is back a second later: all rows are answered, by it as well in the end."""
    dying, servers = start(fails_after=100), [start(), start()]
    timer = threading.Timer(1.0, lambda: (dying.reset(), revive(dying)))
    timer.start()
    answers = answer_all([ask(str(i)) for i in range(1500)], reach(dying, *servers))
    timer.join()
    print(f"{dying.stats()['answered']} answered after it came back")
    assert all_answered(answers)
    assert dying.stats()["answered"] > 60


def test_rows_wait_for_the_only_server(start, ask):
    """Nobody is there for a second and a half: no row fails, though each has but two attempts."""
    only = start(fails_after=60)
    timer = threading.Timer(1.5, lambda: revive(only))
    timer.start()
    answers = answer_all([ask(str(i)) for i in range(300)], reach(only, max_retries=2, down_after=20))
    timer.join()
    assert all_answered(answers)


def test_a_job_stops_where_nobody_answers_any_more_and_the_next_one_starts_at_once(start, ask):
    """Both die: one sentence after two seconds; once they are back the same call is answered, in the same process."""
    servers = [start(fails_after=50), start(fails_after=50)]
    requests, endpoint = [ask(str(i)) for i in range(600)], reach(*servers, max_retries=50, down_after=2)
    began = time.monotonic()
    with pytest.raises(EndpointUnreachableError, match=r"for \d s: \d+ attempts failed"):
        answer_all(requests, endpoint)
    assert 2 <= time.monotonic() - began < 8
    for server in servers:
        revive(server)
    began = time.monotonic()
    assert all_answered(answer_all(requests, endpoint))
    assert time.monotonic() - began < 5
