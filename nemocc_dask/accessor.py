"""`frame.nemocc`: the phases as methods, alike on pandas, cuDF and Dask dataframes: a chain reads as the pipeline does.

On a pandas or cuDF dataframe a method works at once; on a Dask dataframe it adds to the graph, and nothing is computed
or sent until the result is. Rows that a method drops are gone from its result; how many and why is logged (logger
`nemocc_dask`). To have them as rows, call the phase functions themselves on a pandas dataframe, such as
`nemocc_dask.preprocess.preprocess`, or run a job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import dask.dataframe as dd
import pandas as pd
from dask.dataframe.dask_expr import new_collection

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome
from nemocc_dask.chain import (
    admit_and_preprocess,
    clean,
    in_quality,
    in_tokens,
    keep_prefixed,
    kept,
    rows_from_nothing,
    rows_to_gpu,
    stored_generate,
    stored_synthesize,
    to_gpu,
    to_host,
)
from nemocc_dask.errors import FrameError, SettingError
from nemocc_dask.generate import check_tokenizer
from nemocc_dask.llm import Store
from nemocc_dask.pipeline import documents_together, map_partitions, map_ranges
from nemocc_dask.postprocess import postprocess
from nemocc_dask.preprocess import join_segments, split_documents
from nemocc_dask.route import Route, quality_routes
from nemocc_dask.segmenting import SEPARATOR, Overlong
from nemocc_dask.settings import ROWS_PER_PARTITION, Endpoint, GenerationConfig
from nemocc_dask.synthesize import Recipe, routes_of
from nemocc_dask.tasks import Task, find_task
from nemocc_dask.text.engine import Frame, frames_of, is_cudf
from nemocc_dask.tokens import TokenCounter

DEFAULT_SAMPLING = GenerationConfig()


def accessor_of(frame: Frame | dd.DataFrame) -> Nemocc:
    """The accessor that serves this kind of frame. Raises `FrameError`."""
    if isinstance(frame, dd.DataFrame):
        return _OnDask(frame)
    if isinstance(frame, pd.DataFrame) or is_cudf(frame):
        return Nemocc(frame)
    raise FrameError.of(frame)


class Nemocc:
    """The steps and phases of synthetic data generation on a dataframe.

    A task is a name in `nemocc_dask.TASKS` or a `nemocc_dask.Task`; a tokenizer is whatever `TokenCounter` takes, None
    for the default one. No method changes the frame it is called on.

    >>> docs = pd.DataFrame({"id": [1], "text": ["a b\\nc"], "quality_score": [14]})
    >>> Nemocc(docs).filter_quality(above=11).nemocc.split_documents()[["text", "segment_id"]].values.tolist()
    [['a b', 0], ['c', 1]]
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def _apply(self, step: Callable[..., Frame], label: str, /, **settings: Any) -> Any:  # noqa: ARG002 - Dask shows it
        return step(self._frame, **settings)

    def _through(self, phase: Callable[..., Outcome], label: str, /, **settings: Any) -> Any:
        return self._apply(kept, label, phase=phase, **settings)

    # --- where text is ------------------------------------------------------------------------------------------------

    def to_gpu(self) -> Any:
        """The same rows as cuDF frames, so that the methods that follow work on text in the memory of a GPU.

        On a Dask dataframe each partition goes to the GPU of the worker that computes it, and the client needs none;
        what Dask knows of columns and dtypes stays pandas', so end with `to_host`. Where a join of segments has to move
        rows between partitions, they are brought back to the host for it, and stay there. cuDF frames stay as they are.

        Raises `SettingError` where no GPU can be used: at once, or when a Dask dataframe is computed.

        >>> docs = dd.from_pandas(pd.DataFrame({"id": [7], "text": ["a b"]}), npartitions=1)
        >>> docs.nemocc.to_gpu().nemocc.split_documents().nemocc.to_host().columns.tolist()
        ['id', 'text', 'segment_id']
        """
        return self._apply(to_gpu, "togpu")

    def to_host(self) -> Any:
        """The same rows as pandas frames; those that are pandas' already stay as they are.

        Partitions come back with the dtypes that Dask knows of. Of a cuDF frame by itself, integers become numpy's
        where none is missing, and pandas' nullable ones elsewhere; those of a Dask dataframe that was made of cuDF
        frames are always nullable.

        >>> Nemocc(pd.DataFrame({"id": [7], "text": ["a b"]})).to_host()["text"].tolist()
        ['a b']
        """
        return self._apply(to_host, "tohost", dtypes=self._dtypes_on_host())

    def _dtypes_on_host(self) -> dict[str, Any] | None:
        return None

    # --- documents and segments ---------------------------------------------------------------------------------------

    def filter_quality(self, *, above: float | None = None, at_most: float | None = None) -> Any:
        """Keep documents whose `quality_score` is > `above` and ≤ `at_most`; those without a score go.

        Raises `ColumnNotFoundError`, and `FrameError` where scores are no numbers.

        >>> Nemocc(pd.DataFrame({"quality_score": [11, 12, None]})).filter_quality(above=11)["quality_score"].tolist()
        [12.0]
        """
        return self._through(in_quality, "filter-quality", rule=Route((), above=above, at_most=at_most))

    def filter_tokens(
        self,
        *,
        min_tokens: int | None = None,
        max_tokens: int | None = None,
        tokenizer: Any = None,
        field: str = columns.TEXT,
        count_field: str = columns.DOCUMENT_TOKENS,
    ) -> Any:
        """Count the tokens of `field` into `count_field` (int64) and keep rows within the bounds, both inclusive.

        >>> docs = pd.DataFrame({"text": ["one", "one two three"]})
        >>> Nemocc(docs).filter_tokens(min_tokens=2)["document_token_count"].tolist()
        [3]
        """
        return self._through(
            in_tokens, "filter-tokens", tokenizer=TokenCounter(tokenizer), field=field, count_column=count_field,
            min_tokens=min_tokens, max_tokens=max_tokens,
        )  # fmt: skip

    def split_documents(self, *, separator: str = SEPARATOR) -> Any:
        r"""One row per part of each text between separators; `segment_id` (int64) counts them from 0 in each document.

        >>> Nemocc(pd.DataFrame({"id": [7], "text": ["a\r\nb"]})).split_documents()["text"].tolist()
        ['a', 'b']
        """
        return self._apply(split_documents, "split-documents", separator=separator)

    def join_segments(self, *, max_tokens: int, separator: str = SEPARATOR, separator_tokens: int = 1) -> Any:
        r"""Join neighbouring segments of a document, next-fit, while their counts and the separators fit `max_tokens`.

        Counts are read from `segment_token_count` (int64), which then holds the sums by which segments were joined.
        Where segments are missing between two, they are not joined, and the new `segment_id` skips a number.

        >>> lines = pd.DataFrame({"id": 7, "text": ["a", "b", "c"], "segment_id": [0, 1, 2], "segment_token_count": 1})
        >>> Nemocc(lines).join_segments(max_tokens=3)["text"].tolist()
        ['a\nb', 'c']
        """
        settings = {"max_tokens": max_tokens, "separator": separator, "separator_tokens": separator_tokens}
        return self._apply(join_segments, "join-segments", **settings)

    # --- the three phases, and all at once ----------------------------------------------------------------------------

    def preprocess(self, task: str | Task, *, tokenizer: Any = None, overlong: Overlong = "split") -> Any:
        """Documents (`id`, `text`) to segments that fit the task's prompt, with `segment_id` and both token counts.

        overlong: a line longer than a segment may be is cut at sentence, then word boundaries, or dropped.

        Raises `ColumnNotFoundError`, `UnknownTaskError`, `TokenizerError`, and `TaskError` where the prompt leaves no
        room for a document.

        >>> docs = pd.DataFrame({"id": [7], "text": ["A text of a few words."]})
        >>> Nemocc(docs).preprocess("wikipedia_paraphrasing")["segment_token_count"].tolist()
        [7]
        """
        settings = {"task": find_task(task), "tokenizer": TokenCounter(tokenizer), "overlong": overlong}
        return self._through(admit_and_preprocess, f"preprocess-{find_task(task).name}", **settings)

    def generate(
        self,
        task: str | Task,
        *,
        endpoint: Endpoint,
        config: GenerationConfig = DEFAULT_SAMPLING,
        tokenizer: Any = None,
        store: str | None = None,
    ) -> Any:
        """Ask the endpoint about each row: `text`, or `id` and `language` for a task that makes documents from nothing.

        Adds the task's output field, `sample` (int64) and the ledger (`request_id`, `model`, `finish_reason`,
        `prompt_tokens`, `completion_tokens`, `attempts`, `latency_s` in seconds). Rows that failed, and answers that
        are truncated, filtered or empty, go.

        tokenizer: the model's own, which renders prompts for an endpoint that completes texts (`api="completions"`);
            others need none.
        store: folder, or any fsspec URL, where answers are kept as they come and looked up before anything is asked:
            with it `head()`, `len()` and a second `compute()` cost nothing. Without one each of them asks, and pays,
            again, and a warning says so.

        Raises `EndpointRefusedError` where every request would be refused, `EndpointUnreachableError` where none
        reaches anybody.

        >>> from nemocc_dask.simulate import Simulator
        >>> with Simulator() as endpoint:
        ...     asked = Nemocc(pd.DataFrame({"text": ["Water boils. Ice melts."]})).generate(
        ...         "distill", endpoint=Endpoint(base_url=endpoint.base_url, model="simulated"))
        >>> asked["finish_reason"].tolist()
        ['stop']
        """
        _check_endpoint_type(endpoint)
        settings = {"task": find_task(task), "endpoint": endpoint, "config": config, "store": _store(store)}
        renderer = None if tokenizer is None else TokenCounter(tokenizer)
        return self._through(stored_generate, f"generate-{find_task(task).name}", tokenizer=renderer, **settings)

    def postprocess(self, task: str | Task, *, tokenizer: Any = None, seed: int | None = 0) -> Any:
        """Clean the task's output field, keep what is of use, and join a document's segments where the task does.

        Needs `id`, `segment_id`, `text` and the output field; adds `rephrased_segment_token_count` (int64, tokens of
        the answer) and `rephrased_document_token_count` (int64, tokens of the result).

        >>> answers = pd.DataFrame({"id": [7], "segment_id": [0], "text": ["s"], "segment_token_count": [1],
        ...                         "knowledge_list": ["- " + "A fact of many words. " * 12]})
        >>> Nemocc(answers).postprocess("knowledge_list")["knowledge_list"].str[:12].tolist()
        ['A fact of ma']
        """
        found = find_task(task)
        settings = {"task": found, "tokenizer": TokenCounter(tokenizer), "seed": seed}
        return self._documents_together(found)._through(postprocess, f"postprocess-{found.name}", **settings)

    def synthesize(
        self,
        task_or_routes: str | Task | Route | Sequence[str | Task | Route] | None = None,
        *,
        endpoint: Endpoint,
        config: GenerationConfig = DEFAULT_SAMPLING,
        tokenizer: Any = None,
        overlong: Overlong = "split",
        store: str | None = None,
    ) -> Any:
        """All phases at once: the results of one task, of several, or of routes; None is the two quality routes.

        Needs `id`, `text`, and `quality_score` where a route looks at it. A `task` column (str) tells whose result a
        row is. store: as in `generate`.

        Raises what `preprocess`, `generate` and `postprocess` raise.

        >>> Nemocc(pd.DataFrame({"id": [], "text": [], "quality_score": []})).synthesize(
        ...     endpoint=Endpoint(base_url="http://localhost:1/v1", model="m"))["task"].tolist()
        []
        """
        _check_endpoint_type(endpoint)
        check_tokenizer(endpoint, tokenizer)
        routes = quality_routes() if task_or_routes is None else routes_of(task_or_routes)
        recipe = Recipe(tokenizer=TokenCounter(tokenizer), endpoint=endpoint, config=config, overlong=overlong)
        tasks = [find_task(each).name for route in routes for each in route.tasks]
        label = f"synthesize-{tasks[0]}" if len(tasks) == 1 else "synthesize"
        return self._apply(stored_synthesize, label, routes=routes, recipe=recipe, store=_store(store))

    def _documents_together(self, task: Task) -> Nemocc:  # noqa: ARG002 - one frame holds them together anyway
        return self

    # --- steps of cleaning by themselves ------------------------------------------------------------------------------

    def remove_markdown(self, *, field: str = columns.TEXT) -> Any:
        """Take bold, italics and links off; code, maths, identifiers and a link's words stay.

        >>> Nemocc(pd.DataFrame({"text": ["**a** my_name 2*3*4"]})).remove_markdown()["text"].tolist()
        ['a my_name 2*3*4']
        """
        return self._clean("remove_markdown", field)

    def remove_quotation(self, *, field: str = columns.TEXT) -> Any:
        """Take off one pair of quotation marks that encloses the whole text.

        >>> Nemocc(pd.DataFrame({"text": ['"A" and "B"', '“A”']})).remove_quotation()["text"].tolist()
        ['"A" and "B"', 'A']
        """
        return self._clean("remove_quotation", field)

    def remove_lines(self, pattern: str, *, field: str = columns.TEXT) -> Any:
        r"""Take out every line that matches the pattern (RE2) as a whole. Raises `SettingError` for a bad pattern.

        >>> Nemocc(pd.DataFrame({"text": ["Passage 1:\nA fact."]})).remove_lines("Passage [0-9]+:")["text"].tolist()
        ['A fact.']
        """
        return self._clean("remove_lines", field, pattern)

    def keep_prefixed(self, prefix: str, *, field: str = columns.TEXT) -> Any:
        """Keep rows whose text begins with the prefix, in any letter case, blank lines and markup before it aside.

        >>> Nemocc(pd.DataFrame({"text": ["  Answer: a", "b"]})).keep_prefixed("Answer:")["text"].tolist()
        ['  Answer: a']
        """
        return self._apply(keep_prefixed, "keep-prefixed", field=field, prefix=prefix)

    def slice_after(self, marker: str, *, field: str = columns.TEXT) -> Any:
        """What follows the marker, where the text begins with it; other rows stay as they are.

        >>> Nemocc(pd.DataFrame({"text": ["Answer: a", "b"]})).slice_after("Answer:")["text"].tolist()
        ['a', 'b']
        """
        return self._clean("slice_after_marker", field, marker)

    def _clean(self, kernel: str, field: str, *options: str) -> Any:
        return self._apply(clean, kernel.replace("_", "-"), kernel=kernel, field=field, options=options)


