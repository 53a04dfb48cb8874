"""What reaching an endpoint takes, made once per batch: addresses, headers with keys, proxy, time-outs."""

from __future__ import annotations

import importlib.util
import os
import ssl
import urllib.request
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from nemocc_dask.errors import SettingError
from nemocc_dask.settings import FROM_ENVIRONMENT, Endpoint

CONNECT_TIMEOUT_S = 30.0
"""Longest wait for a connection, name lookup included. The endpoint's own time-out covers the answer too."""

DETAIL_CHARACTERS = 500
"""Most of an endpoint's own words that is kept."""

BLOT = "[key]"

BEARER = "Bearer "

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "nemocc-dask"}
_PATHS = {"chat": "chat/completions", "completions": "completions"}


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one address of an endpoint. It never leaves the process, and its repr shows neither key nor headers.

    base_url: the address, as the settings give it.
    ask_url, models_url: where requests and the look before them go.
    headers: of every request, the key among them.
    proxy: address of the proxy that the environment names for the endpoint's host, or None.
    timeout: of one attempt.
    secrets: what no message may show.
    """

    endpoint: Endpoint
    base_url: str
    ask_url: URL
    models_url: URL
    timeout: aiohttp.ClientTimeout
    headers: dict[str, str] = field(repr=False)
    proxy: URL | None = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def to(cls, endpoint: Endpoint) -> tuple[Access, ...]:
        """One for each address. Reads keys and proxies from this process's environment.

        Raises `SettingError` where a variable is missing or unusable, or an address is none.
        """
        secrets = _secrets(endpoint)
        return tuple(cls._to_one(address, endpoint, secrets) for address in endpoint.base_urls)

    @classmethod
    def _to_one(cls, address: str, endpoint: Endpoint, secrets: dict[str, str]) -> Access:
        base = _base_address(address)
        return cls(
            endpoint=endpoint,
            base_url=address,
            ask_url=base / _PATHS[endpoint.api],
            models_url=base / "models",
            timeout=aiohttp.ClientTimeout(total=endpoint.timeout, connect=min(CONNECT_TIMEOUT_S, endpoint.timeout)),
            headers={**_HEADERS, **endpoint.headers, **secrets},
            proxy=_proxy_from_environment(base),
            secrets=tuple(value.removeprefix(BEARER) for value in secrets.values()),
        )

    @property
    def http_proxy(self) -> URL | None:
        """The proxy as a request takes it; one that speaks SOCKS is the connection's business."""
        return None if is_socks(self.proxy) else self.proxy

    def scrub(self, words: str) -> str:
        """The endpoint's words on one line without keys, 500 characters at most."""
        for secret in self.secrets:
            words = words.replace(secret, BLOT)
        one_line = " ".join(words.split())
        return one_line.encode("utf-8", "replace").decode()[:DETAIL_CHARACTERS]


def _base_address(address: str) -> URL:
    try:
        url = URL(address)
    except ValueError:
        raise _no_address("it is no address") from None
    if not url.host:
        raise _no_address("it names no host")
    if url.user or url.password:  # the address is shown in messages and reports, so it may hold no secret
        raise _no_address("it holds a user name or password; put a key into the variable that api_key_env names")
    return url


def _no_address(complaint: str) -> SettingError:
    return SettingError(f"Endpoint: setting 'base_url' cannot be used: {complaint}. Such as http://localhost:8000/v1.")


def _secrets(endpoint: Endpoint) -> dict[str, str]:
    """Headers whose values stand in the environment."""
    named = {
        name: value.removeprefix(FROM_ENVIRONMENT)
        for name, value in endpoint.headers.items()
        if value.startswith(FROM_ENVIRONMENT)
    }
    secrets = {name: _read_variable(variable) for name, variable in named.items()}
    if endpoint.api_key_env is not None:
        secrets["Authorization"] = BEARER + _read_variable(endpoint.api_key_env)
    return secrets


def _read_variable(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise SettingError(
            f"The environment variable {variable!r}, which is to hold the endpoint's key, is not set in the "
            f"process that sends the requests. Set it there, on every worker of a cluster: {variable}=..."
        )
    if not (value.isascii() and value.isprintable()):
        raise SettingError(f"The environment variable {variable!r} holds characters that no key can have.")
    return value


def _proxy_from_environment(url: URL) -> URL | None:
    """The proxy for an address, as `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.

    Not aiohttp's `trust_env`: that asks two threads for every single request, reads ~/.netrc each time, and
    refuses to send a key to a host which has an entry there.
    """
    if url.host is None or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return URL(proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def is_socks(proxy: URL | None) -> bool:
    """Whether a proxy speaks SOCKS.

    >>> is_socks(URL("socks5://localhost:1080")), is_socks(URL("http://localhost:3128")), is_socks(None)
    (True, False, False)
    """
    return proxy is not None and proxy.scheme.startswith("socks")


def connector_through(socks: str | None) -> aiohttp.BaseConnector:
    """What opens connections: directly, or through a SOCKS proxy; certificates as the environment has them checked.

    Raises `SettingError` where a SOCKS proxy is wanted and the library that speaks SOCKS is not there.
    """
    tls = _tls_from_environment()
    if socks is None:
        return aiohttp.TCPConnector(limit=0, ssl=tls)
    if importlib.util.find_spec("aiohttp_socks") is None:
        raise SettingError(
            "The environment names a SOCKS proxy, which takes another library: pip install 'nemocc-dask[socks]'. "
            "Or have the endpoint's host named in NO_PROXY."
        )
    from aiohttp_socks import ProxyConnector

    # "h" leaves the look-up of names to the proxy, which this library does anyway, and has no word for.
    through: aiohttp.BaseConnector = ProxyConnector.from_url(socks.replace("socks5h:", "socks5:"), limit=0, ssl=tls)
    return through


def _tls_from_environment() -> ssl.SSLContext | bool:
    """OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR by itself; the other two are what requests and curl go by."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return ssl.create_default_context(cafile=bundle) if bundle else True
