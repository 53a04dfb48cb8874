"""What cannot work stops before a request is sent; what turns out not to work stops at once, with one line."""

import socket

import pytest

from nemocc_dask.tasks import TASKS, task_to_toml

from .jobs import arguments, assert_accounted_for, books_of, clean_documents, parts_done, quiet


@pytest.fixture
def run(job, cli):
    """Runs a job by its command line in this process."""
    return lambda simulator, *more, **settings: cli(*arguments(job(simulator, **settings)), *more)


def only_line(result):
    """What was said: one line, with no traceback."""
    [line] = [line for line in result.stderr.splitlines() if line.startswith("nemocc-dask: ")]
    assert "Traceback" not in result.stderr
    return line


# --- the call is wrong: exit code 2, and no request -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input": ("none.parquet",)}, ["none.parquet"]),
        ({"text_field": "body"}, ["'body'", "--text-field", "topic"]),
        ({"id_field": "key"}, ["'key'", "--id-field"]),
        ({"score_field": "grade"}, ["'grade'", "--score-field"]),
        ({"columns": ("colour",)}, ["'colour'", "--columns"]),
        ({"task": ("destil",)}, ["'destil'", "distill", "--task-file"]),
        ({"task": ("multilingual_qa",)}, ["'multilingual_qa'", "--samples"]),
        ({"task_file": ("none.toml",)}, ["none.toml"]),
        ({"samples": 5, "languages": ("Klingon",)}, ["'Klingon'", "German"]),
        ({"tokenizer": "/none/tokenizer.json"}, ["/none/tokenizer.json"]),
        ({"api_key_env": "NEMOCC_TEST_NO_SUCH_KEY"}, ["NEMOCC_TEST_NO_SUCH_KEY"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_call_that_is_wrong(run, simulator, settings, words):
    """A setting that cannot work ends with exit code 2 and one line that names it and the remedy; nothing is sent."""
    result = run(simulator, **settings)
    assert result.exit_code == 2, result.output
    assert all(word in only_line(result) for word in words)
    assert simulator.stats()["requests"] == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--rows-per-partition", "0"), "rows_per_partition"),
        (("--temperature", "-1"), "temperature"),
        (("--max-failed-fraction", "2"), "max_failed_fraction"),
        (("--extra-kwargs", "{"), "--extra-kwargs"),
        (("--extra-kwargs", '{"model": "m"}'), "extra_kwargs"),
        (("--base-url", "localhost:1/v1"), "base_url"),
        (("--output-format", "csv"), "--output-format"),
        (("--samples", "many"), "--samples"),
        (("--no-such-option", "1"), "--no-such-option"),
    ],
)
def test_options_without_meaning(run, simulator, words, named):
    """An option with a value it cannot have ends with exit code 2 and its name; nothing is sent."""
    result = run(simulator, *words)
    assert result.exit_code == 2 and named in result.stderr
    assert simulator.stats()["requests"] == 0


@pytest.mark.parametrize("missing", ["input", "output", "base_url", "model"])
def test_settings_that_have_to_be_given(job, cli, simulator, missing):
    """Without input, output, address or model there is no job, and the message says which is missing."""
    words = arguments(job(simulator))
    at = words.index(f"--{missing.replace('_', '-')}")
    result = cli(*words[:at], *words[at + 2 :])
    assert result.exit_code == 2 and missing.replace("_", "") in only_line(result).replace("_", "").replace("-", "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.jsonl", b""),
        ("blank.jsonl", b"\n \n"),
        ("torn.jsonl", b'{"id": 1, "text": "a"}\n{"id": 2, "te'),
        ("torn.parquet", b"PAR1"),
        ("table.csv", b"id,text\n1,a\n"),
    ],
)
def test_files_of_no_use(run, simulator, tmp_path, name, content):
    """An empty, torn or unknown file ends the call with its name before anything is sent."""
    (tmp_path / name).write_bytes(content)
    result = run(simulator, input=str(tmp_path / name))
    assert result.exit_code == 2 and name in only_line(result)
    assert simulator.stats()["requests"] == 0


def test_reserved_columns(run, simulator, parquet):
    """An input column with the name of one that the run writes is named, and can be left out by --columns."""
    path = parquet(clean_documents(5).assign(distill="x", model="y"))
    result = run(simulator, input=path, task=("distill",))
    assert result.exit_code == 2 and "--columns" in only_line(result)
    assert run(simulator, "--columns", "quality_score", input=path, task=("distill",)).exit_code == 0


