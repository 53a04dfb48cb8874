"""Settings: frozen values that validate themselves, name what is wrong, and hold no secret."""

from __future__ import annotations

import pickle

import pytest
from dask.base import tokenize

from nemocc_dask.errors import CallerError, SettingError
from nemocc_dask.settings import Endpoint, GenerationConfig, Job

HERE = Endpoint(base_url="http://localhost:8000/v1", model="m")
SMALL = {"output": "out", "input": "corpus/*.parquet", "base_url": "http://localhost:8000/v1", "model": "m"}
SECRET = "sk-0123456789"


def test_the_recipes_sampling_is_the_default():
    """Nothing said means temperature 0.5 and top_p 0.9, one answer, seed 0, and each task's own max_tokens."""
    config = GenerationConfig()
    assert (config.temperature, config.top_p, config.n, config.seed) == (0.5, 0.9, 1, 0)
    assert config.max_tokens is None and config.top_k is None and config.stop is None


def test_one_stop_string_is_a_list_of_one():
    """A stop string is never taken apart into its letters."""
    assert GenerationConfig(stop="END").stop == ("END",)
    assert GenerationConfig(stop=["A", "B"]).stop == ("A", "B")


def test_an_address_loses_its_last_slash():
    """With or without a slash at its end an address is the same one."""
    assert Endpoint(base_url="http://localhost:8000/v1/", model="m") == HERE


WRONG = [
    (GenerationConfig, {"max_tokens": 0}, "max_tokens"),
    (GenerationConfig, {"n": 0}, "n"),
    (GenerationConfig, {"n": 1.5}, "n"),
    (GenerationConfig, {"temperature": -0.1}, "temperature"),
    (GenerationConfig, {"temperature": float("nan")}, "temperature"),
    (GenerationConfig, {"temperature": float("inf")}, "temperature"),
    (GenerationConfig, {"top_p": 0.0}, "top_p"),
    (GenerationConfig, {"top_p": 1.1}, "top_p"),
    (GenerationConfig, {"stop": 5}, "stop"),
    (GenerationConfig, {"stop": ""}, "stop"),
    (GenerationConfig, {"extra_kwargs": "x"}, "extra_kwargs"),
    (Endpoint, {"base_url": "localhost:8000", "model": "m"}, "base_url"),
    (Endpoint, {"base_url": "http://", "model": "m"}, "base_url"),
    (Endpoint, {"base_url": "http://h/v1", "model": ""}, "model"),
    (Endpoint, {"base_url": "http://h/v1", "model": "m", "max_concurrent_requests": 0}, "max_concurrent_requests"),
    (Endpoint, {"base_url": "http://h/v1", "model": "m", "max_retries": -1}, "max_retries"),
    (Endpoint, {"base_url": "http://h/v1", "model": "m", "timeout": 0}, "timeout"),
    (Endpoint, {"base_url": "http://h/v1", "model": "m", "timeout": float("inf")}, "timeout"),
    (Job, {**SMALL, "rows_per_partition": 0}, "rows_per_partition"),
    (Job, {**SMALL, "overlong": "shorten"}, "overlong"),
    (Job, {**SMALL, "output_format": "csv"}, "output_format"),
    (Job, {**SMALL, "max_failed_fraction": 1.5}, "max_failed_fraction"),
    (Job, {**SMALL, "samples": -1}, "samples"),
]


@pytest.mark.parametrize(("settings", "values", "name"), WRONG)
def test_a_value_without_meaning_is_refused_by_name(settings, values, name):
    """A wrong value is the caller's mistake, told in one line that names the setting."""
    with pytest.raises(SettingError, match=f"{settings.__name__}.*'{name}") as refusal:
        settings(**values)
    assert isinstance(refusal.value, ValueError) and isinstance(refusal.value, CallerError)
    assert "\n" not in str(refusal.value)


def test_a_setting_that_is_not_there_is_answered_with_those_that_are():
    """A misspelt setting is refused with the names there are; a missing one is named."""
    with pytest.raises(SettingError, match=r"no setting 'max_retry'. Did you mean 'max_retries'\? It has: base_url"):
        Endpoint(base_url="http://h/v1", model="m", max_retry=3)
    with pytest.raises(SettingError, match="needs the setting 'model'"):
        Endpoint(base_url="http://h/v1")


