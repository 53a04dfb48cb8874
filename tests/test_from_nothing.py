"""Documents made from nothing: which language a row is asked in, and why no two rows get the same answer."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from scripted import chat

from nemocc_dask.accessor import from_nothing as lazily_from_nothing
from nemocc_dask.errors import SettingError
from nemocc_dask.generate import generate, language_rows
from nemocc_dask.settings import GenerationConfig
from nemocc_dask.tasks import TASKS
from nemocc_dask.tasks.languages import code_of

QA = TASKS["multilingual_qa"]


def asked(rows, server, **sampling):
    """The answers to rows made from nothing."""
    return generate(rows, QA, endpoint=server.endpoint(), config=GenerationConfig(**sampling)).kept


def from_nothing(first, stop, task=QA, seed=0):
    """The rows from `first` up to `stop`, made at once."""
    rows = language_rows(first, stop, task, seed=seed)
    return pd.DataFrame({"id": rows["id"], "language": pd.Series(rows["language"].to_pylist(), dtype="str")})


def test_a_language_depends_on_seed_task_and_row_alone():
    """The language of row 17 is the same whichever rows are drawn with it; seed and task change it."""
    together = from_nothing(0, 200)
    parts = pd.concat([from_nothing(at, at + 50) for at in range(0, 200, 50)], ignore_index=True)
    assert_frame_equal(parts, together)
    assert from_nothing(0, 200, seed=1)["language"].tolist() != together["language"].tolist()
    other = from_nothing(0, 200, dataclasses.replace(QA, name="other"))
    assert other["language"].tolist() != together["language"].tolist()


def test_languages_are_drawn_evenly():
    """Each of the five languages has about a fifth of the rows."""
    shares = from_nothing(0, 5000)["language"].value_counts(normalize=True)
    assert set(shares.index) == set(QA.languages) and shares.between(0.18, 0.22).all()


def test_the_prompt_names_the_rows_language(scripted):
    """Each row is asked in its language, under its code, with a seed of its own, so that answers differ."""
    rows = from_nothing(3, 9)
    scripted.reply = lambda body: chat(body["messages"][-1]["content"])
    kept = asked(rows, scripted, seed=10)
    for row in kept.itertuples():
        assert f"{row.language}. Begin your answer with the code {code_of(row.language)}," in row.text
    assert sorted(body["seed"] for body in scripted.bodies) == [*range(13, 19)]
    assert kept["request_id"].nunique() == 6


def test_samples_of_different_rows_have_different_seeds(scripted):
    """With several answers per row no two rows share a seed, whatever the partitions."""
    rows = pd.concat([from_nothing(0, 3), from_nothing(3, 6)])
    scripted.reply = lambda body: chat("a", "b")
    kept = asked(rows, scripted, n=2)
    assert sorted(body["seed"] for body in scripted.bodies) == [0, 2, 4, 6, 8, 10]
    assert kept["request_id"].nunique() == 12


def test_several_answers_of_a_few_rows_are_those_of_many(scripted):
    """Row 5's answers have the same request ids whether it is asked alone or with its neighbours."""
    scripted.reply = lambda body: chat("a", "b")
    together = asked(from_nothing(0, 8), scripted, n=2)["request_id"].tolist()
    assert asked(from_nothing(5, 6), scripted, n=2)["request_id"].tolist() == together[10:12]


def test_a_lazy_frame_has_the_same_rows_in_any_partitions():
    """Made lazily, rows are numbered from 0 and have the languages they have when made at once."""
    whole = from_nothing(0, 100)
    for size in (7, 500):
        rows = lazily_from_nothing(samples=100, rows_per_partition=size).compute()
        assert rows.values.tolist() == whole.values.tolist()


def test_no_samples_are_legal():
    """Zero samples are zero rows of the same columns and dtypes as some."""
    none, some = lazily_from_nothing(samples=0).compute(), lazily_from_nothing(samples=3).compute()
    assert len(none) == 0 and none.dtypes.to_dict() == some.dtypes.to_dict()


def test_only_tasks_that_read_nothing_are_made_from_nothing():
    """A task that reads documents is refused, with what to call instead."""
    with pytest.raises(SettingError, match=r"call \.nemocc\.preprocess\('distill'\)"):
        lazily_from_nothing("distill", samples=3)