def test_a_prompt_that_leaves_no_room(run, simulator, tmp_path):
    """A task whose prompt fills its budget is refused with the numbers, before a document is read."""
    own = task_to_toml(TASKS["distill"]).replace("max_input_tokens = 2000", "max_input_tokens = 50")
    (tmp_path / "own.toml").write_text(own)
    result = run(simulator, task_file=str(tmp_path / "own.toml"))
    assert result.exit_code == 2 and "max_input_tokens" in only_line(result)
    assert simulator.stats()["requests"] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('inptu = "a"', "'inptu'"),
        ("[[", "job.toml"),
        ("samples = 'many'", "samples"),
        ("api_key = 'sk-1'", "'api_key'"),
        (None, "job.toml"),
    ],
)
def test_job_files_of_no_use(cli, tmp_path, content, words):
    """A job file with an unknown key, of no TOML, with a value that cannot be, or that is not there, is named."""
    path = tmp_path / "job.toml"
    if content is not None:
        path.write_text(content)
    result = cli("run", "--job", path, "--output", "out", "--model", "m", "--base-url", "http://localhost:1/v1")
    assert result.exit_code == 2 and words in only_line(result)


# --- the job cannot go on: exit code 1 --------------------------------------------------------------------------------


def test_nobody_at_the_address(run, simulate, output):
    """Where nobody answers the job ends with exit code 1 and the address, and leaves no folder behind."""
    simulator = simulate()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        result = run(simulator, base_url=(address,))
    assert result.exit_code == 1 and address in only_line(result)
    assert not output.exists()


@pytest.mark.parametrize(
    ("knobs", "settings", "words"),
    [
        ({"api_key": "sk-1"}, {}, ["401", "api_key_env"]),
        ({"error_rate": 1.0, "error_status": 401}, {}, ["401"]),
        ({"error_rate": 1.0, "error_status": 403}, {}, ["403", "may use this model"]),
        ({"error_rate": 1.0, "error_status": 404}, {}, ["404", "/v1"]),
        ({}, {"model": "another"}, ["404", "'another'", "simulated"]),
    ],
    ids=["no key", "401", "403", "404", "no such model"],
)
def test_an_endpoint_that_refuses_everything(run, simulate, output, knobs, settings, words):
    """What every request would meet alike stops the job at once: one line, exit code 1, and no retries."""
    simulator = simulate(latency_s=0.02, **knobs)
    result = run(simulator, max_concurrent_requests=5, rows_per_partition=2, **settings)
    assert result.exit_code == 1, result.output
    assert all(word in only_line(result) for word in words)
    assert simulator.stats()["repeated"] == 0 and parts_done(output) == []
    if quiet(simulator):
        books = books_of(output)
        assert books["state"] == "stopped" and words[0] in books["error"]


@pytest.mark.parametrize("batches", ["one", "many"])
def test_a_refusal_is_learnt_once(run, simulate, corpus, batches):
    """When every request is refused, a place on the wire is used a few times at most, however many wait to send."""
    simulator = simulate(latency_s=0.02, error_rate=1.0, error_status=403)
    one = {"input": f"{corpus}/b.jsonl", "task": ("distill",), "rows_per_partition": 1000}
    assert run(simulator, max_concurrent_requests=5, **(one if batches == "one" else {})).exit_code == 1
    assert quiet(simulator) <= 4 * 5  # those on their way, and a partition that was about to begin


def test_it_goes_on_once_the_endpoint_is_mended(run, simulate, output):
    """A job that a refusal stopped goes on, in the same folder, when the same call meets an endpoint that answers."""
    assert run(simulate(error_rate=1.0, error_status=403), task=("distill",)).exit_code == 1
    simulator = simulate()
    assert run(simulator, task=("distill",)).exit_code == 0
    assert_accounted_for(output, books_of(output), http_requests=quiet(simulator))


def test_an_address_without_its_version(run, simulator):
    """An address that lacks its /v1 is refused with that hint, not retried."""
    result = run(simulator, base_url=(simulator.base_url.removesuffix("/v1"),), max_concurrent_requests=3)
    assert result.exit_code == 1 and "/v1" in only_line(result)
    assert quiet(simulator) == 0


# --- done, but rows failed: exit code 3 -------------------------------------------------------------------------------


def test_a_row_in_ten_is_refused(run, simulate, output):
    """Rows that the endpoint refuses cost nobody else an answer; beyond the fraction allowed the exit code is 3."""
    simulator = simulate(bad_request_rate=0.1)
    result = run(simulator, task=("distill", "knowledge_list"))
    assert result.exit_code == 3
    books = books_of(output)
    assert_accounted_for(output, books, http_requests=quiet(simulator))
    for account in books["tasks"].values():
        assert account["kept"] == account["requests"] - account["failed"]["http_400"] > 0
        assert account["http_requests"] == account["requests"]
    assert "failed" in result.stdout


def test_the_fraction_is_a_setting(run, simulate, tmp_path):
    """The same failures are well where more are allowed, on the command line or in the job file."""
    simulator = simulate(bad_request_rate=0.1)
    assert run(simulator, "--max-failed-fraction", "0.5", task=("distill",)).exit_code == 0
    (tmp_path / "job.toml").write_text("max_failed_fraction = 0.5")
    assert run(simulator, "--job", str(tmp_path / "job.toml"), task=("distill",)).exit_code == 0
    assert run(simulator, task=("distill",)).exit_code == 3
