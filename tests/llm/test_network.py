"""The way to an endpoint: headers, proxies, certificates, and several addresses of which some do not answer."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import pickle
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
from contextlib import suppress

import aiohttp
import pytest
import trustme
from click.testing import CliRunner
from conftest import ScriptedServer
from doors import ConnectProxy, Door, Socks5

from nemocc_dask.cli import nemocc
from nemocc_dask.errors import EndpointRefusedError, EndpointUnreachableError, SettingError
from nemocc_dask.llm import Answer, answer_all, check_endpoint, close_runtime
from nemocc_dask.llm.access import UNRECEIVED_S, connector_through
from nemocc_dask.settings import Endpoint, Job

SECRET = "sk/canary+0123456789=="
NOBODY = "http://127.0.0.1:9/v1"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """No test sees the proxies and certificates of the machine it runs on."""
    for name in (*PROXIES, *map(str.upper, PROXIES), *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)


def once(endpoint):
    return endpoint.replace(max_retries=0)


# --- headers ----------------------------------------------------------------------------------------------------------


def test_further_headers_are_sent(server, endpoint, ask, monkeypatch):
    """Each goes with every request and with the look before it, `env:NAME` with the value that the variable has."""
    monkeypatch.setenv("MY_KEY", f" {SECRET}\n")
    answer_all([ask()], endpoint.replace(headers={"X-A": "b", "api-key": "env:MY_KEY"}))
    for call in (*server.calls, *server.looks):
        assert (call.headers["X-A"], call.headers["api-key"]) == ("b", SECRET)
    assert len(server.calls) == len(server.looks) == 1


class Listening(Door):
    """Hears the heads of requests, and hangs up."""

    async def greet(self, reader, writer):
        self.heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        return False


def test_a_header_is_sent_once_whatever_case_it_is_written_in(endpoint, ask, monkeypatch):
    """What the settings say takes the place of what is sent anyway, and the key's own variable beats a header."""
    monkeypatch.setenv("A", "Bearer other")
    monkeypatch.setenv("B", SECRET)
    with Listening(0) as door:
        named = {"user-agent": "mine", "authorization": "env:A"}
        there = endpoint.replace(base_url=f"http://127.0.0.1:{door.port}/v1", headers=named, api_key_env="B")
        answer_all([ask()], once(there))
    assert {head.split()[0] for head in door.heard} == {"GET", "POST"}
    for head in door.heard:
        lines = [line.partition(": ")[::2] for line in head.splitlines()[1:]]
        sent = [(name.lower(), value) for name, value in lines if name.lower() in ("user-agent", "authorization")]
        assert sorted(sent) == [("authorization", f"Bearer {SECRET}"), ("user-agent", "mine")]


@pytest.mark.parametrize(
    "header",
    [
        {"api-key": SECRET},
        {"Ocp-Apim-Subscription-Key": SECRET},
        {"Proxy-Authorization": SECRET},
        {"Cookie": SECRET},
        {"X-Access-Token": SECRET},
        {"X-Password": SECRET},
        {"X-A": f"Bearer {SECRET}"},
        {"X-A": f"{SECRET}\r\nX-B: c"},
        {"X-A": f"ü{SECRET}"},
        {f"X-A: {SECRET}": "b"},
        {"api-key": f"env:{SECRET}"},
    ],
)
def test_a_secret_in_the_clear_is_not_taken(header):
    """A value that looks like a secret, or could be none at all, is refused before anything, and not repeated."""
    settings = {"base_url": "http://h/v1", "model": "m"}
    as_words = [f"{name}={value}" for name, value in header.items()]
    for make in (
        lambda: Endpoint(headers=header, **settings),
        lambda: Job(output="o", samples=1, header=as_words, **settings),
    ):
        with pytest.raises(SettingError, match="headers") as error:
            make()
        assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("--header", f"api-key={SECRET}"), "write env:NAME"),
        (("--header", f"Authorization: Bearer {SECRET}"), "such as X-Team"),
        (("--header", "Authorization: Bearer sk-canary"), "NAME=VALUE"),
        (("--api-key-env", SECRET), "such as MY_KEY"),
    ],
)
def test_a_secret_on_the_command_line_is_not_repeated(server, tmp_path, words, remedy):
    """The line that refuses it says what to write, and neither a file nor the endpoint gets to see it."""
    done = run(server, tmp_path, *words)
    assert done.exit_code == 2 and remedy in done.stderr
    assert SECRET not in done.output + done.stderr and "sk-canary" not in done.output + done.stderr
    assert not (tmp_path / "out").exists() and not server.calls and not server.looks


