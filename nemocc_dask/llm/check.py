"""Asks an endpoint for its models before anything is paid for, so that a wrong address fails in one line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiohttp

from nemocc_dask.errors import EndpointUnreachableError
from nemocc_dask.llm.access import Access
from nemocc_dask.llm.judging import refused
from nemocc_dask.llm.reply import error_words, from_json
from nemocc_dask.llm.retry import FOREIGN_ERRORS, trouble_of
from nemocc_dask.logs import event

CHECK_TIMEOUT_S = 10.0
"""Longest wait for a connection, and longest silence on it."""

log = logging.getLogger("nemocc_dask")

MODELS_NAMED = 20
"""Most models that an error lists."""

_TIMEOUT = aiohttp.ClientTimeout(total=3 * CHECK_TIMEOUT_S, connect=CHECK_TIMEOUT_S, sock_read=CHECK_TIMEOUT_S)


async def check(accesses: Sequence[Access], sessions: Sequence[aiohttp.ClientSession]) -> None:
    """Looks at GET {base_url}/models of each address; whatever does not prove that no request can succeed passes.

    A list of models that lacks the endpoint's is worth a warning only: some servers list what they have stored, and not
    what they serve.

    Raises `EndpointUnreachableError` where nobody is at any address, `EndpointRefusedError` where one refuses the key
    (401, 403).
    """
    looks = [asyncio.ensure_future(_missed(*there)) for there in zip(accesses, sessions, strict=True)]
    try:
        missed = [one for one in await asyncio.gather(*looks) if one]
    finally:  # a refusal at one address leaves no look at another behind
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
    if len(missed) == len(accesses):
        remedies = dict.fromkeys(one.remedy for one in missed)
        raise EndpointUnreachableError(f"{'; '.join(one.words for one in missed)}. {' '.join(remedies)}")
    for one in missed:
        log.warning("%s. The other addresses go on without it.", one.words, extra=event("endpoint_down"))


class _Missed(NamedTuple):
    """Why an address cannot be reached, and what to do."""

    words: str
    remedy: str


async def _missed(access: Access, session: aiohttp.ClientSession) -> _Missed | None:
    try:
        status, payload = await _models(access, session)
    except FOREIGN_ERRORS as error:
        # Sent: somebody is there, perhaps slow with this and quick with requests.
        return None if trouble_of(error).sent else _unreachable(access, error)
    if status in (401, 403):
        raise refused(access, status, error_words(payload))
    if status == 200:
        _check_model(access, model_names(payload))
    return None


async def _models(access: Access, session: aiohttp.ClientSession) -> tuple[int, bytes]:
    get = session.get(
        access.models_url,
        headers=access.headers,
        timeout=_TIMEOUT,
        proxy=access.http_proxy,
        allow_redirects=False,
    )
    async with get as response:
        return response.status, await response.read()


def model_names(payload: bytes) -> list[str]:
    """Names in a list of models; none where the body is no such list.

    >>> model_names(b'{"data": [{"id": "a"}, {"id": "b"}]}'), model_names(b"<html>")
    (['a', 'b'], [])
    """
    body: Any = from_json(payload)
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        return []
    return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def _check_model(access: Access, names: list[str]) -> None:
    # Some servers list "models/x" or "x:latest" and take "x".
    taken = {alias for name in names for alias in (name, name.removeprefix("models/"), name.removesuffix(":latest"))}
    if not names or access.endpoint.model in taken:
        return
    there = ", ".join(names[:MODELS_NAMED]) + (", ..." if len(names) > MODELS_NAMED else "")
    log.warning(
        "The endpoint %s does not list the model %r. It lists: %s. If it refuses requests, name one of them (--model).",
        access.base_url,
        access.endpoint.model,
        access.scrub(there),
    )


def _unreachable(access: Access, error: Exception) -> _Missed:
    via = " through the proxy that the environment names" if access.proxy else ""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        return _Missed(
            f"The certificate of {access.models_url} is not accepted{via}: {access.scrub(why)}", _TRUST_ITS_AUTHORITY
        )
    remedy = _PERHAPS_NO_TLS if isinstance(error, aiohttp.ClientConnectorSSLError) else _START_IT
    return _Missed(f"Nobody answers at {access.models_url}{via}: {access.scrub(trouble_of(error).detail)}", remedy)


_START_IT = "Start the endpoint, or mend its address (--base-url)."
_PERHAPS_NO_TLS = "It does not speak TLS as this side does: perhaps its address has to begin with http:// (--base-url)."
_TRUST_ITS_AUTHORITY = (
    "Where an authority of your own has signed it, name the file of that authority in the environment variable "
    "SSL_CERT_FILE, for every process that sends requests; otherwise mend the address (--base-url)."
)
