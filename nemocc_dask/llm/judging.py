"""What an attempt comes to: what it says of the server, answers or failures as rows, or the error that stops a job."""

from __future__ import annotations

from nemocc_dask.errors import EndpointRefusedError
from nemocc_dask.llm.access import Access
from nemocc_dask.llm.gate import Verdict
from nemocc_dask.llm.reply import Reply
from nemocc_dask.llm.results import Answer, ChatRequest, Failure
from nemocc_dask.llm.retry import Trouble
from nemocc_dask.settings import FROM_ENVIRONMENT, Endpoint

REFUSALS = {
    401: "Check the key: {key_source}.",
    403: "Check that the key ({key_source}) may use this model.",
    404: "Check the address (most end in /v1) and the model's name.",
    **dict.fromkeys((301, 302, 303, 307, 308), "It sends its callers elsewhere: give that address instead."),
}
"""Statuses that every request would meet alike, and what to do about each."""

VERDICTS: dict[int | str, Verdict] = {
    **dict.fromkeys((429, 503, 529), Verdict.CROWDED),
    **dict.fromkeys((502, 504), Verdict.DOWN),
    **dict.fromkeys(("connection", "timeout"), Verdict.DOWN),
    **dict.fromkeys((408, 425, 500), Verdict.BROKEN),
    "bad_body": Verdict.BROKEN,
}
"""Status, or reason where there was none → what an attempt says of the server. Whatever is not here, it answered."""

TOO_LONG = "context_length_exceeded"
"""The `error.code` by which an endpoint says that a prompt and its answer do not fit the model."""
CONTEXT_LENGTH = "context_length"
UNKNOWN_MODEL = "model_not_found"
"""The `error.code` by which an endpoint disowns a model, whatever the status."""
NEWER_MAX_TOKENS = "max_completion_tokens"

INVALID = (400, 422)
"""Statuses of a request that the endpoint does not take as it is."""
SIZE_MATTERS = (*INVALID, 413)


def verdict_on(reply: Reply | Trouble) -> Verdict:
    """What an attempt says of the server.

    >>> verdict_on(Trouble("http_429", 429, "")), verdict_on(Trouble("timeout", None, ""))
    (<Verdict.CROWDED: 'crowded'>, <Verdict.DOWN: 'down'>)
    """
    if isinstance(reply, Reply):
        return Verdict.ANSWERED
    return VERDICTS.get(reply.reason if reply.status is None else reply.status) or VERDICTS.get(
        reply.reason, Verdict.ANSWERED
    )


def failures_of(asked: ChatRequest, trouble: Trouble, detail: str, attempts: int, latency_s: float) -> list[Failure]:
    """One for each answer that was asked for. detail: the endpoint's words, scrubbed."""
    if trouble.status in SIZE_MATTERS:
        detail += f" [{_size(asked)}]"
    samples = range(asked.sample, asked.sample + asked.sampling.n)
    return [Failure(trouble.reason, trouble.status, detail, attempts, latency_s, sample) for sample in samples]


def _size(asked: ChatRequest) -> str:
    characters = len(asked.prompt or "") or sum(len(content) for _, content in asked.messages)
    bound = asked.sampling.max_tokens
    return f"a prompt of {characters:,} characters" + (f", for up to {bound:,} tokens" if bound else "")


def answers_of(asked: ChatRequest, reply: Reply, model: str, attempts: int, latency_s: float) -> list[Answer]:
    """One for each choice, no more than were asked for; the first has the usage of all of them."""
    usage = [(reply.prompt_tokens, reply.completion_tokens, reply.reasoning_tokens)]
    others = (_none_or_zero(reply.prompt_tokens), _none_or_zero(reply.completion_tokens), None)
    usage += [others] * (len(reply.choices) - 1)
    return [
        Answer(
            text=choice.text,
            finish_reason=choice.finish_reason,
            model=reply.model or model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            attempts=attempts,
            latency_s=latency_s,
            sample=asked.sample + i,
            reasoning=choice.reasoning,
            reasoning_tokens=reasoning_tokens,
        )
        for i, (choice, (prompt_tokens, completion_tokens, reasoning_tokens)) in enumerate(
            zip(reply.choices[: asked.sampling.n], usage, strict=False)
        )
    ]


def _none_or_zero(tokens: int | None) -> int | None:
    return None if tokens is None else 0


def refused(access: Access, status: int, words: str) -> EndpointRefusedError:
    """The error that stops a job: address, model, status, the endpoint's own words, and what to do."""
    endpoint = access.endpoint
    remedy = REFUSALS.get(status, REFUSALS[404]).format(key_source=_key_source(endpoint))
    return EndpointRefusedError(
        f"The endpoint {access.base_url} refuses requests for the model {endpoint.model!r} "
        f"(HTTP {status}): {access.scrub(words) or 'no reason given'!r}. {remedy}"
    )


def _key_source(endpoint: Endpoint) -> str:
    named = (value for value in endpoint.headers.values() if value.startswith(FROM_ENVIRONMENT))
    variables = [*filter(None, [endpoint.api_key_env]), *(value.removeprefix(FROM_ENVIRONMENT) for value in named)]
    if not variables:
        return "none was sent; api_key_env names its variable"
    return f"environment variable{'s' * (len(variables) > 1)} {', '.join(variables)}"
