"""It starts and stops cleanly: in a thread of this process, and in the foreground of another."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable

import pytest

from nemocc_dask.errors import SettingError
from nemocc_dask.simulate import Knobs, Simulator, serve

from .asking import ask, ask_all, chat, http, port_of, wait_until

SERVE = "from nemocc_dask.simulate import Knobs, serve; serve(Knobs(latency_s=5), port=0)"


def test_nothing_stays_behind() -> None:
    """After the block the thread is gone, the port is closed, and the counts can still be read."""
    before = threading.active_count()
    with Simulator() as simulator:
        port = port_of(simulator)
        assert threading.active_count() == before + 1
        assert ask(simulator, chat("Hello")).status == 200
    assert threading.active_count() == before
    assert simulator.base_url == ""
    assert simulator.stats()["answered"] == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_it_stops_at_once_though_requests_are_open() -> None:
    """A stop does not wait for slow answers: it cuts them, and counts them as abandoned."""
    with Simulator(Knobs(latency_s=30)) as simulator:
        client = threading.Thread(target=ask_all, args=(simulator, [chat("Hello")] * 3))
        client.start()
        wait_until(lambda: simulator.stats()["in_flight"] == 3)
        begun = time.monotonic()
    client.join()
    assert time.monotonic() - begun < 2
    assert (simulator.stats()["abandoned"], simulator.stats()["in_flight"]) == (3, 0)


def test_it_stops_after_an_error_in_the_block() -> None:
    """An exception in the block passes through, and the thread ends all the same."""
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), Simulator():
        _ = 1 / 0
    assert threading.active_count() == before


def test_it_can_be_started_again_and_twice() -> None:
    """Starting a running one changes nothing, stopping twice is no error, and it can be started again."""
    simulator = Simulator()
    assert simulator.start().base_url == simulator.start().base_url != ""
    simulator.stop()
    simulator.stop()
    with simulator:
        assert ask(simulator, chat("Hello")).status == 200


def test_it_serves_many_event_loops_and_threads(simulator: Simulator) -> None:
    """Clients in other threads, each with a loop of its own, are all answered."""
    clients = [threading.Thread(target=ask_all, args=(simulator, [chat("Hi", seed=at)] * 10)) for at in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert simulator.stats()["answered"] == 80


@pytest.mark.parametrize("start", [lambda port: Simulator(port=port).start(), lambda port: serve(Knobs(), port=port)])
def test_a_port_in_use_is_named(start: Callable[[int], object]) -> None:
    """Where the port is taken, for a thread or in the foreground, the error names it; no thread is left."""
    with Simulator() as first:
        before, port = threading.active_count(), port_of(first)
        with pytest.raises(SettingError, match=f"Port {port} on 127.0.0.1 is in use"):
            start(port)
        assert threading.active_count() == before


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no.such.host.invalid", 0)])
def test_an_address_that_cannot_be_is_named(host: str, port: int) -> None:
    """A host or port that cannot be listened on gives an error that names it."""
    with pytest.raises(SettingError, match=f"cannot listen on {host}, port {port}"):
        Simulator(host=host, port=port).start()


def test_all_interfaces_have_an_address_to_use() -> None:
    """Listening on every interface, it still names an address that a client here can use."""
    with Simulator(host="0.0.0.0") as simulator:
        assert simulator.base_url.startswith("http://127.0.0.1:")
        assert ask(simulator, chat("Hello")).status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to another process there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_it_stops_at_a_signal(number: signal.Signals) -> None:
    """`serve` prints one line with its base URL, and ends with 0 at a signal though a request is open."""
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        base_url = next(word for word in line.split() if word.startswith("http")).rstrip(";")
        assert http(base_url.removesuffix("v1") + "health").status == 200
        with _begin_to_ask(base_url):
            process.send_signal(number)
            assert process.wait(timeout=10) == 0
        assert process.stdout.read() == ""
    with pytest.raises(urllib.error.URLError):
        http(base_url + "/models")


def _begin_to_ask(base_url: str) -> socket.socket:
    """A connection with half a request on it, open until it is closed."""
    port = int(base_url.split(":")[2].split("/")[0])
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    return connection
