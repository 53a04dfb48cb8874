"""The command line: its words, its exit codes, and the processes behind it."""

import json
import os
import signal
import subprocess
import sys
import tomllib
import urllib.request

import click
import pandas as pd
import psutil
import pytest

from nemocc_dask.cli import nemocc
from nemocc_dask.settings import Job
from nemocc_dask.simulate import Knobs
from nemocc_dask.tasks import TASKS, task_from_toml

from .jobs import OUTPUT_FIELDS, arguments, books_of, clean_documents, finish, quiet, start, wait_until

VERBS = ["cancel", "demo", "run", "simulate", "status", "submit", "tasks"]
OPTIONS = {option.name: option for option in nemocc.commands["run"].params}


def ended(words, **how):
    """A command of another program, run to its end."""
    return subprocess.run(words, capture_output=True, text=True, timeout=60, **how)


def alive(group):
    """What is left of a process group, but for those that have ended and whom nobody has asked how."""
    processes = (process.info for process in psutil.process_iter(["pid", "status", "cmdline"]))
    running = (process for process in processes if process["status"] != psutil.STATUS_ZOMBIE)
    return [process for process in running if _group(process["pid"]) == group]


def _group(process):
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None


# --- words ------------------------------------------------------------------------------------------------------------


def test_the_verbs(cli):
    """The group lists every verb with a line about it."""
    result = cli("--help")
    assert result.exit_code == 0 and sorted(nemocc.commands) == VERBS
    for verb in VERBS:
        assert f"\n  {verb} " in result.stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("words", [[], *([verb] for verb in VERBS), ["tasks", "show"]], ids=" ".join)
def test_help_of_every_verb(cli, words, flag):
    """Each verb explains itself, under its own name."""
    result = cli(*words, flag)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(" ".join(["Usage: nemocc-dask", *words]))


def test_every_setting_is_an_option():
    """`run` has an option for each setting of a job, by its name, and no other but --job and --help."""
    assert OPTIONS.keys() == Job.model_fields.keys() | {"job_file"}
    for name in Job.model_fields:
        assert OPTIONS[name].opts == [f"--{name.replace('_', '-')}"]


@pytest.mark.parametrize("name", list(Job.model_fields))
def test_options_are_described(name):
    """Each option says what the setting means and what holds where it is not given, and takes the setting's type."""
    field, option = Job.model_fields[name], OPTIONS[name]
    assert option.help.startswith(field.description)
    if isinstance(field.default, (int, float, str)) and field.default is not False:
        assert f"[default: {field.default}]" in option.help
    kinds = {"max_tokens": click.INT, "seed": click.INT, "top_k": click.INT, "high_above": click.FLOAT}
    assert option.type is kinds.get(name, option.type)


def test_every_knob_is_an_option(cli):
    """`simulate` has an option for each knob of the simulated endpoint, beside its address."""
    words = cli("simulate", "--help").stdout
    for name in (*Knobs.__dataclass_fields__, "host", "port"):
        flag = name.removesuffix("_s") if name.startswith("latency") else name
        assert f"--{flag.replace('_', '-')}" in words


# --- the group within Dask's ------------------------------------------------------------------------------------------


def test_the_group_within_dask():
    """`dask nemocc --help` lists the verbs, and has imported nothing heavy of ours to do so."""
    program = "import sys; from dask.__main__ import main; sys.argv = ['dask', 'nemocc', '--help']\n"
    program += "try: main()\nexcept SystemExit as end: code = end.code\n"
    heavy = ["aiohttp", "dask.dataframe", "pandas", "pyarrow", "rich", "tokenizers", "transformers"]
    program += f"print(code, [name for name in {heavy} if name in sys.modules], 'nemocc_dask.verbs' in sys.modules)"
    result = ended([sys.executable, "-c", program])
    assert all(f"\n  {verb} " in result.stdout for verb in VERBS)
    assert result.stdout.splitlines()[-1] == "0 [] False", result.stdout


# --- run --------------------------------------------------------------------------------------------------------------


def test_a_job_file_and_a_flag(cli, simulator, tmp_path, parquet, output, tokenizer_file):
    """The keys of a job file are the settings, single or in lists, and a flag beats them."""
    text = f"""
        input = "{parquet(clean_documents(6))}"
        output = "{tmp_path / "elsewhere"}"
        task = ["distill"]
        base_url = "{simulator.base_url}"
        model = "simulated"
        tokenizer = "{tokenizer_file}"
        rows_per_partition = 3
        temperature = 0.9
        extra_kwargs = {{ min_p = 0.1 }}
    """
    (tmp_path / "job.toml").write_text(text)
    result = cli("run", "--job", tmp_path / "job.toml", "--output", output, "--temperature", "0.1", "--stop", "END")
    assert result.exit_code == 0, result.output
    sampling = books_of(output)["identity"]["sampling"]
    assert sampling["temperature"] == 0.1 and sampling["stop"] == ["END"] and sampling["extra_kwargs"] == {"min_p": 0.1}
    assert books_of(output)["parts"]["all"] == 2 and not (tmp_path / "elsewhere").exists()


