"""The names of the columns, each written once, and the dtypes of those that this package makes."""

from __future__ import annotations

ID = "id"
TEXT = "text"
QUALITY_SCORE = "quality_score"
LANGUAGE = "language"

SEGMENT_ID = "segment_id"
"""int64. Position of a segment in its document; two segments are neighbours where these differ by exactly one."""

SAMPLE = "sample"
"""int64. Which of several answers to one prompt a row holds; in shards only where there are several."""

TASK = "task"
"""str. Whose result a row is, where one frame holds the results of several tasks."""

DOCUMENT_TOKENS = "document_token_count"
"""int64. Tokens of the whole document."""
SEGMENT_TOKENS = "segment_token_count"
"""int64. Tokens of the source text in this row."""
REPHRASED_SEGMENT_TOKENS = "rephrased_segment_token_count"
"""int64. Tokens of the answer as the endpoint gave it; the sum where a row joins several."""
REPHRASED_DOCUMENT_TOKENS = "rephrased_document_token_count"
"""int64. Tokens of the result in this row."""
TOKEN_COUNTS = (DOCUMENT_TOKENS, SEGMENT_TOKENS, REPHRASED_SEGMENT_TOKENS, REPHRASED_DOCUMENT_TOKENS)

TRAINING_TOKENS = "training_token_count"
"""int64. Tokens of the result by the tokenizer of the model to be trained; in shards only where one is named."""

REQUEST_ID = "request_id"
MODEL = "model"
FINISH_REASON = "finish_reason"
PROMPT_TOKENS = "prompt_tokens"
COMPLETION_TOKENS = "completion_tokens"
ATTEMPTS = "attempts"
LATENCY_S = "latency_s"

LEDGER = {
    REQUEST_ID: "string",
    MODEL: "string",
    FINISH_REASON: "string",
    PROMPT_TOKENS: "Int64",
    COMPLETION_TOKENS: "Int64",
    ATTEMPTS: "int64",
    LATENCY_S: "float64",
}
"""What each row's answer cost. Token counts are the endpoint's own and missing where it told none, hence nullable."""

STAGE = "stage"
REASON = "reason"
STATUS = "status"
DETAIL = "detail"
REJECT = {STAGE: "string", REASON: "string", STATUS: "Int64", DETAIL: "string"}
"""Why a row was dropped: `status` is the HTTP status where there was one, `detail` the endpoint's own words."""
