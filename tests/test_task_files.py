"""Tasks as TOML files: what is printed is read again as it was, and what is wrong in a file is told in words."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from nemocc_dask.errors import InputError, TaskError
from nemocc_dask.tasks import TASKS, Step, Task, read_task, task_from_toml, task_to_toml

PLAIN = Task(name="own", output_field="made", prompt="Say: {document}", max_input_tokens=100, max_output_tokens=50)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_toml_and_back_is_the_same_task(task):
    """Each task printed as TOML and read again is equal to what it was."""
    assert task_from_toml(task_to_toml(task), where="a file") == task


@given(
    prompt=st.text(st.characters(exclude_categories=["Cs"])), pattern=st.text(st.characters(exclude_categories=["Cs"]))
)
@settings(max_examples=100, deadline=None)
def test_any_prompt_survives_toml(prompt, pattern):
    """Quotes, backslashes, braces, control characters and line breaks of any kind come back as they were."""
    try:
        step = Step("remove_lines", {"pattern": pattern})
    except TaskError:
        reject()
    task = dataclasses.replace(PLAIN, prompt=prompt + "{document}", system_prompt=prompt, steps=(step,))
    assert task_from_toml(task_to_toml(task), where="a file") == task


def test_a_task_is_read_from_a_file(tmp_path):
    """A file written by hand is a task; what it leaves out has the record's defaults."""
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\noutput_field = "made"\nprompt = "Say: {document}"\n'
        "max_input_tokens = 100\nmax_output_tokens = 50\n"
        'steps = [{ step = "keep_prefixed", prefix = "Said:" }]\n',
        encoding="utf-8",
    )
    assert read_task(path) == dataclasses.replace(PLAIN, steps=(Step("keep_prefixed", {"prefix": "Said:"}),))


WRONG_FILES = {
    "is no TOML": "name = ",
    "no field 'promt'": task_to_toml(PLAIN) + 'promt = "x"\n',
    "field 'prompt' is missing": 'name = "own"\noutput_field = "made"\nmax_output_tokens = 50\n',
    "has to be of type int": task_to_toml(PLAIN).replace("max_output_tokens = 50", 'max_output_tokens = "50"'),
    "'min_document_tokens' is True": task_to_toml(PLAIN).replace(
        "min_document_tokens = 0", "min_document_tokens = true"
    ),
    "has to be of type list": task_to_toml(PLAIN).replace("languages = []", 'languages = "English"'),
    "no step 'shout'": task_to_toml(PLAIN).replace("steps = []", 'steps = [{ step = "shout" }]'),
    "no key 'step'": task_to_toml(PLAIN).replace("steps = []", 'steps = [{ prefix = "x" }]'),
    "above 2": task_to_toml(PLAIN).replace("max_output_tokens = 50", "max_output_tokens = 1"),
}


@pytest.mark.parametrize("words", WRONG_FILES)
def test_a_file_that_is_no_task_is_refused(words, tmp_path):
    """What is wrong in a task's file is said in words, and is the caller's mistake."""
    (tmp_path / "own.toml").write_text(WRONG_FILES[words], encoding="utf-8")
    with pytest.raises(TaskError, match=words):
        read_task(tmp_path / "own.toml")


def test_steps_that_are_no_tables_are_refused():
    """A step written as a bare string is the caller's mistake, told in words."""
    with pytest.raises(TaskError, match="step"):
        task_from_toml(task_to_toml(PLAIN).replace("steps = []", 'steps = ["remove_markdown"]'), where="own.toml")


def test_a_file_that_is_not_there_is_the_callers_mistake(tmp_path):
    """A missing file, or one that is not text, is named."""
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name in ("missing.toml", "binary.toml"):
        with pytest.raises(InputError, match=name):
            read_task(tmp_path / name)
