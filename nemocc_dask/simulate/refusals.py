"""Requests that get an error instead of work, in OpenAI's shape, and when they are told to come again."""

from __future__ import annotations

import json
import math
from email.utils import formatdate

from nemocc_dask.simulate.knobs import DATE, LIMITS, NONE

UNKNOWN_WAIT_S = 1
"""What Retry-After says where the endpoint cannot know how long to wait."""
TELL_WAIT = (429, 503)
"""The statuses that carry Retry-After."""


def error_body(message: str, *, kind: str, code: str | None, param: str | None = None) -> bytes:
    """OpenAI's shape of an error."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


class RefusedError(Exception):
    """A request that gets an error at once, in OpenAI's shape."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", code: str, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, kind=kind, code=code, param=param)

    @classmethod
    def invalid(cls, message: str) -> RefusedError:
        """The body makes no sense."""
        return cls(400, message, code="invalid_body")

    @classmethod
    def key(cls) -> RefusedError:
        """The key is missing or wrong."""
        message = "The simulated endpoint asks for a key; send it as `Authorization: Bearer KEY`."
        return cls(401, message, code="invalid_api_key")

    @classmethod
    def model(cls, asked: str, known: str) -> RefusedError:
        """It has another model."""
        return cls(
            404, f"There is no model {asked!r} here; the simulated endpoint has {known!r}.", code="model_not_found"
        )

    @classmethod
    def path(cls, method: str, path: str) -> RefusedError:
        """Nothing is served there."""
        served = "POST /v1/chat/completions and POST /v1/completions"
        return cls(404, f"{method} {path} is not there. The simulated endpoint answers {served}.", code="not_found")

    @classmethod
    def max_tokens(cls) -> RefusedError:
        """It only knows the newer name of that field."""
        message = "This model does not support `max_tokens`; send `max_completion_tokens` in its place."
        return cls(400, message, code="unsupported_parameter", param="max_tokens")

    @classmethod
    def several(cls, n: int) -> RefusedError:
        """It gives one answer to a request, and was asked for more."""
        message = f"`n` is {n}; this model gives one answer to a request. Send it again for each answer."
        return cls(400, message, code="unsupported_value", param="n")

    @classmethod
    def schema(cls, reason: str) -> RefusedError:
        """The answer's wanted form cannot be met."""
        message = f"`response_format` cannot be met: {reason}"
        return cls(400, message, code="invalid_json_schema", param="response_format")


def retry_after(form: str, wait_s: float | None, now: float) -> dict[str, str]:
    """The header Retry-After, or no header.

    form: the knob `retry_after`. wait_s: seconds until it is worth coming again, None where the endpoint cannot
    know. now: seconds since the epoch. Both forms are whole seconds, rounded up.

    >>> retry_after("limits", 4.2, 0), retry_after("limits", None, 0), retry_after("date", 4.2, 0)
    ({'Retry-After': '5'}, {}, {'Retry-After': 'Thu, 01 Jan 1970 00:00:05 GMT'})
    """
    if form == NONE or (form == LIMITS and wait_s is None):
        return {}
    wait_s = UNKNOWN_WAIT_S if wait_s is None else wait_s
    if form == DATE:
        return {"Retry-After": formatdate(math.ceil(now + wait_s), usegmt=True)}
    return {"Retry-After": str(math.ceil(wait_s))}
