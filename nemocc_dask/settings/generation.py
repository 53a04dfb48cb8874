"""How answers are sampled."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, field_validator

from nemocc_dask.settings.base import Positive, Settings
from nemocc_dask.settings.formats import check_of

DEFAULT_TEMPERATURE = 0.5
"""Sampling temperature of the published Nemotron-CC recipe."""
DEFAULT_TOP_P = 0.9
"""Nucleus mass of the published Nemotron-CC recipe."""

Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Nucleus = Annotated[float, Field(gt=0, le=1)]
Stop = Annotated[str, Field(min_length=1)]


class GenerationConfig(Settings):
    """How answers are sampled. Every field that is not None reaches the wire under its own name.

    max_tokens: most tokens of one answer; None asks for the task's own `max_output_tokens`. A job, and `synthesize`,
        then keep answers up to it, less 2; `postprocess` by itself goes by the task.
    n: answers per prompt, each a row of its own.
    seed: seed of sampling and of every random choice the run makes for a row; None sends none.
    stop: one string or several at which an answer ends.
    temperature, top_p: the recipe's 0.5 and 0.9; None leaves them to the endpoint.
    top_k: None leaves it to the endpoint (it is no field of OpenAI's own service).
    response_format: what the endpoint is to hold answers to, as OpenAI words it; sent as it is. Where it is
        ``{"type": "json_object"}`` or ``{"type": "json_schema", ...}``, answers are checked against it here too, and
        rejected as ``wrong_format`` where they are not that.
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
    response_format: dict[str, Any] | None = None
    extra_kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_string_is_a_list_of_one(cls, stop: Any) -> Any:
        return ((stop,) if isinstance(stop, str) else stop) or None

    @field_validator("response_format")
    @classmethod
    def _can_be_checked(cls, response_format: dict[str, Any] | None) -> dict[str, Any] | None:
        if response_format is not None:
            _check_json(response_format)
            check_of(response_format)
        return response_format

    @field_validator("extra_kwargs")
    @classmethod
    def _no_field_twice(cls, extra_kwargs: dict[str, Any]) -> dict[str, Any]:
        taken = {
            "model",
            "messages",
            "prompt",
            "stream",
            "max_completion_tokens",
            *cls.model_fields,
        } & extra_kwargs.keys()
        if taken:
            raise ValueError(
                f"{', '.join(sorted(taken))} cannot be among them: say it by its own setting, or not at all"
            )
        return extra_kwargs


def _check_json(value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from None
