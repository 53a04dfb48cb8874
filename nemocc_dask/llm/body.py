"""Requests as JSON: the body that is sent, and the key by which an answer is found again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from nemocc_dask.errors import SettingError
from nemocc_dask.llm.results import ChatRequest
from nemocc_dask.settings import GenerationConfig

MAX_TOKENS = "max_tokens"
"""Name of the bound of an answer in keys, and on the wire until an endpoint asks for another."""

SAMPLING_FIELDS = tuple(name for name in GenerationConfig.model_fields if name != "extra_kwargs")
"""Settings that reach the wire under their own names."""

REQUEST_KEY_CHARACTERS = 32
"""128 bits of SHA-256: among 10^12 requests two share a key with a chance below 10^-14."""


class Bodies:
    """Bodies and keys of requests to one model; what successive requests have in common is encoded once.

    For one thread at a time.

    >>> from nemocc_dask.llm.results import Message
    >>> request = ChatRequest((Message("user", "Hi"),), GenerationConfig(temperature=0.5, top_p=None, seed=None))
    >>> Bodies("m").body(request, asked_of(request))
    b'{"model":"m","n":1,"temperature":0.5,"messages":[{"role":"user","content":"Hi"}]}'
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._settings: tuple[GenerationConfig | None, int, str] = (None, 0, "")
        self._settings_json = b""
        self._hashed: tuple[GenerationConfig | None, int] = (None, 0)
        self._hashers: list[Any] = []

    def body(self, request: ChatRequest, asked: bytes, max_tokens_field: str = MAX_TOKENS) -> bytes:
        """The body of the HTTP request: model, every sampling field that is not None, and what is `asked`."""
        if not _is_same(self._settings, (request.sampling, request.sample, max_tokens_field)):
            self._settings = (request.sampling, request.sample, max_tokens_field)
            self._settings_json = to_json(self._fields(request.sampling, request.sample, max_tokens_field))[:-1]
        return self._settings_json + b"," + asked + b"}"

    def keys(self, request: ChatRequest, asked: bytes) -> list[str]:
        """Identity of each answer to a request: 32 hexadecimal characters, the same on every host.

        ::

            SHA-256(settings + newline + messages)

        settings: JSON, sorted by name, of the model, the sampling as it would be sent for that one answer alone (so `n`
        is left out and the seed is that answer's own) and the number of the sample: an answer got with n=1 is found
        again when n=3 is asked for later. Neither the endpoint's address nor the key has a part in it.
        """
        if not _is_same(self._hashed, (request.sampling, request.sample)):
            self._hashed = (request.sampling, request.sample)
            samples = range(request.sample, request.sample + request.sampling.n)
            self._hashers = [self._hasher(request.sampling, sample) for sample in samples]
        return [_key(hasher, asked) for hasher in self._hashers]

    def _fields(self, sampling: GenerationConfig, sample: int, max_tokens_field: str) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": self._model}
        fields.update((name, value) for name in SAMPLING_FIELDS if (value := getattr(sampling, name)) is not None)
        if sampling.seed is not None:
            fields["seed"] = sampling.seed + sample
        if sampling.stop is not None:
            fields["stop"] = list(sampling.stop)
        if max_tokens_field != MAX_TOKENS and MAX_TOKENS in fields:
            fields[max_tokens_field] = fields.pop(MAX_TOKENS)
        return fields | sampling.extra_kwargs

    def _hasher(self, sampling: GenerationConfig, sample: int) -> Any:
        fields = self._fields(sampling, sample, MAX_TOKENS)
        fields.pop("n", None)
        return hashlib.sha256(to_json({"sample": sample, "request": fields}, sort_keys=True) + b"\n")


def _is_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Identity of the first, equality of the rest: comparing settings field by field would cost more than it saves."""
    return one[0] is other[0] and one[1:] == other[1:]


def _key(hasher: Any, asked: bytes) -> str:
    whole = hasher.copy()
    whole.update(asked)
    return str(whole.hexdigest()[:REQUEST_KEY_CHARACTERS])


def asked_of(request: ChatRequest) -> bytes:
    """What a request asks, however it is sampled: its messages or its prompt, as a field of a JSON object."""
    if request.prompt is not None:
        return b'"prompt":' + json.dumps(request.prompt).encode()
    turns = (f'{{"role":{json.dumps(role)},"content":{json.dumps(content)}}}' for role, content in request.messages)
    return f'"messages":[{",".join(turns)}]'.encode()


def request_body(model: str, request: ChatRequest) -> dict[str, Any]:
    """The fields of the HTTP body, as a dictionary.

    The seed on the wire is `sampling.seed + sample`; no seed stays no seed.

    >>> from nemocc_dask.llm.results import Message
    >>> sampling = GenerationConfig(seed=7, stop="END", temperature=None, top_p=None, extra_kwargs={"a": 1})
    >>> body = request_body("m", ChatRequest((Message("user", "Hi"),), sampling, sample=2))
    >>> body == {"model": "m", "messages": [{"role": "user", "content": "Hi"}],
    ...          "n": 1, "seed": 9, "stop": ["END"], "a": 1}
    True
    """
    return dict(json.loads(Bodies(model).body(request, asked_of(request))))


def request_key(model: str, request: ChatRequest, choice: int = 0) -> str:
    """Identity of answer number `choice` of a request; see `Bodies.keys`.

    >>> from nemocc_dask.llm.results import Message
    >>> request = ChatRequest((Message("user", "Hi"),), GenerationConfig())
    >>> request_key("m", request) == request_key("other", request)
    False
    """
    return Bodies(model).keys(request, asked_of(request))[choice]


def to_json(fields: dict[str, Any], *, sort_keys: bool = False) -> bytes:
    """JSON in ASCII, without spaces; half a surrogate pair in a text is written as an escape and harms
    nothing.

    Raises `SettingError` where `extra_kwargs`, the only fields of unknown type, hold what JSON cannot.
    """
    try:
        return json.dumps(fields, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingError(
            f"GenerationConfig: extra_kwargs cannot be written as JSON: {error}. "
            "Use strings, finite numbers, booleans, None, lists and dictionaries with string keys."
        ) from None
