"""The request engine: many chat requests to one OpenAI-compatible endpoint, each answered or failed, none
lost.

`answer_all` is the way in; `check_endpoint` comes before the first request. `wire` is the protocol's JSON,
`retry` what may be tried again and when, `limits` the places on the wire, `access` address and key, `client`
one request, `check` the look before the first one, `runtime` the one loop of a process.
"""

from nemocc_dask.llm.limits import Slots
from nemocc_dask.llm.results import Answer, Answers, ChatRequest, Failure, Message, Results
from nemocc_dask.llm.runtime import answer_all, check_endpoint, close_runtime
from nemocc_dask.llm.wire import request_body, request_key

__all__ = [
    "Answer",
    "Answers",
    "ChatRequest",
    "Failure",
    "Message",
    "Results",
    "Slots",
    "answer_all",
    "check_endpoint",
    "close_runtime",
    "request_body",
    "request_key",
]
