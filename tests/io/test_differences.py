"""What differs between two jobs, in words."""

import pytest

from nemocc_dask.io.differences import differences, some

IDENTITY = {"model": "m", "input": [["a.parquet", 10]], "tasks": {"distill": {"prompt": "x", "languages": ["French"]}}}


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"model": "n"}, 'model ("m" there, "n" here)'),
        (
            {"tasks": {"distill": {"prompt": "y", "languages": ("French",)}}},
            'tasks.distill.prompt ("x" there, "y" here)',
        ),
        ({"input": [["a.parquet", 11]]}, 'input ([["a.parquet", 10]] there, [["a.parquet", 11]] here)'),
        ({"input": [["a.parquet", 10], ["b.parquet", 7]]}, 'input ([] there, [["b.parquet", 7]] here)'),
    ],
)
def test_a_difference_is_told_with_both_values(now, words):
    """Each setting that differs is told by its dotted name; of lists, what only one of both has."""
    assert differences(IDENTITY, IDENTITY | now) == [words]


def test_a_task_that_is_gone():
    """All that it was is told to be no more."""
    told = differences(IDENTITY, IDENTITY | {"tasks": {"other": {"prompt": "x"}}})
    assert told[:2] == [
        'tasks.distill.languages (["French"] there, null here)',
        'tasks.distill.prompt ("x" there, null here)',
    ]


def test_the_order_of_files_counts():
    """The same files in another order are cut into other partitions."""
    files = [["a", 1], ["b", 2]]
    assert differences({"input": files}, {"input": files[::-1]}) == ["input (in another order)"]


def test_what_makes_no_difference():
    """Tuples have become lists where books are read back, and that is no difference."""
    assert differences(IDENTITY, IDENTITY | {"input": (("a.parquet", 10),)}) == []


def test_long_words_are_cut():
    """A prompt is not told in full, and of many differences only some."""
    [told] = differences({"prompt": "x" * 1000}, {"prompt": "y" * 1000})
    assert len(told) < 300 and '"yyy' in told
    assert some(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"
