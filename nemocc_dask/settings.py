"""Where requests go, how answers are sampled, what a job is: frozen, validated, picklable values with no secret inside.

`Endpoint` holds the *name* of an environment variable; the key itself is read where a request is sent, so it is in no
graph, no pickle and no report.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nemocc_dask.errors import SettingError, did_you_mean

DEFAULT_TEMPERATURE = 0.5
"""Sampling temperature of the published Nemotron-CC recipe."""
DEFAULT_TOP_P = 0.9
"""Nucleus mass of the published Nemotron-CC recipe."""

Positive = Annotated[int, Field(gt=0)]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Nucleus = Annotated[float, Field(gt=0, le=1)]
Stop = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """A frozen record whose errors are `SettingError`s that name the setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingError(_first_complaint(type(self), error)) from None

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Equal settings give Dask tasks equal names."""
        return type(self).__qualname__, self.model_dump_json()

    def replace(self, **changes: Any) -> Self:
        """The same settings with some of them changed, validated again.

        >>> GenerationConfig(seed=1).replace(n=2).n
        2
        """
        return type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})


def _first_complaint(settings: type[BaseModel], error: ValidationError) -> str:
    complaint = error.errors()[0]
    name = ".".join(map(str, complaint["loc"]))
    if complaint["type"] == "extra_forbidden":
        known = settings.model_fields
        return f"{settings.__name__} has no setting {name!r}.{did_you_mean(name, known)} It has: {', '.join(known)}."
    if not name:
        return f"{settings.__name__}: {complaint['msg'].removeprefix('Value error, ')}"
    if complaint["type"] == "missing":
        return f"{settings.__name__} needs the setting {name!r} (--{name.replace('_', '-')} on the command line)."
    why = complaint["msg"].removeprefix("Value error, ").replace("Input should be", "it has to be")
    return f"{settings.__name__}: setting {name!r} is {complaint['input']!r}, which cannot be: {why}."


class GenerationConfig(Settings):
    """How answers are sampled. Every field that is not None reaches the wire under its own name.

    max_tokens: most tokens of one answer; None asks for the task's own `max_output_tokens`. A job, and `synthesize`,
        then keep answers up to it, less 2; `postprocess` by itself goes by the task.
    n: answers per prompt, each a row of its own.
    seed: seed of sampling and of every random choice the run makes for a row; None sends none.
    stop: one string or several at which an answer ends.
    temperature, top_p: the recipe's 0.5 and 0.9; None leaves them to the endpoint.
    top_k: None leaves it to the endpoint (it is no field of OpenAI's own service).
    extra_kwargs: further fields of the request body, sent as they are.

    Raises `SettingError` where a value has no meaning.

    >>> GenerationConfig(n=2).temperature
    0.5
    """

    max_tokens: Positive | None = None
    n: Positive = 1
    seed: int | None = 0
    stop: tuple[Stop, ...] | None = None
    temperature: Temperature | None = DEFAULT_TEMPERATURE
    top_k: int | None = None
    top_p: Nucleus | None = DEFAULT_TOP_P
    extra_kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_string_is_a_list_of_one(cls, stop: Any) -> Any:
        return ((stop,) if isinstance(stop, str) else stop) or None

    @field_validator("extra_kwargs")
    @classmethod
    def _no_field_twice(cls, extra_kwargs: dict[str, Any]) -> dict[str, Any]:
        taken = {"model", "messages", "stream", *cls.model_fields} & extra_kwargs.keys()
        if taken:
            raise ValueError(
                f"{', '.join(sorted(taken))} cannot be among them: say it by its own setting, or not at all"
            )
        return extra_kwargs


class Endpoint(Settings):
    """One OpenAI-compatible endpoint and how hard it may be driven.

    base_url: address up to and including the version, such as ``http://localhost:8000/v1``.
    model: name the endpoint knows the model by.
    api_key_env: name of the environment variable that holds the key; None sends no key.
    max_concurrent_requests: most requests on the wire at once.
    max_retries: times one request is sent again, at most.
    base_delay, max_delay: seconds before the first retry, and the most before any.
    retry_for: seconds after a request's first attempt beyond which it is not sent again.
    timeout: seconds one attempt may take.

    Raises `SettingError` where a value has no meaning.

    >>> Endpoint(base_url="http://localhost:8000/v1/", model="m").base_url
    'http://localhost:8000/v1'
    """

    base_url: str
    model: Annotated[str, Field(min_length=1)]
    api_key_env: str | None = None
    max_concurrent_requests: Positive = 64
    max_retries: Annotated[int, Field(ge=0)] = 5
    base_delay: Seconds = 1.0
    max_delay: Seconds = 60.0
    retry_for: Seconds = 600.0
    timeout: Seconds = 300.0

    @field_validator("base_url")
    @classmethod
    def _an_http_address(cls, base_url: str) -> str:
        if not re.match(r"https?://[^/]", base_url):
            raise ValueError("it has to start with http:// or https://, such as http://localhost:8000/v1")
        return base_url.rstrip("/")


Fraction = Annotated[float, Field(ge=0, le=1)]


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
    high_above: Annotated[float, Field(description="Scores above it take the high-quality route.")] = 11
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
        tuple[str, ...], Field(description="Address of the endpoint, such as http://localhost:8000/v1.")
    ]
    model: Annotated[str, Field(min_length=1, description="Name the endpoint knows the model by.")]
    api_key_env: Annotated[str | None, Field(description="Name of the environment variable that holds the key.")] = None
    tokenizer: Annotated[
        str | None, Field(description="Hub name, folder or tokenizer.json; default: Mistral NeMo's.")
    ] = None
    max_concurrent_requests: Annotated[Positive, Field(description="Most requests at once, all workers together.")] = 64
    max_retries: Annotated[int, Field(ge=0, description="Times a request is sent again, at most.")] = 5
    base_delay: Annotated[Seconds, Field(description="Seconds before the first retry; doubles with each.")] = 1.0
    timeout: Annotated[Seconds, Field(description="Seconds one request may take.")] = 300.0
    temperature: Annotated[Temperature | None, Field(description="Sampling temperature.")] = DEFAULT_TEMPERATURE
    top_p: Annotated[Nucleus | None, Field(description="Nucleus mass.")] = DEFAULT_TOP_P
    top_k: Annotated[int | None, Field(description="Most likely tokens to draw from; default: the endpoint's.")] = None
    seed: Annotated[int | None, Field(description="Seed of sampling and of every choice the run makes.")] = 0
    max_tokens: Annotated[Positive | None, Field(description="Most tokens of an answer; default: each task's own.")] = (
        None
    )
    stop: Annotated[tuple[Stop, ...], Field(description="String at which an answer ends; repeatable.")] = ()
    n: Annotated[Positive, Field(description="Answers per prompt, each a row.")] = 1
    extra_kwargs: Annotated[dict[str, Any], Field(description="Further fields of each request, as JSON.")] = Field(
        default_factory=dict
    )
    workers: Annotated[Positive, Field(description="Worker processes; 1 works in this process.")] = 1
    threads_per_worker: Annotated[Positive, Field(description="Partitions a worker has in hand at once.")] = 4
    scheduler: Annotated[str | None, Field(description="Address of a running Dask scheduler to use instead.")] = None
    scheduler_file: Annotated[str | None, Field(description="Scheduler file of a running Dask cluster.")] = None
    rows_per_partition: Annotated[Positive, Field(description="Documents per partition, about.")] = 500
    output_format: Annotated[Literal["parquet", "jsonl"], Field(description="Format of the shards.")] = "parquet"
    overlong: Annotated[
        Literal["split", "drop"], Field(description="What becomes of a line too long for a prompt.")
    ] = "split"
    max_failed_fraction: Annotated[
        Fraction, Field(description="Fraction of failed rows beyond which the exit code is 3.")
    ] = 0.01

    @field_validator("input", "task", "task_file", "languages", "base_url", "stop", "columns", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, values: Any) -> Any:
        if values is None or isinstance(values, (tuple, list)):
            return values
        return (values,)

    @model_validator(mode="after")
    def _has_something_to_do(self) -> Self:
        if not self.input and not self.samples:
            raise ValueError("there is nothing to do: give --input, or --samples for multilingual Q&A.")
        if len(self.base_url) != 1:
            raise ValueError(
                f"give --base-url once: {len(self.base_url)} were given, and requests are not yet shared out."
            )
        if self.languages and not self.samples:
            raise ValueError("languages are those of samples made from nothing: say how many with --samples.")
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise ValueError(f"min_score {self.min_score} is above max_score {self.max_score}, which no score meets.")
        if self.scheduler and self.scheduler_file:
            raise ValueError("give --scheduler or --scheduler-file, not both.")
        return self

    def endpoint(self) -> Endpoint:
        """Where this job's requests go."""
        return Endpoint(
            base_url=self.base_url[0],
            model=self.model,
            api_key_env=self.api_key_env,
            max_concurrent_requests=self.max_concurrent_requests,
            max_retries=self.max_retries,
            base_delay=self.base_delay,
            timeout=self.timeout,
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
            extra_kwargs=self.extra_kwargs,
        )