def test_a_key_in_place_of_its_variable_s_name_is_not_repeated():
    """Somebody who gives the key where its variable's name belongs is told so, without it."""
    with pytest.raises(SettingError, match=r"api_key_env.*not the key itself") as error:
        Endpoint(base_url="http://h/v1", model="m", api_key_env=SECRET)
    assert SECRET not in str(error.value)


def test_a_header_s_variable_that_is_not_set_is_named(server, endpoint, ask, monkeypatch):
    """The endpoint hears nothing until it is."""
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(SettingError, match="MY_KEY"):
        answer_all([ask()], endpoint.replace(headers={"api-key": "env:MY_KEY"}))
    assert not server.calls and not server.looks


@pytest.mark.parametrize("value", [SECRET, f"Bearer {SECRET}", f"Basic {SECRET}"])
@pytest.mark.parametrize(
    "form",
    [str, lambda key: urllib.parse.quote(key, safe=""), lambda key: base64.b64encode(key.encode()).decode()],
    ids=["as it is", "in an address", "in base64"],
)
def test_a_header_s_value_is_blotted_out_of_the_endpoint_s_words(server, endpoint, ask, monkeypatch, value, form):
    """Neither a row's failure nor the error that ends a call shows it, in whichever form the endpoint repeats it."""
    monkeypatch.setenv("MY_KEY", value)
    keyed = endpoint.replace(headers={"api-key": "env:MY_KEY"})
    server.script = lambda call: server.error(400, f"You sent {form(SECRET)}!")
    ((failure,),) = answer_all([ask()], keyed).results
    assert failure.detail.startswith("You sent [key]") and form(SECRET).encode() not in pickle.dumps(failure)
    server.script = lambda call: server.error(403, f"You sent {form(SECRET)}!")
    with pytest.raises(EndpointRefusedError, match=r"You sent \[key\].*environment variable MY_KEY") as error:
        answer_all([ask()], keyed)
    assert form(SECRET) not in f"{error.value!r}"


def test_headers_on_the_command_line(server, tmp_path, monkeypatch):
    """`--header` may be repeated; the books name the variable, and show no other value."""
    monkeypatch.setenv("MY_KEY", SECRET)
    done = run(server, tmp_path, "--header", "X-A=b=c", "--header", "api-key=env:MY_KEY")
    assert done.exit_code == 0, done.stderr
    assert {(call.headers["X-A"], call.headers["api-key"]) for call in server.calls} == {("b=c", SECRET)}
    books = json.loads((tmp_path / "out" / "_nemocc" / "run.json").read_text())
    hidden, named = books["settings"]["header"]
    assert hidden.startswith("X-A=") and "b=c" not in hidden and named == "api-key=env:MY_KEY"


def run(server, folder, *words):
    """Two samples of a job on the command line, in this process."""
    there = ("--output", folder / "out", "--base-url", f"http://127.0.0.1:{server.port}/v1", "--model", "m")
    return CliRunner().invoke(nemocc, [str(word) for word in ("run", "--samples", 2, *there, *words)])


# --- proxies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def far(endpoint):
    """An endpoint whose name nobody can look up here: only a proxy gets there."""
    return once(endpoint.replace(base_url="http://far.invalid/v1"))


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_gone_through(server, far, ask, monkeypatch, variable):
    """Requests to an http:// address, and the look before them, are sent to the proxy, which reads where they go."""
    monkeypatch.setenv(variable, f"127.0.0.1:{server.port}")
    answer_all([ask()], far)
    assert {call.headers["Host"] for call in (*server.calls, *server.looks)} == {"far.invalid"}


