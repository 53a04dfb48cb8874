"""The other side of the comparison: NeMo Curator's own stages and pipeline, run by the Python it is installed in.

`curator_side.py stages` reads orders from stdin and answers on stdout, one JSON object a line, so that both sides can
take turns while each stays loaded. `curator_side.py job` reads one order, runs the whole pipeline on Ray, and answers.

Stages stand in the order, and have the bounds, of Curator's published Nemotron-CC pipelines; all numbers come with the
order, so that they are written in one place. Nothing of this package is imported here.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from nemo_curator.backends.xenna import XennaExecutor  # type: ignore[import-not-found]
from nemo_curator.core.client import RayClient  # type: ignore[import-not-found]
from nemo_curator.models.client.llm_client import GenerationConfig  # type: ignore[import-not-found]
from nemo_curator.models.client.openai_client import AsyncOpenAIClient  # type: ignore[import-not-found]
from nemo_curator.pipeline import Pipeline  # type: ignore[import-not-found]
from nemo_curator.stages.synthetic.nemotron_cc import nemotron_cc  # type: ignore[import-not-found]
from nemo_curator.stages.text.filters import Filter, ScoreFilter  # type: ignore[import-not-found]
from nemo_curator.stages.text.filters.heuristic import SubstringFilter  # type: ignore[import-not-found]
from nemo_curator.stages.text.filters.token import TokenCountFilter  # type: ignore[import-not-found]
from nemo_curator.stages.text.io.reader.parquet import ParquetReader  # type: ignore[import-not-found]
from nemo_curator.stages.text.io.writer.parquet import ParquetWriter  # type: ignore[import-not-found]
from nemo_curator.stages.text.modifiers import Modify  # type: ignore[import-not-found]
from nemo_curator.stages.text.modifiers.string import (  # type: ignore[import-not-found]
    LineRemover,
    MarkdownRemover,
    QuotationRemover,
    Slicer,
)
from nemo_curator.stages.text.modules.joiner import DocumentJoiner  # type: ignore[import-not-found]
from nemo_curator.stages.text.modules.splitter import DocumentSplitter  # type: ignore[import-not-found]
from nemo_curator.tasks import DocumentBatch  # type: ignore[import-not-found]
from transformers import AutoTokenizer

CORES = 16
"""Ray is told of so many: its pipeline has a worker or more for each stage, and would not start on two."""
PASSAGE_LABELS = ["Passage:", "Passage 1:", "Passage 2:", "Passage 3:"]
ALL_PAIRS = 10**6

Order = dict[str, Any]
Stages = list[Any]


def preprocessing(task: Order, tokenizer: Any) -> Stages:
    """Filter documents, split them, filter lines, join them, filter segments."""
    least, most = task["min_segment_tokens"], task["max_segment_tokens"]
    return [
        _token_filter(tokenizer, "text", "document_token_count", min_tokens=task["min_document_tokens"]),
        DocumentSplitter(separator="\n"),
        _token_filter(tokenizer, "text", "segment_token_count", max_tokens=most),
        DocumentJoiner(
            separator="\n", max_length=most, length_field="segment_token_count", drop_segment_id_field=False
        ),
        Filter(filter_fn=lambda count: count >= least, filter_field="segment_token_count"),
    ]


def postprocessing(task: Order, tokenizer: Any) -> Stages:
    """Filter answers, clean them as the task wants, filter results."""
    field = task["output_field"]
    return [
        _token_filter(tokenizer, field, "rephrased_segment_token_count", max_tokens=task["max_answer_tokens"]),
        *_cleaning(task, tokenizer),
        _token_filter(tokenizer, field, "rephrased_document_token_count", min_tokens=task["min_result_tokens"]),
    ]


def reading_pairs(task: Order, tokenizer: Any) -> Stages:
    """As far as Curator's pairs are read, before any is chosen: all of them, in their order."""
    return [
        _token_filter(tokenizer, task["output_field"], "count", max_tokens=task["max_answer_tokens"]),
        *_cleaning(task, None),
    ]


STAGES = {"preprocess": preprocessing, "postprocess": postprocessing, "read_pairs": reading_pairs}


def _token_filter(tokenizer: Any, field: str, score_field: str, **bounds: int) -> Any:
    return ScoreFilter(TokenCountFilter(tokenizer=tokenizer, **bounds), text_field=field, score_field=score_field)


def _cleaning(task: Order, tokenizer: Any) -> Stages:
    field = task["output_field"]
    steps = [Modify(MarkdownRemover(), input_fields=field)]
    if task["marker"]:
        steps += _marker(task["marker"], field)
    if task["name"] == "extract_knowledge":
        steps.append(Modify(LineRemover(PASSAGE_LABELS), input_fields=field))
    if task["name"] == "knowledge_list":
        steps.append(nemotron_cc.KnowledgeListPostProcessingStage(input_field=field))
    if task["name"] == "diverse_qa":
        most = {} if tokenizer else {"max_num_pairs": ALL_PAIRS}
        steps.append(nemotron_cc.DiverseQAPostProcessingStage(qa_field=field, tokenizer=tokenizer, **most))
    return steps + (_joining(field) if task["joins_segments"] else [])


