"""The links of a chain: phases and steps as functions from frame to frame, which is what runs on a partition.

Rows that a phase drops are gone from its link's result; how many and why is logged.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, StageCount
from nemocc_dask.admit import admit
from nemocc_dask.devices import check_gpu
from nemocc_dask.generate import generate, language_rows
from nemocc_dask.llm import Store
from nemocc_dask.logs import event
from nemocc_dask.preprocess import filter_prompts, preprocess
from nemocc_dask.route import Route, route
from nemocc_dask.settings import Endpoint, GenerationConfig
from nemocc_dask.sieve import Sieve
from nemocc_dask.synthesize import synthesize
from nemocc_dask.tasks import Task
from nemocc_dask.telling import Teller
from nemocc_dask.text.engine import PANDAS, Frame, frames_of, frames_on, is_cudf
from nemocc_dask.tokens import TokenCounter
from nemocc_dask.worker import CurrentTask, log_as_configured

log = logging.getLogger("nemocc_dask")

T = TypeVar("T")


def kept(frame: Frame, *, phase: Callable[..., Outcome], **settings: Any) -> Frame:
    """A phase without its books: the rows that go on. Failed rows are logged as a warning, rejects as information."""
    outcome = phase(frame, **settings)
    _log_drops(outcome.stages)
    return outcome.kept


def _log_drops(stages: Iterable[StageCount], *, of: str = "") -> None:
    """Failed rows as a warning, rejects as information. of: words before the stage's name."""
    for count in stages:
        _log(log.warning, of, count, "failed", count.failed)
        _log(log.info, of, count, "rejected", count.rejected)


def _log(say: Callable[..., None], of: str, count: StageCount, what: str, reasons: Mapping[str, int]) -> None:
    if reasons:
        told = event(f"rows_{what}", stage=count.stage, rows_in=count.rows_in, reasons=dict(reasons))
        rows = sum(reasons.values())
        say("%s%s: %d of %d rows %s: %s", of, count.stage, rows, count.rows_in, what, dict(reasons), extra=told)


def stored_generate(frame: Frame, *, store: Store | None, **settings: Any) -> Outcome:
    """`generate` with what an earlier computation was answered, where there is a store; ends with its Dask task."""
    log_as_configured()
    this = CurrentTask()
    if settings["tokenizer"]:
        frame = kept(frame, phase=filter_prompts, task=settings["task"], tokenizer=settings["tokenizer"])
    with Teller(this.worker) as teller:
        teller.prepared(len(frame) * settings["config"].n)
        settings |= {"should_stop": this.is_cancelled, "on_result": teller.came}
        if store is None:
            what = (settings["task"], settings["endpoint"], settings["config"])
            return _asked_once(generate, frame, what, settings)
        with store.attempt(uuid.uuid4().hex) as attempt:
            return generate(frame, attempt=attempt, **settings)


def stored_synthesize(frame: Frame, *, store: Store | None, **settings: Any) -> Frame:
    """`synthesize` with what an earlier computation was answered, where there is a store; ends with its Dask task."""
    log_as_configured()
    this = CurrentTask()
    with Teller(this.worker) as teller:
        settings |= {"should_stop": this.is_cancelled, "on_prepared": teller.prepared, "on_result": teller.came}
        if store is None:
            what = (settings["routes"], settings["recipe"].endpoint, settings["recipe"].config)
            made = _asked_once(synthesize, frame, what, settings)
        else:
            with store.attempt(uuid.uuid4().hex) as attempt:
                made = synthesize(frame, attempt=attempt, **settings)
    _log_drops(made.documents)
    for task, stages in made.tasks.items():
        _log_drops(stages, of=f"{task}, ")
    return made.rows


_asked_before: set[bytes] = set()
"""Fingerprints of the partitions that this process has had answers for without a store."""


