"""Many threads, one limit; stopping; forking."""

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter

import pytest

from nemocc_dask.errors import CallerError, EndpointRefusedError
from nemocc_dask.llm import answer_all, close_runtime, runtime


def in_threads(count, work):
    """What `work(i)` returns for each i, all run at once."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_sixteen_threads_share_one_limit_and_use_it(server, endpoint, ask):
    """16 threads of 150 requests: never more than 24 at once, 22 on average, each request sent once."""
    server.script = lambda call: server.chat(call.prompt, delay_s=0.1)
    shared = endpoint.replace(max_concurrent_requests=24)
    batches = in_threads(16, lambda i: answer_all([ask(f"{i}-{j}") for j in range(150)], shared))
    assert Counter(server.prompts) == Counter(f"{i}-{j}" for i in range(16) for j in range(150))
    for i, batch in enumerate(batches):
        assert [answer.text for (answer,) in batch.results] == [f"{i}-{j}" for j in range(150)]
        assert batch.http_requests == 150
    assert server.peak == 24
    assert (
        server.mean_in_flight(until=server.calls[-1].at) >= 20
    )  # of 24, from the first, with the start at 16, on a machine that may be busy


def test_a_limit_is_never_passed_while_settings_change(server, endpoint, ask):
    """Settings that differ in the limit alone share their slots, and the most recent limit holds."""
    server.script = lambda call: server.chat("a", delay_s=0.02)
    limits = [3, 5, 2, 4]
    in_threads(4, lambda i: answer_all([ask()] * 20, endpoint.replace(max_concurrent_requests=limits[i])))
    assert server.peak <= 5
    server.in_flight.clear()
    answer_all([ask()] * 20, endpoint.replace(max_concurrent_requests=2))
    assert server.peak == 2


def test_lower_priority_numbers_are_served_first(server, endpoint, ask):
    """A batch that comes later with a lower number overtakes the one that waits."""
    server.script = lambda call: server.chat("a", delay_s=0.02)
    narrow = endpoint.replace(max_concurrent_requests=2)
    late = threading.Thread(target=lambda: answer_all([ask("late")] * 40, narrow, priority=1))
    late.start()
    while len(server.calls) < 4:
        time.sleep(0.001)
    answer_all([ask("early")] * 20, narrow, priority=0)
    sent = server.prompts
    late.join()
    assert sent.count("early") == 20 and sent.count("late") <= 10


def test_a_row_that_waits_to_retry_gives_its_slot_back(server, endpoint, ask):
    """While one row waits a second, the only slot answers the others."""
    server.script = lambda call: (
        server.error(503, headers={"Retry-After": "1"}) if call.number == 0 else server.chat("a", delay_s=0.01)
    )
    one_slot = endpoint.replace(max_concurrent_requests=1)
    answers = answer_all([ask(str(i)) for i in range(30)], one_slot)
    assert server.prompts == ["0", *map(str, range(1, 30)), "0"]
    assert answers.http_requests == 31 and server.peak == 1
    assert server.calls[29].at - server.calls[0].at < 0.9


def test_rows_in_flight_are_bounded(server, endpoint, ask):
    """However many requests there are, at most two per slot exist as tasks."""
    tasks = []

    def is_row(task):
        return task.get_coro().__name__ == "_work"

    server.script = lambda call: (
        tasks.append(sum(map(is_row, asyncio.all_tasks(runtime._runtime.loop)))) or server.chat("a")
    )
    answer_all([ask()] * 500, endpoint)
    assert max(tasks) == 2 * 8


def test_should_stop_stops_the_sending(server, endpoint, ask):
    """Within a second of should_stop turning true nothing more is sent, and the call raises."""
    server.script = lambda call: server.chat("a", delay_s=0.02)
    start = time.monotonic()
    with pytest.raises(concurrent.futures.CancelledError):
        answer_all([ask()] * 5000, endpoint, should_stop=lambda: time.monotonic() > start + 0.2)
    assert time.monotonic() - start < 1.2
    assert_nothing_goes_on(server)
    assert len(server.calls) < 1000


# Python loses an interrupt that comes while a weak reference calls back, and warns of it: hence several.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_stops_the_sending(server, endpoint, ask):
    """Ctrl-C in the waiting thread is raised there, after everything pending was cancelled."""
    server.script = lambda call: server.chat("a", delay_s=0.02)
    raised = threading.Event()

    def interrupt():
        while not raised.wait(0.3):
            os.kill(os.getpid(), signal.SIGINT)

    def answer():
        try:
            answer_all([ask()] * 5000, endpoint)
        finally:
            raised.set()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        answer()
    assert_nothing_goes_on(server)
    assert 0 < len(server.calls) < 1000
    assert answer_all([ask()], endpoint).http_requests == 1


@pytest.mark.parametrize("where", ["on_result", "should_stop"])
def test_an_error_in_a_callback_stops_the_call(server, endpoint, ask, where):
    """Whatever a callback raises comes out of the call, and nothing goes on being sent."""
    server.script = lambda call: server.chat("a", delay_s=0.02)

    def fail(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answer_all([ask()] * 5000, endpoint, **{where: fail})
    assert_nothing_goes_on(server)


def test_a_call_that_is_stopped_already_sends_nothing(server, endpoint, ask):
    """should_stop is asked before the first request, too."""
    with pytest.raises(concurrent.futures.CancelledError):
        answer_all([ask()] * 5, endpoint, should_stop=lambda: True)
    assert server.calls == []


def test_a_refusal_is_believed_by_those_who_wait(server, endpoint, ask):
    """When one batch is refused, another that waits for a place on the wire is refused without sending."""
    server.script = lambda call: server.error(403, delay_s=0.1)
    narrow = endpoint.replace(max_concurrent_requests=1)

    def one_batch(number):
        with pytest.raises(EndpointRefusedError):
            answer_all([ask()] * 10, narrow)

    in_threads(2, one_batch)
    assert len(server.calls) == 1


def assert_nothing_goes_on(server):
    loop = runtime.current_runtime().loop
    tasks = [t for t in asyncio.all_tasks(loop) if not t.done()]
    time.sleep(0.1)  # what was on its way has arrived
    calls = len(server.calls)
    time.sleep(0.1)
    assert tasks == [] and len(server.calls) == calls


def test_waiting_on_the_loop_s_own_thread_is_refused(server, endpoint, ask):
    """A callback that asks for more answers would wait for itself: it is told so instead."""
    with pytest.raises(CallerError, match="on_result"):
        answer_all([ask()], endpoint, on_result=lambda _: answer_all([ask()], endpoint))


def test_it_works_within_a_running_loop(server, endpoint, ask):
    """A notebook's thread runs a loop of its own; the call blocks it and comes back."""

    async def cell():
        return answer_all([ask()], endpoint).http_requests

    assert asyncio.run(cell()) == 1


