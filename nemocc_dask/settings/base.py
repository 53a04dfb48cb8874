"""What all settings have in common: frozen records whose errors name the setting, and the numbers they hold."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nemocc_dask.errors import SettingError, did_you_mean

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""US dollars, or whatever the user counts in."""

NOT_REPEATED = {"api_key_env", "header", "headers"}
"""Settings whose values no error repeats: somebody may have put a secret there."""

REPEATED_CHARACTERS = 200
"""Most of a value that an error repeats."""


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

        >>> from nemocc_dask.settings import GenerationConfig
        >>> GenerationConfig(seed=1).replace(n=2).n
        2
        """
        return type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})


def _first_complaint(settings: type[BaseModel], error: ValidationError) -> str:
    complaint = error.errors()[0]
    inner = complaint.get("ctx", {}).get("error")
    if isinstance(inner, SettingError):  # of settings that these are made of
        return str(inner)
    name = ".".join(map(str, complaint["loc"]))
    if complaint["type"] == "extra_forbidden":
        known = settings.model_fields
        return f"{settings.__name__} has no setting {name!r}.{did_you_mean(name, known)} It has: {', '.join(known)}."
    if not name:
        return f"{settings.__name__}: {complaint['msg'].removeprefix('Value error, ')}"
    if complaint["type"] == "missing":
        return f"{settings.__name__} needs the setting {name!r} (--{name.replace('_', '-')} on the command line)."
    why = complaint["msg"].removeprefix("Value error, ").replace("Input should be", "it has to be")
    given = "has a value" if NOT_REPEATED & set(complaint["loc"]) else f"is {_beginning(repr(complaint['input']))},"
    return f"{settings.__name__}: setting {name!r} {given} which cannot be: {why}."


def _beginning(words: str) -> str:
    return words if len(words) <= REPEATED_CHARACTERS else f"{words[:REPEATED_CHARACTERS]}..."
