"""What reaching an endpoint takes, made once per batch: addresses, headers with keys, proxy, time-outs."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from nemocc_dask.errors import SettingError
from nemocc_dask.settings import FROM_ENVIRONMENT, Endpoint

CONNECT_TIMEOUT_S = 30.0
"""Longest wait for a connection, name lookup included. The endpoint's own time-out covers the answer too."""

UNRECEIVED_S = 5.0
"""Longest that the system tries to bring to the endpoint's machine what was sent. A request that it held back while a
link was cut would arrive, even after this process has died, when its place has long been given to another: the broker
waits for no more than this. A request that was received, and is being answered, waits for as long as it takes."""

DETAIL_CHARACTERS = 500
"""Most of an endpoint's own words that is kept."""

BLOT = "[key]"

BEARER = "Bearer "
SOCKS_PORT = 1080

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "nemocc-dask"}
_PROXY_SCHEMES = ("http", "https", "socks", "socks4", "socks4a", "socks5", "socks5h")
_PATHS = {"chat": "chat/completions", "completions": "completions"}


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one address of an endpoint. It never leaves the process, and its repr shows neither key nor headers.

    base_url: the address, as the settings give it.
    ask_url, models_url: where requests and the look before them go.
    headers: of every request, the key among them; of two names that differ in case alone the later one is sent.
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
        proxy = _proxy_from_environment(base)
        return cls(
            endpoint=endpoint,
            base_url=address,
            ask_url=base / _PATHS[endpoint.api],
            models_url=base / "models",
            timeout=aiohttp.ClientTimeout(total=endpoint.timeout, connect=min(CONNECT_TIMEOUT_S, endpoint.timeout)),
            headers={**_HEADERS, **endpoint.headers, **secrets},
            proxy=proxy,
            secrets=_forms_of([*secrets.values(), *([proxy.password] if proxy and proxy.password else [])]),
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


def _forms_of(values: list[str]) -> tuple[str, ...]:
    """The secrets in values such as `Bearer sk-...`, also as addresses and base64 write them; the longest first."""
    secrets = {secret for value in values for secret in (value, value.partition(" ")[2]) if secret}
    as_base64 = {base64.b64encode(secret.encode()).decode().rstrip("=") for secret in secrets}
    in_addresses = {urllib.parse.quote(secret, safe="") for secret in secrets}
    return tuple(sorted(secrets | as_base64 | in_addresses, key=len, reverse=True))


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
    refuses to send a key to a host which has an entry there. Raises `SettingError` where it is no such address.
    """
    host = url.host or ""
    if any(map(urllib.request.proxy_bypass, (host, f"{host}:{url.port}"))):
        return None
    proxies = urllib.request.getproxies()
    variable = url.scheme if proxies.get(url.scheme) else "all"
    named = proxies.get(variable)
    return _proxy_address(named, f"{variable}_proxy") if named else None


def _proxy_address(named: str, variable: str) -> URL:
    # Neither complaint repeats the address: it may hold a password.
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError:
        raise SettingError(f"The environment variable {variable} holds no address of a proxy.") from None
    if not proxy.host or proxy.scheme not in _PROXY_SCHEMES:
        raise SettingError(
            f"The environment variable {variable} names a proxy that cannot be used. It has to begin with one of "
            f"{', '.join(f'{scheme}://' for scheme in _PROXY_SCHEMES)}, and a host has to follow."
        )
    return proxy


def is_socks(proxy: URL | None) -> bool:
    """Whether a proxy speaks SOCKS.

    >>> is_socks(URL("socks5://localhost:1080")), is_socks(URL("http://localhost:3128")), is_socks(None)
    (True, False, False)
    """
    return proxy is not None and proxy.scheme.startswith("socks")


# --- what opens connections -------------------------------------------------------------------------------------------


def connector_through(socks: str | None) -> aiohttp.BaseConnector:
    """What opens connections: directly, or through a SOCKS proxy; certificates as the environment has them checked.

    Raises `SettingError` where a SOCKS proxy is wanted and the library that speaks SOCKS is not there, or a file of
    certificates cannot be read.
    """
    tls = _tls_from_environment()
    if socks is not None:
        return _socks_connector(URL(socks), tls)
    return aiohttp.TCPConnector(limit=0, ssl=tls, socket_factory=_socket)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """For a connection to this address, which breaks where what was sent is not received in time.

    Only Linux can. Elsewhere, and through SOCKS, the system decides, which goes on for a quarter of an hour.
    """
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT") and family in (socket.AF_INET, socket.AF_INET6):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNRECEIVED_S * 1000))
    return made


def _socks_connector(proxy: URL, tls: ssl.SSLContext | bool) -> aiohttp.BaseConnector:
    try:
        from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError, ProxyType
    except ImportError:
        raise SettingError(
            "The environment names a SOCKS proxy, which takes another library: pip install 'nemocc-dask[socks]'. "
            "Or have the endpoint's host named in NO_PROXY."
        ) from None

    class Connector(ProxyConnector):  # type: ignore[misc]  # it ships no types
        """Raises what a connection without a proxy would: the library's own errors are of no kind that others know."""

        async def _wrap_create_connection(self, *args: Any, req: Any, **how: Any) -> Any:
            try:
                return await super()._wrap_create_connection(*args, req=req, **how)
            except ssl.SSLCertVerificationError as error:
                raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
            except ssl.SSLError as error:
                raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
            except (OSError, ProxyConnectionError, ProxyError, ProxyTimeoutError) as error:
                told = OSError(None, f"by SOCKS: {error}")
                raise aiohttp.ClientConnectorError(req.connection_key, told) from error

    through: aiohttp.BaseConnector = Connector(
        proxy_type=ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5,
        host=proxy.host,
        port=proxy.port or SOCKS_PORT,
        username=proxy.user,
        password=proxy.password,
        rdns=True,  # names are looked up by the proxy: who needs one may not be able to
        limit=0,
        ssl=tls,
    )
    return through


def _tls_from_environment() -> ssl.SSLContext | bool:
    """OpenSSL goes by SSL_CERT_FILE and SSL_CERT_DIR, requests and curl by the other two; whatever is set is used.

    Without any of them aiohttp's own context will do, which was made when it was imported.
    """
    variable = next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), None)
    if variable is None:
        by_openssl = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
        return ssl.create_default_context() if by_openssl else True
    bundle = os.environ[variable]
    try:
        is_folder = os.path.isdir(bundle)
        return ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    except OSError as error:  # of OpenSSL too
        raise SettingError(f"{variable} names {bundle!r}, whose certificates cannot be read: {error}.") from None
