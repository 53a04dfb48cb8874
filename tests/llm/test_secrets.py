"""The key goes to the endpoint and nowhere else; addresses that cannot be used are told."""

import logging
import pickle
import traceback

import pytest

from nemocc_dask.errors import EndpointRefusedError, EndpointUnreachableError, SettingError
from nemocc_dask.llm import answer_all, check_endpoint
from nemocc_dask.llm.access import Access

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def keyed(endpoint, monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    return endpoint.replace(api_key_env="TEST_KEY", max_retries=1)


def everything_about(error):
    """All that a log or another process could see of an exception."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error)) + str(pickle.dumps(error))


def test_the_key_is_sent_and_none_where_none_is_named(server, keyed, endpoint, ask):
    """With a variable named its value is the bearer token; without one there is no such header."""
    answer_all([ask()], keyed)
    answer_all([ask()], endpoint)
    assert [call.headers.get("Authorization") for call in server.calls] == [f"Bearer {KEY}", None]


def test_a_key_from_a_file_with_a_line_end_is_usable(server, keyed, ask, monkeypatch):
    """Blanks round the key are no part of it."""
    monkeypatch.setenv("TEST_KEY", f"{KEY}\n")
    answer_all([ask()], keyed)
    assert server.calls[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("value", [None, "", "  ", "a\nb", "schlüssel"])
@pytest.mark.parametrize("call", [check_endpoint, lambda endpoint: answer_all([None], endpoint)])
def test_a_missing_key_is_told_before_anything_is_sent(server, endpoint, monkeypatch, value, call):
    """The error names the variable, never its value, and the endpoint hears nothing."""
    if value is None:
        monkeypatch.delenv("TEST_KEY", raising=False)
    else:
        monkeypatch.setenv("TEST_KEY", value)
    with pytest.raises(SettingError, match="TEST_KEY"):
        call(endpoint.replace(api_key_env="TEST_KEY"))
    assert server.calls == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_does_not_show_the_key(server, keyed, ask, status, caplog):
    """Even an endpoint that repeats the key is quoted without it."""
    caplog.set_level(logging.DEBUG)
    server.script = lambda call: server.error(status, f"bad key {call.headers['Authorization']}!")
    server.models = server.error(401, f"bad key {KEY}!")
    for call in (lambda: answer_all([ask()] * 5, keyed), lambda: check_endpoint(keyed)):
        with pytest.raises(EndpointRefusedError) as error:
            call()
        seen = everything_about(error.value)
        assert "[key]!" in seen and KEY not in seen
        if status != 404:
            assert "TEST_KEY" in str(error.value)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "how",
    [
        {"status": 400, "body": f"{'x' * 490} {KEY}".encode()},
        {"status": 503, "body": {"error": KEY}},
        {"body": {"detail": KEY}},
        {"body": f"<html>{KEY}".encode()},
        {"raw": f"HTTP/9.9 {KEY}\r\n\r\n".encode()},
        {"raw": f"{KEY}\r\n\r\n".encode()},
        {"cut": "before"},
        {"status": 400, "body": {"error": {"message": KEY}}},
    ],
)
def test_a_failure_does_not_show_the_key(server, keyed, ask, how):
    """No part of the key is in a failure, not even where the detail is cut through it."""
    server.script = lambda call: server.reply(**how)
    ((failure,),) = answer_all([ask()], keyed).results
    assert KEY[:8] not in repr(failure) and KEY[:8].encode() not in pickle.dumps(failure)


def test_nobody_there_does_not_show_the_key(keyed):
    """The address is told, the key is not."""
    with pytest.raises(EndpointUnreachableError) as error:
        check_endpoint(keyed.replace(base_url="http://127.0.0.1:9/v1"))
    assert KEY not in everything_about(error.value)


def test_the_repr_of_an_access_shows_no_key(keyed):
    """The one value that holds the key does not print it."""
    assert KEY not in repr(Access.to(keyed))


@pytest.mark.parametrize("address", ["http://", "http://:80/v1", "http://[::1/v1", "http://h:99999999/v1"])
def test_an_address_that_is_none_is_a_setting_error(endpoint, ask, address):
    """What cannot be an address is the caller's mistake."""
    with pytest.raises(SettingError, match="base_url"):
        answer_all([ask()], endpoint.replace(base_url=address))


def test_an_address_with_a_password_is_not_taken(endpoint, ask):
    """Addresses are shown in messages and reports, so they may hold no secret, and this one is not shown."""
    with pytest.raises(SettingError) as error:
        answer_all([ask()], endpoint.replace(base_url=f"http://user:{KEY}@h/v1"))
    assert KEY not in everything_about(error.value)


def test_the_environment_s_proxy_is_used(server, endpoint, ask, monkeypatch):
    """HTTP_PROXY names where requests go, and NO_PROXY exempts hosts from it."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "direct.invalid")
    far = endpoint.replace(base_url="http://far.invalid/v1", max_retries=0)
    ((answer,),) = answer_all([ask()], far).results
    assert answer.text == "to Hi" and server.calls[0].headers["Host"] == "far.invalid"
    with pytest.raises(EndpointUnreachableError, match="Nobody answers at http://direct"):
        answer_all([ask()], far.replace(base_url="http://direct.invalid/v1"))


def test_a_netrc_file_does_not_interfere(server, keyed, ask, monkeypatch, tmp_path):
    """A user's ~/.netrc with an entry for the host neither replaces the key nor breaks the request."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    answer_all([ask()], keyed)
    assert server.calls[0].headers["Authorization"] == f"Bearer {KEY}"