@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "x.invalid, 127.0.0.1", "127.0.0.1:PORT"])
def test_who_is_exempt_is_asked_directly(server, endpoint, ask, monkeypatch, exempt):
    """`NO_PROXY` names hosts, with or without a port, or all of them."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(EndpointUnreachableError, match="through the proxy"):
        check_endpoint(endpoint)
    monkeypatch.setenv("no_proxy", exempt.replace("PORT", str(server.port)))
    ((answer,),) = answer_all([ask()], endpoint).results
    assert answer.text == "to Hi"


def test_a_proxy_s_password_reaches_the_proxy_alone(server, far, ask, monkeypatch):
    """Credentials in its address are sent to it, and no error shows them."""
    monkeypatch.setenv("http_proxy", f"http://me:{urllib.parse.quote(SECRET, safe='')}@127.0.0.1:{server.port}")
    server.script = lambda call: server.error(400, f"Not for {SECRET} at {call.headers['Proxy-Authorization']}")
    ((failure,),) = answer_all([ask()], far).results
    sent = base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert server.calls[0].headers["Proxy-Authorization"] == f"Basic {sent}"
    assert SECRET not in failure.detail and sent not in failure.detail


@pytest.mark.parametrize("named", ["ftp://h:1", f"socks9://me:{SECRET}@h:1", "http://", "http://me:sk%2Fcanary@[::1/"])
def test_a_proxy_that_cannot_be_one_is_told(endpoint, monkeypatch, named):
    """The variable is named, what it holds is not repeated."""
    monkeypatch.setenv("all_proxy", named)
    with pytest.raises(SettingError, match="all_proxy") as error:
        check_endpoint(endpoint)
    assert "canary" not in str(error.value)


# --- SOCKS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
def test_a_socks_proxy_is_gone_through(server, far, ask, monkeypatch, scheme):
    """It gets the host's name to look up, and the port; connections through it are kept for further requests."""
    with Socks5(server.port) as socks:
        monkeypatch.setenv("all_proxy", f"{scheme}://127.0.0.1:{socks.port}")
        answers = answer_all([ask(str(i)) for i in range(20)], far.replace(max_concurrent_requests=2))
        assert [answer.text for (answer,) in answers.results] == [f"to {i}" for i in range(20)]
        assert set(socks.heard) == {"far.invalid:80"} and len(socks.heard) <= 3
        close_runtime()


def test_a_socks_proxy_gets_its_password(server, far, ask, monkeypatch):
    """User and password of its address are told to it as they are, escapes undone."""
    with Socks5(server.port) as socks:
        quoted = urllib.parse.quote(SECRET, safe="")
        monkeypatch.setenv("http_proxy", f"socks5://me:{quoted}@127.0.0.1:{socks.port}")
        assert isinstance(answer_all([ask()], far).results[0][0], Answer)
        assert set(socks.heard) == {f"far.invalid:80 me {SECRET}"}
        close_runtime()


def test_a_socks_proxy_that_finds_nobody(server, far, ask, monkeypatch):
    """Its refusal is an address that cannot be reached, at the first look and later, and no request was sent."""
    with Socks5(server.port) as socks:
        monkeypatch.setenv("all_proxy", f"socks5://127.0.0.1:{socks.port}")
        check_endpoint(far)
        close_runtime()
        # No connection is left over, on which the request would be sent before anybody sees that it is closed.
        server.models = server.reply(headers={"Connection": "close"})
        check_endpoint(far)
        socks.open = False
        server.close()
        answers = answer_all([ask()], far)
        assert [(each.reason, each.status) for (each,) in answers.results] == [("connection", None)]
        assert answers.http_requests == 0
        close_runtime()
        with pytest.raises(
            EndpointUnreachableError, match=r"Nobody answers at http://far.*through the proxy.*by SOCKS"
        ):
            check_endpoint(far)


def test_a_socks_proxy_that_is_not_there(far, monkeypatch):
    """It is told like an endpoint that is not there, with the proxy as a possible reason."""
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(EndpointUnreachableError, match=r"through the proxy.*by SOCKS: .*127\.0\.0\.1:9"):
        check_endpoint(far)


def test_without_the_library_for_socks_it_is_said_what_to_install():
    """Where aiohttp-socks is not installed, a SOCKS proxy is a setting that cannot be met; without one all is well."""
    script = """if True:
        import sys
        sys.modules["aiohttp_socks"] = None  # what Python notes for a module that may not be imported
        import os
        from nemocc_dask.errors import SettingError
        from nemocc_dask.llm import check_endpoint
        from nemocc_dask.settings import Endpoint, Job
        from nemocc_dask.simulate import Simulator
        with Simulator() as simulator:
            endpoint = Endpoint(base_url=simulator.base_url, model="simulated")
            os.environ["all_proxy"] = "socks5://127.0.0.1:9"
            try:
                check_endpoint(endpoint)
            except SettingError as error:
                print(error)
            os.environ["no_proxy"] = "127.0.0.1"
            check_endpoint(endpoint)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'nemocc-dask[socks]'" in done.stdout and "NO_PROXY" in done.stdout


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    """An authority that nobody knows."""
    return trustme.CA()


@pytest.fixture
def bundle(authority, tmp_path):
    """The file of that authority."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return tmp_path / "authority.pem"