class _OnDask(Nemocc):
    def __init__(self, frame: dd.DataFrame) -> None:
        # Dask caches the accessor on the frame: holding the frame itself would make a circle that keeps its
        # persisted partitions alive.
        super().__init__(new_collection(frame.expr))

    def _apply(self, step: Callable[..., Frame], label: str, /, **settings: Any) -> dd.DataFrame:
        return map_partitions(self._frame, step, label, **settings)

    def to_gpu(self) -> dd.DataFrame:
        return self._apply(rows_to_gpu, "togpu")

    def _dtypes_on_host(self) -> dict[str, Any]:
        return frames_of(self._frame._meta).pandas_dtypes(self._frame._meta)

    def _documents_together(self, task: Task) -> Nemocc:
        if not task.joins_segments:
            return self
        together = documents_together(self._frame)
        if together is self._frame or is_cudf(self._frame._meta):
            return _OnDask(together)
        # Dask moves rows as it would those of its metadata's kind, and partitions may be cuDF's all the same.
        return _OnDask(documents_together(self.to_host()))


def _store(store: str | None) -> Store | None:
    return None if store is None else Store(store)


def _check_endpoint_type(endpoint: object) -> None:
    if not isinstance(endpoint, Endpoint):
        raise SettingError(f"{endpoint!r} is no Endpoint. Write nemocc_dask.Endpoint(base_url=..., model=...).")


def from_nothing(
    task: str | Task = "multilingual_qa",
    *,
    samples: int,
    languages: Sequence[str] = (),
    seed: int | None = 0,
    rows_per_partition: int = ROWS_PER_PARTITION,
) -> dd.DataFrame:
    """Rows for a task that makes documents: `id` (int64, 0 to samples - 1) and the `language` (str) drawn for each.

    languages: English names; none are the task's own.

    Raises `UnknownTaskError`, `TaskError` for an unknown language, `SettingError` for a task that reads documents.

    >>> from_nothing(samples=3, languages=["French"]).compute()[["id", "language"]].values.tolist()
    [[0, 'French'], [1, 'French'], [2, 'French']]
    """
    found = find_task(task)
    found = replace(found, languages=tuple(languages)) if languages else found
    if not found.makes_documents:
        raise SettingError(
            f"Task {found.name!r} reads documents: call .nemocc.preprocess({found.name!r}) on a frame of them."
        )
    return map_ranges(
        rows_from_nothing, "fromnothing", rows=samples, rows_per_partition=rows_per_partition, task=found, seed=seed
    )
