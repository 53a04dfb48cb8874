"""What a task is: one frozen record that checks itself when it is made."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nemocc_dask import columns
from nemocc_dask.errors import TaskError
from nemocc_dask.tasks.languages import code_of
from nemocc_dask.tasks.steps import Step

log = logging.getLogger(__name__)

SLACK_TOKENS = 2
"""Kept free in a prompt, where a document's edges may tokenize apart from it, and below an answer's bound."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PLACEHOLDER = re.compile(r"\{(document|language|code)\}")
_RESERVED_NAMES = {"input"}
_RESERVED_FIELDS = {
    *(columns.ID, columns.SEGMENT_ID, columns.SAMPLE, columns.TASK),
    *(*columns.TOKEN_COUNTS, *columns.LEDGER, *columns.REJECT),
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One way of making synthetic text: prompts, budgets in tokens, and the steps that clean an answer.

    name: folder of its shards; lower-case letters, digits and underscores.
    output_field: column of the result; `text` only for tasks that make documents from nothing.
    system_prompt: None or "" sends no system message.
    prompt: user message with `{document}` in it, or with `{language}` and `{code}` for a task that makes documents from
        nothing. Other braces are text.
    max_input_tokens: whole prompt with everything round the document; None where there is no document.
    max_output_tokens: what an answer is asked to stay within; an answer longer than that less 2 is dropped.
    min_document_tokens, min_segment_tokens: shorter ones are dropped before anything is sent.
    min_result_tokens: shorter results are dropped at the end.
    steps: cleaning of an answer, in order.
    joins_segments: results of neighbouring segments become one text per document again.
    languages: English names of languages, one drawn for each row, for tasks that make documents from nothing.

    All bounds are inclusive. Raises `TaskError` where the record contradicts itself.

    >>> import dataclasses
    >>> from nemocc_dask.tasks import TASKS
    >>> dataclasses.replace(TASKS["distill"], name="brief", max_output_tokens=400).max_answer_tokens
    398
    """

    name: str
    output_field: str
    prompt: str
    max_output_tokens: int
    system_prompt: str | None = None
    max_input_tokens: int | None = None
    min_document_tokens: int = 0
    min_segment_tokens: int = 0
    min_result_tokens: int = 0
    steps: tuple[Step, ...] = ()
    joins_segments: bool = False
    languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for complaint in _complaints(self):
            raise TaskError(f"Task {self.name!r}: {complaint}.")
        for language in self.languages:
            code_of(language)
        for marker in _unasked_markers(self):
            log.warning("Task %r keeps only answers that begin with %r; its prompt asks for none.", self.name, marker)

    @property
    def makes_documents(self) -> bool:
        """True where the task reads no document."""
        return "{document}" not in self.prompt

    @property
    def max_answer_tokens(self) -> int:
        """Longest answer kept; a longer one has most likely been cut off."""
        return self.max_output_tokens - SLACK_TOKENS

    def messages(self, **fillings: str) -> tuple[Mapping[str, str], ...]:
        """The chat messages with `document`, or `language` and `code`, in their places; other braces stay as they are.

        >>> Task(name="t", output_field="o", prompt="Say {document} {x}", max_output_tokens=9,
        ...      max_input_tokens=9).messages(document="{y}")
        ({'role': 'user', 'content': 'Say {y} {x}'},)
        """
        user = {"role": "user", "content": _PLACEHOLDER.sub(lambda found: fillings[found[1]], self.prompt)}
        return ({"role": "system", "content": self.system_prompt}, user) if self.system_prompt else (user,)

    @property
    def documents_in_prompt(self) -> int:
        """How often the document stands in the prompt."""
        return self.prompt.count("{document}")

    def max_segment_tokens(self, prompt_overhead_tokens: int) -> int:
        """Most tokens of a segment: `max_input_tokens` − the prompt's tokens with an empty document − 2.

        Where the document stands in the prompt several times, they share what is left.

        Raises `TaskError` where nothing is left for the document.
        """
        left = (self.max_input_tokens or 0) - prompt_overhead_tokens - SLACK_TOKENS
        budget = left // max(1, self.documents_in_prompt)
        if budget < max(1, self.min_segment_tokens):
            raise TaskError(
                f"Task {self.name!r}: its prompt alone takes {prompt_overhead_tokens} of {self.max_input_tokens} input "
                f"tokens, which leaves {budget} for a segment of at least {self.min_segment_tokens}. Raise "
                "max_input_tokens or shorten the prompt."
            )
        return budget


def _complaints(task: Task) -> list[str]:
    """What is wrong with a task, worst first; empty where nothing is."""
    checks = {
        "a name is lower-case letters, digits and underscores": _NAME.fullmatch(task.name) is not None,
        f"the name is taken by the run itself; choose one not in {sorted(_RESERVED_NAMES)}": task.name
        not in _RESERVED_NAMES,
        "output_field has to be an identifier": task.output_field.isidentifier(),
        f"the column {task.output_field!r} is the run's own; choose another output_field": _field_is_free(task),
        "the prompt holds no {document}, and no {language} either": bool(_PLACEHOLDER.search(task.prompt)),
        "the prompt holds {document} together with {language} or {code}": _one_kind_of_placeholder(task.prompt),
        "max_input_tokens has to be said for a prompt with {document}": task.makes_documents
        or bool(task.max_input_tokens),
        "languages have to be named for a prompt without {document}": not task.makes_documents or bool(task.languages),
        f"max_output_tokens has to be above {SLACK_TOKENS}": task.max_output_tokens > SLACK_TOKENS,
        "a minimum is below zero": min(task.min_document_tokens, task.min_segment_tokens, task.min_result_tokens) >= 0,
    }
    return [complaint for complaint, holds in checks.items() if not holds]


def _unasked_markers(task: Task) -> list[str]:
    """Beginnings that answers are kept for though the prompt says nothing of them: most likely none will have one."""
    wanted = [step.options["prefix"] for step in task.steps if step.name == "keep_prefixed"]
    return [marker for marker in wanted if marker not in f"{task.system_prompt}{task.prompt}"]


def _field_is_free(task: Task) -> bool:
    own = _RESERVED_FIELDS if task.makes_documents else _RESERVED_FIELDS | {columns.TEXT}
    return task.output_field not in own


def _one_kind_of_placeholder(prompt: str) -> bool:
    return len({kind == "document" for kind in _PLACEHOLDER.findall(prompt)}) <= 1
