"""A job with all that its settings name: files, tasks, tokenizer, folders, looked at before anything is sent."""

from __future__ import annotations

from typing import Any, NamedTuple

from nemocc_dask.again import Again
from nemocc_dask.devices import check_gpu
from nemocc_dask.identity import bound, identity_of
from nemocc_dask.io.files import find_files
from nemocc_dask.io.manifest import RESPONSES
from nemocc_dask.io.parts import Part
from nemocc_dask.io.scan import Columns, find_columns
from nemocc_dask.io.shards import WRITTEN
from nemocc_dask.io.write import Output
from nemocc_dask.llm import Store
from nemocc_dask.partition import Plan
from nemocc_dask.preprocess import max_segment_tokens
from nemocc_dask.resolve import Tasks, resolve_tasks
from nemocc_dask.settings import Job
from nemocc_dask.synthesize import Recipe
from nemocc_dask.tokens import TokenCounter

Record = dict[str, Any]


class Order(NamedTuple):
    """What a job is made of, and what is made of it. count_with: tokenizer of the model to be trained."""

    job: Job
    tasks: Tasks
    tokenizer: TokenCounter
    count_with: TokenCounter | None
    output: Output
    store: Store
    files: tuple[str, ...]
    identity: Record

    @classmethod
    def of(cls, job: Job) -> Order:
        """Raises a `CallerError` where something cannot be what the settings say."""
        if job.gpu and not (job.scheduler or job.scheduler_file):
            check_gpu()
        tasks, output = resolve_tasks(job), Output(job.output)
        # A folder of inputs may hold the output: what the run makes itself is none of its documents.
        files = tuple(path for path in find_files(job.input) if not output.holds(path))
        tokenizer = TokenCounter(job.tokenizer)  # takes some seconds
        for task in bound(job, tasks):
            if not task.makes_documents:
                max_segment_tokens(task, tokenizer)
        count_with = TokenCounter(job.count_with) if job.count_with else None
        identity = identity_of(job, tasks, tokenizer, count_with, files)
        return cls(job, tasks, tokenizer, count_with, output, Store(output.path(RESPONSES)), files, identity)

    def columns(self, parts: list[Part]) -> Columns | None:
        """The columns of the documents; None where there are no documents."""
        if not parts:
            return None
        bounds = (self.job.min_score, self.job.max_score)
        scored = any(each.needs_score for each in self.tasks.routes) or bounds != (None, None)
        outputs = {task.output_field for task in self.tasks.of_documents}
        return find_columns(
            parts, id_field=self.job.id_field, text_field=self.job.text_field, carried=self.job.columns,
            score_field=self.job.score_field if scored else None, reserved=WRITTEN | outputs,
        )  # fmt: skip

    def plan(self, found: Columns | None, run: str) -> Plan:
        """What partitions have to know."""
        recipe = Recipe(
            tokenizer=self.tokenizer, endpoint=self.job.endpoint(), config=self.job.generation(),
            overlong=self.job.overlong, ask_again=Again.of(self.job).flaws, count_with=self.count_with,
        )  # fmt: skip
        return Plan(
            run=run,
            columns=found,
            routes=self.tasks.routes,
            sample_tasks=self.tasks.from_nothing,
            recipe=recipe,
            output=self.output,
            output_format=self.job.output_format,
            store=self.store,
            min_score=self.job.min_score,
            max_score=self.job.max_score,
            max_document_bytes=self.job.max_document_bytes,
            gpu=self.job.gpu,
            # A GPU's worker has one thread, and partitions that wait for answers give it up.
            partitions_in_hand=self.job.threads_per_worker if self.job.gpu else 1,
        )
