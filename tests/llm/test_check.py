"""The look at an endpoint before the first request."""

import json
import socket

import pytest

from nemocc_dask.errors import EndpointRefusedError, EndpointUnreachableError
from nemocc_dask.llm import check, check_endpoint


def models(*names):
    return json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()


def test_an_endpoint_that_has_the_model_passes(server, endpoint):
    """One GET of the list of models, with the path of the address."""
    check_endpoint(endpoint)
    assert [call.path for call in server.looks] == ["/v1/models"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"])
def test_nobody_there_is_said_in_one_line(endpoint, address):
    """The message names the address, the cause and what to do."""
    with pytest.raises(EndpointUnreachableError) as error:
        check_endpoint(endpoint.replace(base_url=address))
    said = str(error.value)
    assert f"{address}/models" in said and "Cannot connect" in said and "--base-url" in said
    assert "\n" not in said


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_refused(server, endpoint, status):
    """A key that is not taken now will not be taken later."""
    server.models = server.error(status, "bad key")
    with pytest.raises(EndpointRefusedError, match=f"{status}.*bad key"):
        check_endpoint(endpoint)


def test_a_model_that_is_not_listed_is_a_warning_with_those_there(server, endpoint, caplog):
    """The names to choose from are told; but some servers list what they have stored, so the job goes on."""
    server.models = server.reply(body=models("alpha", "beta"))
    check_endpoint(endpoint)
    assert "does not list the model 'm'. It lists: alpha, beta." in caplog.text


@pytest.mark.parametrize("name", ["m", "models/m", "m:latest"])
def test_names_that_servers_list_with_an_affix_pass(server, endpoint, name):
    """Some servers list a name in a longer form than the one they take."""
    server.models = server.reply(body=models("x", name))
    check_endpoint(endpoint)


@pytest.mark.parametrize(
    "how",
    [
        {"status": 404},
        {"status": 500, "body": b"oops"},
        {"status": 307, "headers": {"Location": "/x"}},
        {"body": b"<html>"},
        {"body": {"data": []}},
        {"body": {"data": [1, None, {"id": 3}]}},
        {"body": [1]},
        {"cut": "before"},
        {"raw": b"SSH-2.0\r\n\r\n"},
    ],
)
def test_whatever_proves_nothing_passes(server, endpoint, how):
    """Endpoints need not list their models."""
    server.models = server.reply(**how)
    check_endpoint(endpoint)


def test_a_silent_server_passes(endpoint, monkeypatch):
    """Somebody took the connection; that the list does not come proves nothing."""
    monkeypatch.setattr(check, "_TIMEOUT", check.aiohttp.ClientTimeout(total=3, connect=1, sock_read=0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check_endpoint(endpoint.replace(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1"))