def tls_of(authority, *names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def secure(server, authority):
    """A door that speaks TLS, with a certificate for far.invalid and 127.0.0.1."""
    with Door(server.port, tls_of(authority, "far.invalid", "127.0.0.1")) as door:
        yield door
        close_runtime()


def https(endpoint, door, host="127.0.0.1"):
    return once(endpoint.replace(base_url=f"https://{host}:{door.port}/v1"))


def test_a_certificate_of_an_unknown_authority_is_not_accepted(secure, server, endpoint, ask):
    """It is said before the first request, in one line that names the remedy, and without a wait for better times."""
    start = time.monotonic()
    with pytest.raises(EndpointUnreachableError) as error:
        answer_all([ask()], https(endpoint, secure).replace(max_retries=100))
    assert time.monotonic() - start < 5 and not server.calls and not server.looks
    said = str(error.value)
    assert said.startswith(
        f"The certificate of https://127.0.0.1:{secure.port}/v1/models is not accepted: unable to get"
    )
    assert "SSL_CERT_FILE" in said and "\n" not in said and len(secure.heard) <= 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_authority_that_the_environment_names_is_trusted(secure, endpoint, ask, monkeypatch, bundle, variable):
    """Each of the usual variables does, also where it is set after Python has started."""
    monkeypatch.setenv(variable, str(bundle))
    ((answer,),) = answer_all([ask()], https(endpoint, secure)).results
    assert answer.text == "to Hi"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_authorities_that_cannot_be_read_is_named(secure, endpoint, monkeypatch, tmp_path, content):
    """The variable and the file are in the message."""
    if content:
        (tmp_path / "bad.pem").write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "bad.pem"))
    with pytest.raises(SettingError, match=r"REQUESTS_CA_BUNDLE.*bad\.pem"):
        check_endpoint(https(endpoint, secure))


def test_a_certificate_of_another_host_is_not_accepted(server, endpoint, authority, monkeypatch, bundle):
    """A trusted authority does not make it the right server."""
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with (
        Door(server.port, tls_of(authority, "elsewhere.invalid")) as door,
        pytest.raises(EndpointUnreachableError, match=r"not accepted: IP address mismatch.*'127\.0\.0\.1'"),
    ):
        check_endpoint(https(endpoint, door))


def test_https_to_who_speaks_http_is_told(server, endpoint):
    """The message asks whether the address should begin with http://."""
    with pytest.raises(EndpointUnreachableError, match="begin with http://"):
        check_endpoint(https(endpoint, server))


def test_a_certificate_that_turns_bad_is_not_retried_for_ever(server, endpoint, ask, authority, monkeypatch, bundle):
    """In the midst of a run it is trouble with the connection: so many retries, a failure, and nothing was sent."""
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    context = tls_of(authority, "127.0.0.1")
    with Door(server.port, context) as door:
        patient = https(endpoint, door).replace(max_retries=2)
        assert isinstance(answer_all([ask()], patient).results[0][0], Answer)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        server.script = lambda call: server.chat("a", headers={"Connection": "close"})
        answer_all([ask()], patient)
        answers = answer_all([ask()], patient)
        ((failure,),) = answers.results
        assert (failure.reason, failure.attempts, answers.http_requests) == ("connection", 3, 0)
        assert "certificate verify failed" in failure.detail
        close_runtime()


@pytest.mark.parametrize(("kind", "scheme"), [(ConnectProxy, "http"), (Socks5, "socks5")])
def test_tls_goes_through_a_proxy(secure, endpoint, ask, monkeypatch, bundle, kind, scheme):
    """`HTTPS_PROXY` is for https:// addresses; the certificate is that of the endpoint, and is looked at as ever."""
    with kind(secure.port) as proxy:
        monkeypatch.setenv("https_proxy", f"{scheme}://me:pass@127.0.0.1:{proxy.port}")
        far = once(endpoint.replace(base_url="https://far.invalid:4433/v1"))
        with pytest.raises(
            EndpointUnreachableError, match=r"certificate of https://far.*not accepted through the proxy"
        ):
            check_endpoint(far)
        close_runtime()
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        ((answer,),) = answer_all([ask()], far).results
        assert answer.text == "to Hi"
        credentials = {"http": f"Basic {base64.b64encode(b'me:pass').decode()}", "socks5": "me pass"}[scheme]
        assert set(proxy.heard) == {f"far.invalid:4433 {credentials}"}
        close_runtime()