def _marker(marker: str, field: str) -> Stages:
    return [
        ScoreFilter(SubstringFilter(marker, "prefix"), text_field=field, score_field="substring"),
        Modify(Slicer(left=marker, include_left=False), input_fields=field),
        Modify(QuotationRemover(), input_fields=field),
    ]


def _joining(field: str) -> Stages:
    return [DocumentJoiner(separator="\n", text_field=field, drop_segment_id_field=False)]


# --- stages, timed ----------------------------------------------------------------------------------------------------


def timed(order: Order) -> Order:
    """Take the partitions (Parquet files) through the stages; answers seconds, rows, and partitions that crashed.

    A fresh tokenizer is loaded each time, as the other side does; for postprocessing it has encoded the source texts
    before. What comes out is kept in `output`, not timed.
    """
    tokenizer = AutoTokenizer.from_pretrained(order["tokenizer"], local_files_only=True)
    tokenizer.encode("ready")
    frames = [pd.read_parquet(name, dtype_backend="pyarrow") for name in order["partitions"]]
    if order["do"] == "postprocess":
        for text in pd.concat(frames)["text"]:
            tokenizer.encode(text)
    with _drawing(all_of_them=order["do"] == "read_pairs"):
        stages = STAGES[order["do"]](order["task"], tokenizer)
        gc.collect()
        gc.freeze()  # as the other side does
        began = time.perf_counter()
        outcomes = [_through(stages, frame) for frame in frames]
        seconds = time.perf_counter() - began
    made = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    if made:
        pd.concat(made).to_parquet(order["output"])
    crashes = [outcome for outcome in outcomes if isinstance(outcome, str)]
    return {"seconds": seconds, "rows": sum(map(len, made)), "crashes": crashes}


def _through(stages: Stages, frame: Any) -> Any:
    """The frame after all stages; what was raised, as words, where one crashes, as it would crash the pipeline."""
    batch = DocumentBatch(dataset_name="comparison", data=frame)
    for stage in stages:
        try:
            batch = stage.process(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a result of the comparison
            return f"{stage.name}: {type(error).__name__}: {error}"
    return batch.to_pandas()


@contextmanager
def _drawing(*, all_of_them: bool) -> Iterator[None]:
    """Seed the generator that Curator draws pairs with; with `all_of_them` nothing is drawn, and every pair stays."""
    random.seed(0)
    nemotron_cc.random = _Undrawn if all_of_them else random
    try:
        yield
    finally:
        nemotron_cc.random = random


class _Undrawn:
    """Stands where the module `random` does: leaves the order alone and always draws the highest number."""

    @staticmethod
    def shuffle(pairs: list[str]) -> None:
        """Change nothing."""

    @staticmethod
    def randint(_lowest: int, highest: int) -> int:
        """The highest."""
        return highest


# --- the whole pipeline -----------------------------------------------------------------------------------------------


def job(order: Order) -> Order:
    """Files to files through one task; answers the seconds of Ray's start and of the pipeline, and the rows out."""
    began = time.perf_counter()
    ray = RayClient(num_cpus=CORES, include_dashboard=False, ray_temp_dir=order["ray_folder"])
    ray.start()
    try:
        pipeline = Pipeline(name="comparison", stages=list(_job_stages(order)))
        started = time.perf_counter()
        pipeline.run(XennaExecutor())
        finished = time.perf_counter()
    finally:
        ray.stop()
    rows = sum(len(pd.read_parquet(name)) for name in Path(order["output"]).glob("*.parquet"))
    return {"start_s": started - began, "run_s": finished - started, "rows": rows}


def _job_stages(order: Order) -> Iterator[Any]:
    task, least = order["task"], order["min_score"]
    tokenizer = AutoTokenizer.from_pretrained(order["tokenizer"], local_files_only=True)
    client = AsyncOpenAIClient(
        max_concurrent_requests=order["limit"], max_retries=3, base_delay=1.0, base_url=order["base_url"], api_key="-"
    )
    yield ParquetReader(file_paths=order["documents"])
    yield Filter(filter_fn=lambda score: int(score) >= least, filter_field="quality_score")
    yield from preprocessing(task, tokenizer)
    yield nemotron_cc.DiverseQAStage(
        client=client,
        model_name="simulated",
        generation_config=GenerationConfig(temperature=0.5, top_p=0.9, max_tokens=task["max_output_tokens"]),
        system_prompt=task["system_prompt"],
        prompt=task["prompt"],
        tokenizer=tokenizer,
    )
    yield from postprocessing(task, tokenizer)
    yield ParquetWriter(path=order["output"])


def main() -> None:
    """Answer each order; whatever else is printed goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        if order.get("core") is not None:
            os.sched_setaffinity(0, {order["core"]})
        print(json.dumps(job(order) if order["do"] == "job" else timed(order)), file=answers, flush=True)


if __name__ == "__main__":
    main()