def _asked_once(
    ask: Callable[..., T], frame: Frame, what: tuple[Any, Endpoint, GenerationConfig], settings: dict[str, Any]
) -> T:
    """Asks, and warns where the same was asked before: Dask computes anew for every `compute()`, `head()`, `len()`."""
    if len(frame) == 0:
        return ask(frame, **settings)
    fingerprint = _fingerprint(frame, *what)
    if fingerprint in _asked_before:
        warnings.warn(
            "The same rows are asked of the endpoint, and paid for, once more: this frame has been computed before, "
            "perhaps by head() or len(). Give store='responses/' to keep the answers.",
            UserWarning,
            stacklevel=2,
        )
    answered = ask(frame, **settings)
    _asked_before.add(fingerprint)
    return answered


def _fingerprint(frame: Frame, what: Any, endpoint: Endpoint, config: GenerationConfig) -> bytes:
    """Of all that a partition's requests are made of: texts, or, where there are none, languages and row numbers."""
    has_texts = columns.TEXT in frame.columns
    frames = frames_of(frame)
    words = frames.host(frames.texts(frame, columns.TEXT if has_texts else columns.LANGUAGE)).to_pylist()
    numbers = [] if has_texts else frames.numbers(frame, columns.ID).tolist()
    settings = repr((what, endpoint.base_urls, endpoint.model, config))
    return hashlib.blake2b(repr((settings, words, numbers)).encode(), digest_size=16).digest()


def in_quality(frame: Frame, *, rule: Route) -> Outcome:
    """Documents whose score the rule takes."""
    return route(frame, [rule]).documents


def in_tokens(
    frame: Frame,
    *,
    tokenizer: TokenCounter,
    field: str,
    count_column: str,
    min_tokens: int | None,
    max_tokens: int | None,
) -> Outcome:
    """Rows whose text in `field`, counted into `count_column`, has no fewer and no more tokens than the bounds."""
    frames = frames_of(frame)
    counts = tokenizer.count(frames.host(frames.texts(frame, field)))
    too_short = counts < (0 if min_tokens is None else min_tokens)
    too_long = np.zeros(len(counts), dtype=np.bool_) if max_tokens is None else counts > max_tokens
    sieve = Sieve(frames.attach(frame, {count_column: counts}), stage="filter_tokens", unit="rows")
    sieve.reject(too_short, "text_too_short")
    sieve.reject(too_long[~too_short], "text_too_long")
    return sieve.outcome()


def admit_and_preprocess(frame: Frame, **settings: Any) -> Outcome:
    """Segments of the documents that can be read, counted anew: an earlier count may be another tokenizer's."""
    return preprocess(frames_of(frame).drop(admit(frame).kept, (columns.DOCUMENT_TOKENS,)), **settings)


def clean(frame: Frame, *, kernel: str, field: str, options: Sequence[str]) -> Frame:
    """The frame with one column of text put through a kernel."""
    frames = frames_of(frame)
    return frames.attach(frame, {field: getattr(frames.kernels, kernel)(frames.texts(frame, field), *options)})


def keep_prefixed(frame: Frame, *, field: str, prefix: str) -> Frame:
    """Rows whose text begins with the prefix."""
    frames = frames_of(frame)
    present = frames.kernels.starts_with_marker(frames.texts(frame, field), prefix)
    return frames.keep(frame, frames.mask(present))


def to_gpu(frame: Frame) -> Frame:
    """The frame as cuDF's. Raises `SettingError` where this process can use no GPU."""
    if is_cudf(frame):
        return frame
    check_gpu()
    return frames_on(gpu=True).from_pandas(frame)


def rows_to_gpu(frame: Frame) -> Frame:
    """`to_gpu` for partitions. Without rows a frame stays pandas': so Dask asks for columns, where no GPU may be."""
    return to_gpu(frame) if len(frame) else frame


def to_host(frame: Frame, *, dtypes: Mapping[str, Any] | None) -> Frame:
    """The frame as pandas', of these dtypes where it comes from a GPU."""
    return frames_of(frame).to_pandas(frame, dtypes)


def rows_from_nothing(first: int, stop: int, *, task: Task, seed: int | None) -> Frame:
    """Rows number `first` up to `stop` for a task that makes documents."""
    return PANDAS.from_columns(language_rows(first, stop, task, seed=seed))