def test_one_loop_and_one_session_serve_every_thread(server, endpoint, ask):
    """Many threads make one runtime, and its connections are kept: no more than the limit are opened."""
    seen = in_threads(12, lambda _: answer_all([ask()] * 20, endpoint) and runtime.current_runtime())
    assert len(set(seen)) == 1
    connections = next(iter(seen[0]._sessions.values())).connector._conns
    assert sum(map(len, connections.values())) <= 8


def test_closing_leaves_nothing_behind(server, endpoint, ask):
    """After the runtime is closed its thread is gone, and the next call makes another."""
    answer_all([ask()], endpoint)
    first = runtime._runtime
    close_runtime()
    assert not first.thread.is_alive() and first.loop.is_closed() and runtime._runtime is None
    assert answer_all([ask()], endpoint).http_requests == 1
    gc.collect()


def _in_child(endpoint, requests, results):
    answers = answer_all(requests, endpoint)
    results.put([answer.text for (answer,) in answers.results])
    gc.collect()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_a_runtime_of_its_own(server, endpoint, ask):
    """A fork in the midst of requests, the lock held, disturbs neither parent nor child."""
    server.script = lambda call: server.chat(call.prompt, delay_s=0.02)
    parent = concurrent.futures.ThreadPoolExecutor(1)
    pending = parent.submit(answer_all, [ask(f"p{i}") for i in range(200)], endpoint)
    while len(server.calls) < 20:
        time.sleep(0.001)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with runtime._lock:
        child = context.Process(target=_in_child, args=(endpoint, [ask("c0"), ask("c1")], results))
        child.start()
    assert results.get(timeout=10) == ["c0", "c1"]
    child.join(10)
    assert child.exitcode == 0
    assert [answer.text for (answer,) in pending.result().results] == [f"p{i}" for i in range(200)]
    assert Counter(server.prompts) == Counter([f"p{i}" for i in range(200)] + ["c0", "c1"])
    parent.shutdown()
