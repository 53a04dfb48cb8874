"""The request engine: requests to OpenAI-compatible endpoints, each answered or failed, none lost, none paid twice.

`answer_all` is the way in; `check_endpoint` comes before the first request. `body` and `reply` are the protocol's JSON,
`retry` what may be tried again and when, `gate` who goes on the wire, where and when (`rates`, `adaptive` and `health`
are what it goes by), `access` addresses and keys, `client` one request, `judging` what comes of it, `batch` those of
one call, `broker` and `share` keep one limit over many processes, `claims` and `store` keep an answer from being paid
twice, `check` is the look before the first request, `metrics` what a watcher may read, `runtime` the one loop of a
process (`collector` keeps the garbage collector out of its way).
"""

from nemocc_dask.llm.batch import Memory, OnResult
from nemocc_dask.llm.body import request_body, request_key
from nemocc_dask.llm.broker import Broker
from nemocc_dask.llm.metrics import asked_of_model
from nemocc_dask.llm.results import (
    Answer,
    Answers,
    ChatRequest,
    Failure,
    Flaw,
    Message,
    Results,
    ShouldStop,
    Stop,
    counts_in,
)
from nemocc_dask.llm.runtime import SharedLimits, answer_all, check_endpoint, close_runtime
from nemocc_dask.llm.share import Grant, Usage
from nemocc_dask.llm.store import Attempt, Spent, Store

__all__ = [
    "Answer",
    "Answers",
    "Attempt",
    "Broker",
    "ChatRequest",
    "Failure",
    "Flaw",
    "Grant",
    "Memory",
    "Message",
    "OnResult",
    "Results",
    "SharedLimits",
    "ShouldStop",
    "Spent",
    "Stop",
    "Store",
    "Usage",
    "answer_all",
    "asked_of_model",
    "check_endpoint",
    "close_runtime",
    "counts_in",
    "request_body",
    "request_key",
]