@pytest.mark.parametrize("settings", [HERE, GenerationConfig(), Job(**SMALL)], ids=lambda one: type(one).__name__)
def test_settings_are_frozen_and_by_keyword_only(settings):
    """A setting cannot be changed where it stands, nor be given by position."""
    with pytest.raises(ValueError, match="frozen"):
        settings.model = "other"
    with pytest.raises(TypeError, match="positional"):
        type(settings)("http://h/v1")


def test_replacing_validates_again():
    """A changed copy is checked as a new one is, and the first stays as it was."""
    assert HERE.replace(timeout=5).timeout == 5 and HERE.timeout == 300
    with pytest.raises(SettingError, match="'timeout'"):
        HERE.replace(timeout=-1)


@pytest.mark.parametrize("settings", [HERE, GenerationConfig(stop="x", extra_kwargs={"a": 1}), Job(**SMALL)])
def test_equal_settings_travel_and_name_tasks_alike(settings):
    """Settings pickle to equal ones, and equal ones give Dask tasks one name; another value, another name."""
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings and tokenize(again) == tokenize(settings)
    assert tokenize(Endpoint(base_url="http://h/v1", model="a")) != tokenize(
        Endpoint(base_url="http://h/v1", model="b")
    )


def test_no_secret_is_inside(monkeypatch):
    """Settings know the variable's name alone: the key is in no repr, no dump, no pickle and no Dask name."""
    monkeypatch.setenv("TEST_KEY", SECRET)
    for settings in (HERE.replace(api_key_env="TEST_KEY"), Job(**SMALL, api_key_env="TEST_KEY")):
        said = (repr(settings), str(settings), settings.model_dump_json(), repr(pickle.dumps(settings)))
        assert not any(SECRET in words for words in (*said, str(settings.__dask_tokenize__())))


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_a_job_hands_its_settings_on():
    """Endpoint and sampling of a job are what the job says, under the same names."""
    job = Job(
        **SMALL, max_retries=2, base_delay=0.5, timeout=9, max_concurrent_requests=7, api_key_env="K",
        temperature=0.1, top_p=0.2, top_k=3, seed=4, max_tokens=5, stop="END", n=6, extra_kwargs={"min_p": 0.1},
    )  # fmt: skip
    endpoint, config = job.endpoint(), job.generation()
    assert {name: getattr(endpoint, name) for name in ("max_retries", "base_delay", "timeout")} == {
        "max_retries": 2,
        "base_delay": 0.5,
        "timeout": 9,
    }
    assert (endpoint.base_url, endpoint.model, endpoint.api_key_env) == ("http://localhost:8000/v1", "m", "K")
    assert endpoint.max_concurrent_requests == 7
    for name, value in config.model_dump().items():
        assert value == getattr(job, name)


def test_a_job_takes_one_where_it_takes_several():
    """One input, task, language or address may be said without a list."""
    job = Job(**SMALL, task="distill", samples=1, languages="French")
    assert job.input == ("corpus/*.parquet",) and job.task == ("distill",) and job.languages == ("French",)


def test_no_stop_string_sends_none():
    """A job without stop strings leaves them out of the request."""
    assert Job(**SMALL).generation().stop is None


IMPOSSIBLE = {
    "nothing to do": {"input": ()},
    "1 were given for 2 addresses": {"base_url": ("http://a/v1", "http://b/v1"), "weight": (2,)},
    "high_above divides": {"task": ("distill",), "high_above": 5},
    "not both": {"scheduler": "tcp://a:1", "scheduler_file": "b.json"},
}


@pytest.mark.parametrize("words", IMPOSSIBLE)
def test_a_job_that_contradicts_itself_is_refused(words):
    """A job with nothing to do, too few weights, routes beside tasks, or two clusters is refused in words."""
    with pytest.raises(SettingError, match=words):
        Job(**{**SMALL, **IMPOSSIBLE[words]})


def test_every_setting_of_a_job_is_described():
    """Each setting has the sentence that the command line's help prints."""
    assert all(field.description for field in Job.model_fields.values())
