"""Asks an endpoint for its models before anything is paid for, so that a wrong address fails in one line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import aiohttp

from nemocc_dask.errors import EndpointRefusedError, EndpointUnreachableError
from nemocc_dask.llm.access import Access
from nemocc_dask.llm.client import refused
from nemocc_dask.llm.reply import error_words, from_json
from nemocc_dask.llm.retry import FOREIGN_ERRORS, Trouble, trouble_of

CHECK_TIMEOUT_S = 10.0
"""Longest wait for a connection, and longest silence on it."""

log = logging.getLogger("nemocc_dask")

MODELS_NAMED = 20
"""Most models that an error lists."""

_TIMEOUT = aiohttp.ClientTimeout(total=3 * CHECK_TIMEOUT_S, connect=CHECK_TIMEOUT_S, sock_read=CHECK_TIMEOUT_S)


async def check(accesses: Sequence[Access], sessions: Sequence[aiohttp.ClientSession]) -> None:
    """Looks at GET {base_url}/models of each address; whatever does not prove that no request can succeed passes.

    Raises `EndpointUnreachableError` where nobody is at any address, `EndpointRefusedError` where one refuses the key
    (401, 403) or has a list of models that lacks the endpoint's.
    """
    looks = await asyncio.gather(*map(_missed, accesses, sessions))
    missed = [trouble for trouble in looks if trouble]
    if len(missed) == len(accesses):
        raise missed[0]
    for trouble in missed:
        log.warning("%s The other addresses go on without it.", trouble)


async def _missed(access: Access, session: aiohttp.ClientSession) -> EndpointUnreachableError | None:
    came = await _models(access, session)
    if isinstance(came, Trouble):  # sent: somebody is there, perhaps slow with this and quick with requests
        return None if came.sent else _unreachable(access, came.detail)
    status, payload = came
    if status in (401, 403):
        raise refused(access, status, error_words(payload))
    if status == 200:
        _check_model(access, model_names(payload))
    return None


async def _models(access: Access, session: aiohttp.ClientSession) -> tuple[int, bytes] | Trouble:
    get = session.get(
        access.models_url,
        headers=access.headers,
        timeout=_TIMEOUT,
        proxy=access.http_proxy,
        allow_redirects=False,
    )
    try:
        async with get as response:
            return response.status, await response.read()
    except FOREIGN_ERRORS as error:
        return trouble_of(error)


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
    raise EndpointRefusedError(
        f"The endpoint {access.base_url} has no model {access.endpoint.model!r}. "
        f"It has: {access.scrub(there)}. Name one of them (--model)."
    )


def _unreachable(access: Access, cause: str) -> EndpointUnreachableError:
    via = " through the proxy that the environment names" if access.proxy else ""
    return EndpointUnreachableError(
        f"Nobody answers at {access.models_url}{via}: {access.scrub(cause)}. "
        "Start the endpoint, or mend its address (--base-url)."
    )
