"""Where requests go, and how hard that may be driven.

`Endpoint` holds the *name* of an environment variable; the key itself is read where a request is sent, so it is in no
graph, no pickle and no report.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nemocc_dask.settings.base import Positive, Seconds, Settings

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Api = Literal["chat", "completions"]
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]

FROM_ENVIRONMENT = "env:"
"""Begins a header's value that is the name of an environment variable."""

SECRET_NAMES = re.compile("auth|key|token|secret|cookie|passw|credential", re.IGNORECASE)
"""Headers of such names hold secrets."""
SECRET_VALUES = re.compile("(bearer|basic) ", re.IGNORECASE)
"""So do headers whose values begin like this."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Endpoint(Settings):
    """One OpenAI-compatible endpoint, or several that serve the same model, and how hard they may be driven.

    base_url: address up to and including the version, such as ``http://localhost:8000/v1``; several share the requests
        out among them.
    weights: how much of the load each address takes, in their order; none share it evenly.
    model: name the endpoint knows the model by.
    api: ``chat`` sends messages to /chat/completions; ``completions`` renders the tokenizer's chat template here and
        sends a prompt to /completions, as base models want it.
    api_key_env: name of the environment variable that holds the key; None sends no key.
    headers: further headers. ``env:NAME`` as a value is read from the environment variable NAME where requests are
        sent, so that no secret stands here.
    max_tokens_field: name under which the bound of an answer is sent; None is ``max_tokens``, until the endpoint asks
        for the other.
    max_concurrent_requests: most requests on the wire at once, all addresses together.
    fixed_concurrency: keep as many on the wire as allowed, whatever refusals and latencies say; otherwise as many as
        the endpoint copes with, up to that.
    requests_per_minute, tokens_per_minute: most requests, and most tokens of prompts and answers; None is no limit.
    max_retries: times one request is sent again, at most.
    base_delay, max_delay: seconds before the first retry, and the most before any.
    retry_for: seconds after a request's first attempt beyond which it is not sent again.
    timeout: seconds one attempt may take.
    down_after: seconds without any answer, only failures, after which a job stops for want of an endpoint.

    Raises `SettingError` where a value has no meaning.

    >>> Endpoint(base_url="http://localhost:8000/v1/", model="m").base_url
    'http://localhost:8000/v1'
    """

    base_url: str | tuple[str, ...]
    weights: tuple[Weight, ...] = ()
    model: Annotated[str, Field(min_length=1)]
    api: Api = "chat"
    api_key_env: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    max_tokens_field: MaxTokensField | None = None
    max_concurrent_requests: Positive = 64
    fixed_concurrency: bool = False
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    max_retries: Annotated[int, Field(ge=0)] = 5
    base_delay: Seconds = 1.0
    max_delay: Seconds = 60.0
    retry_for: Seconds = 600.0
    timeout: Seconds = 300.0
    down_after: Seconds = 60.0

    @property
    def base_urls(self) -> tuple[str, ...]:
        """All addresses.

        >>> Endpoint(base_url=["http://a/v1", "http://b/v1"], model="m").base_urls
        ('http://a/v1', 'http://b/v1')
        """
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url

    @field_validator("base_url", mode="before")
    @classmethod
    def _http_addresses(cls, given: Any) -> Any:
        addresses = [given] if isinstance(given, str) else given
        if not isinstance(addresses, (list, tuple)) or not addresses or not all(map(_is_address, addresses)):
            raise ValueError("it has to start with http:// or https://, such as http://localhost:8000/v1")
        trimmed = tuple(address.rstrip("/") for address in addresses)
        if len(set(trimmed)) < len(trimmed):
            raise ValueError("an address stands there twice; give each once, and --weight for a larger share")
        return trimmed[0] if len(trimmed) == 1 else trimmed

    @field_validator("api_key_env")
    @classmethod
    def _the_name_of_a_variable(cls, name: str | None) -> str | None:
        if name is not None and not _VARIABLE.fullmatch(name):
            raise ValueError("it has to be the name of an environment variable, such as MY_KEY, not the key itself")
        return name

    @field_validator("headers")
    @classmethod
    def _no_secret_in_sight(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError("a name has to be of letters, digits and -, such as X-Team")
            if value.startswith(FROM_ENVIRONMENT):
                if not _VARIABLE.fullmatch(value.removeprefix(FROM_ENVIRONMENT)):
                    raise ValueError(f"the value of {name} has to be {FROM_ENVIRONMENT}NAME of an environment variable")
            elif SECRET_NAMES.search(name) or SECRET_VALUES.match(value):
                raise ValueError(
                    f"the value of {name} may be a secret: write {FROM_ENVIRONMENT}NAME, and set NAME to it"
                )
            elif not (value.isascii() and value.isprintable()):
                raise ValueError(f"the value of {name} has to be of printable ASCII characters, on one line")
        return headers

    @model_validator(mode="after")
    def _a_weight_each(self) -> Self:
        if self.weights and len(self.weights) != len(self.base_urls):
            raise ValueError(f"weights: {len(self.weights)} were given for {len(self.base_urls)} addresses.")
        return self


def _is_address(text: Any) -> bool:
    return isinstance(text, str) and re.match(r"https?://[^/]", text) is not None
