"""What a job is: every setting of `run`, on the command line, in a job file and in Python alike."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nemocc_dask.settings.base import Fraction, Positive, Price, Seconds, Settings
from nemocc_dask.settings.endpoint import Api, Endpoint, Weight
from nemocc_dask.settings.generation import (
    DEFAULT_TEMPERATURE,
    DEFAULT_TOP_P,
    GenerationConfig,
    Nucleus,
    Stop,
    Temperature,
)
from nemocc_dask.settings.prices import Prices, price_of

HIGH_ABOVE = 11
"""Scores are buckets 0-19; above this one a document is of high quality."""

MAX_DOCUMENT_BYTES = 16 * 2**20
"""A larger document is more likely a file that nobody cut into documents; its work takes several times its memory."""


ROWS_PER_PARTITION = 1000
"""Each step on a partition has a price of its own, about ten milliseconds in all; twice as many rows halve it. More
would keep results from sight for longer."""


class Job(Settings):
    """One run from files to files. The field names are those of the command line, and the keys of a job file.

    Each field's meaning stands in its description (``Job.model_fields["input"].description``) and in ``run --help``.
    Raises `SettingError` where a value has no meaning, or two contradict each other.

    >>> Job(output="out", samples=10, base_url="http://localhost:8000/v1", model="m").endpoint().max_concurrent_requests
    64
    """

    input: Annotated[
        tuple[str, ...],
        Field(description="Parquet or JSONL file, folder or glob (in quotes), any fsspec URL; repeatable."),
    ] = ()
    output: Annotated[str, Field(min_length=1, description="Folder the run leaves its files in.")]
    task: Annotated[
        tuple[Any, ...], Field(description="Task to run on every document, repeatable; none: the two quality routes.")
    ] = ()
    task_file: Annotated[
        tuple[str, ...],
        Field(description="TOML file of a task of your own, repeatable; it runs unless --task names others."),
    ] = ()
    score_field: Annotated[str, Field(description="Column that holds the quality score.")] = "quality_score"
    high_above: Annotated[float, Field(description="Scores above it take the high-quality route.")] = HIGH_ABOVE
    min_score: Annotated[float | None, Field(description="Keep only documents with at least this score.")] = None
    max_score: Annotated[float | None, Field(description="Keep only documents with at most this score.")] = None
    samples: Annotated[int, Field(ge=0, description="Rows of multilingual Q&A to make; they need no input.")] = 0
    languages: Annotated[
        tuple[str, ...], Field(description="English names of their languages, with commas between.")
    ] = ()
    require_language_code: Annotated[bool, Field(description="Reject answers without the code of their language.")] = (
        False
    )
    text_field: Annotated[str, Field(description="Column that holds the text.")] = "text"
    id_field: Annotated[str, Field(description="Column that tells documents apart.")] = "id"
    columns: Annotated[
        tuple[str, ...] | None,
        Field(description="Other input columns to carry along, with commas between; default: all."),
    ] = None
    base_url: Annotated[
        tuple[str, ...],
        Field(
            description="Address of the endpoint, such as http://localhost:8000/v1; several serve one model together."
        ),
    ]
    weight: Annotated[
        tuple[Weight, ...], Field(description="Share of the load for each --base-url, in their order; default: even.")
    ] = ()
    model: Annotated[str, Field(min_length=1, description="Name the endpoint knows the model by.")]
    api_key_env: Annotated[str | None, Field(description="Name of the environment variable that holds the key.")] = None
    api: Annotated[Api, Field(description="Protocol: chat, or completions with the chat template rendered here.")] = (
        "chat"
    )
    header: Annotated[
        tuple[str, ...],
        Field(
            description="Further header of each request, NAME=VALUE; env:NAME as a value reads it there; repeatable."
        ),
    ] = ()
    tokenizer: Annotated[
        str | None, Field(description="Hub name, folder or tokenizer.json; default: Mistral NeMo's.")
    ] = None
    count_with: Annotated[
        str | None,
        Field(description="Tokenizer of the model to be trained: counts every result into training_token_count."),
    ] = None
    max_document_bytes: Annotated[Positive, Field(description="Larger documents are rejected, in bytes of UTF-8.")] = (
        MAX_DOCUMENT_BYTES
    )
    max_concurrent_requests: Annotated[Positive, Field(description="Most requests at once, all workers together.")] = 64
    fixed_concurrency: Annotated[
        bool, Field(description="Keep that many in flight, whatever refusals and latencies say.")
    ] = False
    requests_per_minute: Annotated[Positive | None, Field(description="Most requests a minute; default: no limit.")] = (
        None
    )
    tokens_per_minute: Annotated[
        Positive | None, Field(description="Most tokens a minute, prompts and answers; default: no limit.")
    ] = None
    max_retries: Annotated[int, Field(ge=0, description="Times a request is sent again, at most.")] = 5
    base_delay: Annotated[Seconds, Field(description="Seconds before the first retry; doubles with each.")] = 1.0
    timeout: Annotated[Seconds, Field(description="Seconds one request may take.")] = 300.0
    down_after: Annotated[Seconds, Field(description="Seconds of nothing but failures after which the job stops.")] = (
        60.0
    )
    price_input: Annotated[Price | None, Field(description="Price of a million tokens of prompts.")] = None
    price_output: Annotated[Price | None, Field(description="Price of a million tokens of answers.")] = None
    max_cost: Annotated[
        Price | None,
        Field(
            description="Stop, resumable, when the run has cost so much; a token is 4 characters where none are told."
        ),
    ] = None
    max_tokens_total: Annotated[
        Positive | None,
        Field(description="Stop, resumable, when the run has taken so many tokens, both ways; estimated likewise."),
    ] = None
    retry_failed: Annotated[bool, Field(description="Ask again for the rows of this run that failed.")] = False
    retry_empty: Annotated[bool, Field(description="Ask, and pay, again where an answer came empty.")] = False
    retry_truncated: Annotated[bool, Field(description="Ask, and pay, again where an answer was cut off.")] = False
    yes: Annotated[
        bool, Field(description="Go ahead where changed settings mean to pay again, or to replace results.")
    ] = False
    temperature: Annotated[Temperature | None, Field(description="Sampling temperature.")] = DEFAULT_TEMPERATURE
    top_p: Annotated[Nucleus | None, Field(description="Nucleus mass.")] = DEFAULT_TOP_P
    top_k: Annotated[int | None, Field(description="Most likely tokens to draw from; default: the endpoint's.")] = None
    seed: Annotated[int | None, Field(description="Seed of sampling and of every choice the run makes.")] = 0
    max_tokens: Annotated[Positive | None, Field(description="Most tokens of an answer; default: each task's own.")] = (
        None
    )
    stop: Annotated[tuple[Stop, ...], Field(description="String at which an answer ends; repeatable.")] = ()
    n: Annotated[Positive, Field(description="Answers per prompt, each a row.")] = 1
    response_format: Annotated[
        dict[str, Any] | None,
        Field(description="What answers have to be, as JSON in OpenAI's words; checked here too."),
    ] = None
    extra_kwargs: Annotated[dict[str, Any], Field(description="Further fields of each request, as JSON.")] = Field(
        default_factory=dict
    )
    workers: Annotated[Positive, Field(description="Worker processes; 1 works in this process.")] = 1
    threads_per_worker: Annotated[Positive, Field(description="Partitions a worker has in hand at once.")] = 4
    gpu: Annotated[
        bool, Field(description="Keep text on GPUs, with cuDF: a worker for each of this machine, or a cluster's.")
    ] = False
    scheduler: Annotated[str | None, Field(description="Address of a running Dask scheduler to use instead.")] = None
    scheduler_file: Annotated[str | None, Field(description="Scheduler file of a running Dask cluster.")] = None
    rows_per_partition: Annotated[Positive, Field(description="Documents per partition, about.")] = ROWS_PER_PARTITION
    output_format: Annotated[Literal["parquet", "jsonl"], Field(description="Format of the shards.")] = "parquet"
    overlong: Annotated[
        Literal["split", "drop"], Field(description="What becomes of a line too long for a prompt.")
    ] = "split"
    max_failed_fraction: Annotated[
        Fraction, Field(description="Fraction of failed rows beyond which the exit code is 3.")
    ] = 0.01

    @field_validator(
        "input", "task", "task_file", "languages", "base_url", "weight", "header", "stop", "columns", mode="before"
    )
    @classmethod
    def _one_is_a_list_of_one(cls, values: Any) -> Any:
        if values is None or isinstance(values, (tuple, list)):
            return values
        return (values,)

    @model_validator(mode="after")
    def _has_something_to_do(self) -> Self:
        if not self.input and not self.samples:
            raise ValueError("there is nothing to do: give --input, or --samples for multilingual Q&A.")
        if self.languages and not self.samples:
            raise ValueError("languages are those of samples made from nothing: say how many with --samples.")
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise ValueError(f"min_score {self.min_score} is above max_score {self.max_score}, which no score meets.")
        if self.high_above != HIGH_ABOVE and (self.task or self.task_file):
            raise ValueError(
                "high_above divides documents among the quality routes, and --task gives every document to the tasks "
                "named: drop one of them, or keep documents by score with --min-score."
            )
        return self

    @model_validator(mode="after")
    def _knows_where_to_run(self) -> Self:
        if self.scheduler and self.scheduler_file:
            raise ValueError("give --scheduler or --scheduler-file, not both.")
        if self.gpu and self.workers > 1:
            raise ValueError("with --gpu there is a worker for each GPU; CUDA_VISIBLE_DEVICES says which are used.")
        return self

    @model_validator(mode="after")
    def _knows_its_prices(self) -> Self:
        if (self.price_input is None) != (self.price_output is None):
            raise ValueError("give --price-input and --price-output, or neither.")
        if self.max_cost is not None and self.prices() is None:
            raise ValueError(
                f"max_cost cannot be held: the price of {self.model!r} is not known. "
                "Give --price-input and --price-output."
            )
        return self

    @model_validator(mode="after")
    def _speaks_to_the_endpoint(self) -> Self:
        if self.api == "completions" and self.tokenizer is None:
            raise ValueError(
                "api 'completions' needs the tokenizer of the model: its chat template makes a prompt of the messages. "
                "Name it with --tokenizer."
            )
        for header in self.header:
            if "=" not in header:
                raise ValueError("a header has to be NAME=VALUE, such as X-Team=blue or api-key=env:MY_KEY.")
        return self

    @model_validator(mode="after")
    def _is_made_of_settings(self) -> Self:
        self.endpoint()
        self.generation()
        return self

    def prices(self) -> Prices | None:
        """What the model's tokens cost, where that is known."""
        return price_of(self.model, self.price_input, self.price_output)

    def endpoint(self) -> Endpoint:
        """Where this job's requests go."""
        return Endpoint(
            base_url=self.base_url,
            weights=self.weight,
            model=self.model,
            api=self.api,
            api_key_env=self.api_key_env,
            headers=dict(header.split("=", 1) for header in self.header),
            max_concurrent_requests=self.max_concurrent_requests,
            fixed_concurrency=self.fixed_concurrency,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            max_retries=self.max_retries,
            base_delay=self.base_delay,
            timeout=self.timeout,
            down_after=self.down_after,
        )

    def generation(self) -> GenerationConfig:
        """How this job's answers are sampled."""
        return GenerationConfig(
            max_tokens=self.max_tokens,
            n=self.n,
            seed=self.seed,
            stop=self.stop or None,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            response_format=self.response_format,
            extra_kwargs=self.extra_kwargs,
        )