def test_what_run_prints(cli, job, simulate, output):
    """A job ends with a table of all tasks in the catalogue's order, its rejects by reason, and where its files are."""
    result = cli(*arguments(job(simulate(truncate_rate=0.2), samples=5)))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("40 documents went in, 5 were dropped (") and lines[0].endswith("35 went on.")
    table = [line.split("|")[0].strip() for line in lines if "|" in line]
    assert table[0] == "task" and set(table[1]) == {"-"} and table[2:] == list(TASKS)
    assert any("distill" in line and "truncated" in line for line in lines)
    assert f"  {output}/distill" in lines and any(str(output / "_nemocc" / "run.json") in line for line in lines)


def test_what_goes_into_a_file_is_plain(cli, job, simulator):
    """Where nobody looks at a terminal nothing is cut, wrapped or coloured, and the tables are ASCII."""
    result = cli(*arguments(job(simulator, samples=5)))
    assert result.stdout.isascii() and "\x1b" not in result.output
    [heading] = [line for line in result.stdout.splitlines() if line.strip().startswith("task")]
    assert "tokens out" in heading
    widths = {len(line) for line in result.stdout.splitlines() if "|" in line}
    assert len(widths) == 1


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_the_list_of_tasks(cli):
    """`tasks` prints a row for each task with its budgets."""
    lines = cli("tasks").stdout.splitlines()
    rows = {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.split("|")] for line in lines)}
    assert rows["distill"] == ["distill", "30", "10", "2000", "1600", "1598", "50"]
    assert rows["multilingual_qa"] == ["text", "-", "-", "-", "600", "598", "-"]
    assert [name for name in rows if name in TASKS] == list(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_shown_is_the_task(cli, name):
    """What `tasks show` prints reads back as the very task."""
    result = cli("tasks", "show", name)
    assert result.exit_code == 0
    assert task_from_toml(result.stdout, where="stdout") == TASKS[name]


def test_a_task_shown_can_be_run(cli, job, simulator, output, tmp_path, parquet):
    """A task that was shown, edited and given to --task-file is run as it was edited."""
    shown = cli("tasks", "show", "knowledge_list").stdout
    assert tomllib.loads(shown)["name"] == "knowledge_list"
    (tmp_path / "mine.toml").write_text(shown.replace('name = "knowledge_list"', 'name = "mine"'))
    settings = {"input": parquet(clean_documents(3)), "task_file": str(tmp_path / "mine.toml")}
    assert cli(*arguments(job(simulator, **settings))).exit_code == 0
    assert len(pd.read_parquet(output / "mine")) == 3


def test_no_such_task(cli):
    """A task there is not is named, with those there are."""
    result = cli("tasks", "show", "destil")
    assert result.exit_code == 2 and "'destil'" in result.stderr and "distill" in result.stderr


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stroke", [signal.SIGTERM, signal.SIGINT])
def test_the_simulated_endpoint(stroke):
    """`simulate` takes a free port, says where it is, answers by the knobs it was given, and ends well when told to."""
    with start(["simulate", "--port", "0", "--model", "mine", "--latency", "0.01"]) as process:
        address = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        with urllib.request.urlopen(f"{address.rstrip(';')}/models", timeout=10) as answer:
            assert json.load(answer)["data"][0]["id"] == "mine"
        os.kill(process.pid, stroke)
        assert process.wait(10) == 0 and "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("words", [["--port", "no"], ["--error-rate", "2"], ["--no-such"]])
def test_knobs_without_meaning(cli, words):
    """A knob with a value it cannot have ends with exit code 2 and one line."""
    result = cli("simulate", *words)
    assert result.exit_code == 2 and "Traceback" not in result.output


def test_the_demo(tmp_path):
    """`demo` needs no network, key or GPU: all six tasks end well, and it prints a table and a result of each."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = finish(["demo", "--latency", "0"], cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    output = tmp_path / "demo-output"
    assert {path.name for path in output.iterdir()} == {*OUTPUT_FIELDS, "_nemocc"}
    assert all(len(pd.read_parquet(output / task)) > 0 for task in OUTPUT_FIELDS)
    assert books_of(output)["state"] == "done" and "no language model" in result.stdout
    examples = {line.split(": ", 1)[0]: line for line in result.stdout.splitlines() if ": " in line}
    assert examples.keys() >= OUTPUT_FIELDS.keys()
    assert examples["diverse_qa"].startswith("diverse_qa: Question: ") and " Answer: " in examples["diverse_qa"]
    rows = [line for line in result.stderr.splitlines() if " rows, " in line]
    assert rows and "2 of 2 partitions" in rows[-1] and "\x1b" not in result.stderr


def test_a_process_with_workers_is_interrupted(job, simulate, output):
    """Ctrl-C at a terminal, which every process of the job gets, ends them all, with 130, and nothing more is asked."""
    simulator = simulate(latency_s=0.3)
    settings = {"task": ("distill",), "workers": 2, "max_concurrent_requests": 2, "threads_per_worker": 1}
    with start(arguments(job(simulator, **settings))) as process:
        wait_until(lambda: simulator.stats()["requests"] >= 3 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1].endswith("goes on where it stopped.")
    assert books_of(output)["state"] == "interrupted"
    requests = quiet(simulator)
    wait_until(lambda: not alive(process.pid))
    assert simulator.stats()["requests"] == requests