def test_a_proxy_that_wants_another_password_is_told_without_the_present_one(secure, endpoint, monkeypatch):
    """The proxy's refusal stands in the message, and its address with the password does not."""
    with ConnectProxy(secure.port) as proxy:
        proxy.open = False
        monkeypatch.setenv("https_proxy", f"http://me:{urllib.parse.quote(SECRET, safe='')}@127.0.0.1:{proxy.port}")
        with pytest.raises(EndpointUnreachableError, match=r"through the proxy.*407") as error:
            check_endpoint(endpoint.replace(base_url="https://far.invalid/v1"))
        assert SECRET not in str(error.value) and urllib.parse.quote(SECRET, safe="") not in str(error.value)
        close_runtime()


# --- several addresses ------------------------------------------------------------------------------------------------


@pytest.fixture
def others():
    """Two more servers."""
    servers = [ScriptedServer(), ScriptedServer()]
    yield servers
    close_runtime()
    for each in servers:
        each.close()


def of(*servers):
    return [f"http://127.0.0.1:{each.port}/v1" for each in servers]


def test_one_dead_address_of_three_is_a_warning(server, others, endpoint, ask, caplog):
    """It is named with the cause before the first request, once more when it is given up, and the others answer all."""
    answers = answer_all(
        [ask(str(i)) for i in range(40)], endpoint.replace(base_url=[NOBODY, *of(server, *others[:1])])
    )
    assert all(isinstance(answer, Answer) for (answer,) in answers.results)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) <= 2 and f"{NOBODY}/models" in warnings[0] and "go on without it" in warnings[0]
    assert server.calls and others[0].calls


def test_one_dead_address_of_three_does_not_stop_a_job(server, others, tmp_path, caplog):
    """A job on the command line warns, and ends well."""
    done = run(server, tmp_path, "--base-url", NOBODY, *(w for each in of(*others) for w in ("--base-url", each)))
    assert done.exit_code == 0 and f"{NOBODY}/models" in caplog.text
    assert sum(len(each.calls) for each in (server, *others)) == 2


def test_all_addresses_dead_are_all_named(endpoint, ask):
    """The error names each of them and says once what to do."""
    dead = [NOBODY, "http://no-such-host.invalid/v1", "http://127.0.0.1:13/v1"]
    with pytest.raises(EndpointUnreachableError) as error:
        answer_all([ask()], endpoint.replace(base_url=dead))
    said = str(error.value)
    assert all(f"{address}/models" in said for address in dead) and said.count("Start the endpoint") == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"status": 401, "body": b"who?"}, "refuses requests.*401.*who"),
        ({"status": 403, "body": b"not you"}, "refuses requests.*403.*not you"),
    ],
)
def test_one_address_that_refuses_stops_all(server, others, endpoint, ask, how, words):
    """A wrong key at one address is named before the first request: it would fail rows at random."""
    others[1].models = others[1].reply(**how)
    with pytest.raises(EndpointRefusedError, match=words) as error:
        answer_all([ask()], endpoint.replace(base_url=of(server, *others)))
    assert of(others[1])[0] in str(error.value) and of(server)[0] not in str(error.value)
    assert not any(each.calls for each in (server, *others))


# --- links that are cut -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can")
def test_what_is_not_received_in_time_is_given_up():
    """A connection breaks where what was sent is not received, so that it does not arrive after all, much later."""

    def half_an_answer(listener):
        connection, _ = listener.accept()
        with connection, suppress(ConnectionResetError):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1")
            connection.recv(1)  # until the other side has looked

    async def option():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            answering = asyncio.create_task(asyncio.to_thread(half_an_answer, listener))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            async with aiohttp.ClientSession(connector=connector_through(None)) as session, session.get(url) as reply:
                connection = reply.connection.transport.get_extra_info("socket")
                found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            await answering
            return found

    assert asyncio.run(option()) == UNRECEIVED_S * 1000 < 30_000
