"""What reaching an endpoint takes, made once per batch: addresses, headers with the key, proxy, time-outs."""

from __future__ import annotations

import os
import urllib.request
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from nemocc_dask.errors import SettingError
from nemocc_dask.settings import Endpoint

CONNECT_TIMEOUT_S = 30.0
"""Longest wait for a connection, name lookup included. The endpoint's own time-out covers the answer too."""

DETAIL_CHARACTERS = 500
"""Most of an endpoint's own words that is kept."""

BLOT = "[key]"


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one endpoint. It never leaves the process, and its repr shows neither key nor headers.

    key: value of the endpoint's environment variable, or None.
    headers: of every request, the key among them.
    proxy: address of the proxy that the environment names for the endpoint's host, or None.
    timeout: of one attempt.
    """

    endpoint: Endpoint
    chat_url: URL
    models_url: URL
    timeout: aiohttp.ClientTimeout
    headers: dict[str, str] = field(repr=False)
    proxy: URL | None = field(repr=False)
    key: str | None = field(repr=False)

    @classmethod
    def to(cls, endpoint: Endpoint) -> Access:
        """Reads key and proxy from this process's environment.

        Raises `SettingError` where the key's variable is missing or unusable, or the address is none.
        """
        base, key = _base_address(endpoint), _read_key(endpoint.api_key_env)
        return cls(
            endpoint=endpoint,
            chat_url=base / "chat/completions",
            models_url=base / "models",
            timeout=aiohttp.ClientTimeout(total=endpoint.timeout, connect=min(CONNECT_TIMEOUT_S, endpoint.timeout)),
            headers=_headers(key),
            proxy=_proxy_from_environment(base),
            key=key,
        )

    def scrub(self, words: str) -> str:
        """The endpoint's words on one line without the key, 500 characters at most."""
        blotted = words.replace(self.key, BLOT) if self.key else words
        one_line = " ".join(blotted.split())
        return one_line.encode("utf-8", "replace").decode()[:DETAIL_CHARACTERS]


def _base_address(endpoint: Endpoint) -> URL:
    try:
        url = URL(endpoint.base_url)
    except ValueError:
        raise _no_address("it is no address") from None
    if not url.host:
        raise _no_address("it names no host")
    if url.user or url.password:  # the address is shown in messages and reports, so it may hold no secret
        raise _no_address("it holds a user name or password; put a key into the variable that api_key_env names")
    return url


def _no_address(complaint: str) -> SettingError:
    return SettingError(f"Endpoint: setting 'base_url' cannot be used: {complaint}. Such as http://localhost:8000/v1.")


def _read_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SettingError(
            f"The environment variable {variable!r}, which is to hold the endpoint's key, is not set in the "
            f"process that sends the requests. Set it there, on every worker of a cluster: {variable}=..."
        )
    if not (key.isascii() and key.isprintable()):
        raise SettingError(f"The environment variable {variable!r} holds characters that no key can have.")
    return key


def _headers(key: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "nemocc-dask"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _proxy_from_environment(url: URL) -> URL | None:
    """The proxy for an address, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.

    Not aiohttp's `trust_env`: that asks two threads for every single request, reads ~/.netrc each time, and
    refuses to send a key to a host which has an entry there.
    """
    if url.host is None or urllib.request.proxy_bypass(url.host):
        return None
    proxy = urllib.request.getproxies().get(url.scheme)
    return URL(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
