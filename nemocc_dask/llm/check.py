"""Asks an endpoint for its models before anything is paid for, so that a wrong address fails in one line."""

from __future__ import annotations

from typing import Any

import aiohttp

from nemocc_dask.errors import EndpointRefusedError, EndpointUnreachableError
from nemocc_dask.llm.access import Access
from nemocc_dask.llm.client import refused
from nemocc_dask.llm.retry import FOREIGN_ERRORS, Trouble, trouble_of
from nemocc_dask.llm.wire import error_words, from_json

CHECK_TIMEOUT_S = 10.0
"""Longest wait for a connection, and longest silence on it."""

MODELS_NAMED = 20
"""Most models that an error lists."""

_TIMEOUT = aiohttp.ClientTimeout(total=3 * CHECK_TIMEOUT_S, connect=CHECK_TIMEOUT_S, sock_read=CHECK_TIMEOUT_S)


async def check(access: Access, session: aiohttp.ClientSession) -> None:
    """Looks at GET {base_url}/models; whatever does not prove that no request can succeed passes.

    Raises `EndpointUnreachableError` where nobody is there, `EndpointRefusedError` where the key is refused
    (401, 403) or a list of models lacks the endpoint's.
    """
    came = await _models(access, session)
    if isinstance(came, Trouble):
        if not came.sent:  # otherwise somebody is there, perhaps slow with this and quick with requests
            raise _unreachable(access, came.detail)
        return
    status, payload = came
    if status in (401, 403):
        raise refused(access, status, error_words(payload))
    if status == 200:
        _check_model(access, model_names(payload))


async def _models(access: Access, session: aiohttp.ClientSession) -> tuple[int, bytes] | Trouble:
    get = session.get(
        access.models_url,
        headers=access.headers,
        timeout=_TIMEOUT,
        proxy=access.proxy,
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
        f"The endpoint {access.endpoint.base_url} has no model {access.endpoint.model!r}. "
        f"It has: {access.scrub(there)}. Name one of them (--model)."
    )


def _unreachable(access: Access, cause: str) -> EndpointUnreachableError:
    via = " through the proxy that the environment names" if access.proxy else ""
    return EndpointUnreachableError(
        f"Nobody answers at {access.models_url}{via}: {access.scrub(cause)}. "
        "Start the endpoint, or mend its address (--base-url)."
    )
