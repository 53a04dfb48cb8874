"""Calls of the accessor, to be tried on frames of every kind."""

from __future__ import annotations

from corpora import text

from nemocc_dask.settings import GenerationConfig
from nemocc_dask.tasks import TASKS

READING = tuple(name for name, task in TASKS.items() if not task.makes_documents)
"""Names of the tasks that read documents."""


def chain(frame, task, tokenizer, endpoint, config=GenerationConfig()):  # noqa: B008 - frozen
    """All phases of a task, one after another."""
    if not TASKS[task].makes_documents:
        frame = frame.nemocc.preprocess(task, tokenizer=tokenizer)
    return frame.nemocc.generate(task, endpoint=endpoint, config=config).nemocc.postprocess(task, tokenizer=tokenizer)


METHODS = {
    "filter_quality": lambda frame, *_: frame.nemocc.filter_quality(above=3),
    "filter_tokens": lambda frame, tokenizer, _: frame.nemocc.filter_tokens(min_tokens=1, tokenizer=tokenizer),
    "split_documents": lambda frame, *_: frame.nemocc.split_documents(),
    "join_segments": lambda frame, *_: frame.assign(segment_id=0, segment_token_count=5).nemocc.join_segments(
        max_tokens=9
    ),
    "remove_quotation": lambda frame, *_: frame.nemocc.remove_quotation(),
    "keep_prefixed": lambda frame, *_: frame.nemocc.keep_prefixed(text(0)[:20]),
    "synthesize": lambda frame, tokenizer, endpoint: frame.nemocc.synthesize(endpoint=endpoint, tokenizer=tokenizer),
    **{
        task: lambda frame, tokenizer, endpoint, task=task: chain(
            frame.assign(language="Spanish") if TASKS[task].makes_documents else frame, task, tokenizer, endpoint
        )
        for task in TASKS
    },
}
"""Name → a call of that method, of all phases of the task of that name, on a frame of documents."""
