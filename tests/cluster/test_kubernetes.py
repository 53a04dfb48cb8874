"""The recipe for Kubernetes is one that the Dask operator takes, and its commands are ones there are."""

from __future__ import annotations

import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker

from nemocc_dask.cli import nemocc

RECIPE = Path(__file__).resolve().parents[2] / "docs" / "kubernetes" / "daskjob.yaml"
PLACE = Path(sys.prefix) / "dask-kubernetes"
"""Where make puts the operator's package, apart from others, for of what it depends on nothing is needed here."""

COMMANDS = {
    ("nemocc-dask", "run"): nemocc.commands["run"],
    ("dask", "worker"): dask_worker.main,
    ("dask", "scheduler"): dask_scheduler.main,
}


def crd() -> dict[str, Any] | None:
    """The operator's definition of a DaskJob; None where its package is not there."""
    for package in distributions(name="dask-kubernetes", path=[str(PLACE), *sys.path]):
        for file in package.files or []:
            if file.match("crds/daskjob.yaml"):
                return dict(yaml.safe_load(file.locate().read_text(encoding="utf-8")))
    return None


def as_json_schema(schema: Any) -> Any:
    """A schema of Kubernetes' dialect as one of JSON Schema, in which names that are not known are wrong."""
    if isinstance(schema, list):
        return [as_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: as_json_schema(value) for name, value in schema.items()}
    if said.get("x-kubernetes-int-or-string") is True:
        return {"type": ["integer", "string"]}
    if isinstance(said.get("properties"), dict) and not said.get("x-kubernetes-preserve-unknown-fields"):
        said.setdefault("additionalProperties", False)
    return said


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """The recipe, read."""
    return dict(yaml.safe_load(RECIPE.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """What the operator takes as a DaskJob's spec."""
    found = crd()
    if found is None:
        pytest.skip("needs the operator's package: make test, or pip install --no-deps dask-kubernetes")
    (version,) = found["spec"]["versions"]
    return dict(as_json_schema(version["schema"]["openAPIV3Schema"]["properties"]["spec"]))


def test_the_operator_takes_it(job, schema):
    """The recipe has the kind and version that the operator serves, and its spec is valid with no name unknown."""
    found = crd()
    assert found is not None
    served = [f"{found['spec']['group']}/{each['name']}" for each in found["spec"]["versions"] if each["served"]]
    assert job["apiVersion"] in served and job["kind"] == found["spec"]["names"]["kind"]
    jsonschema.validate(job["spec"], schema)


@pytest.mark.parametrize("path", [("job", "spec", "container"), ("cluster", "spec", "workers")])
def test_what_the_operator_does_not_know_is_found(job, schema, path):
    """A name that is misspelt fails the check, so that the check above can."""
    spoilt = yaml.safe_load(yaml.safe_dump(job["spec"]))
    *inner, last = path
    there = spoilt
    for name in inner:
        there = there[name]
    there[last] = []
    with pytest.raises(jsonschema.ValidationError, match=last):
        jsonschema.validate(spoilt, schema)


def containers(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name → container, of client, workers and scheduler."""
    cluster = job["spec"]["cluster"]["spec"]
    specs = [job["spec"]["job"]["spec"], cluster["worker"]["spec"], cluster["scheduler"]["spec"]]
    return {each["name"]: each for spec in specs for each in spec["containers"]}


@pytest.mark.parametrize("name", ["job", "worker", "scheduler"])
def test_its_commands_are_ones_there_are(job, name):
    """Each container's words are taken by the command they begin with."""
    program, verb, *words = containers(job)[name]["args"]
    COMMANDS[program, verb].make_context(verb, list(words))


def test_the_key_comes_from_a_secret(job):
    """The variable that --api-key-env names comes from a Secret, in every container."""
    found = containers(job)
    words = found["job"]["args"]
    variable = words[words.index("--api-key-env") + 1]
    for container in found.values():
        (entry,) = [each for each in container["env"] if each["name"] == variable]
        assert "value" not in entry and entry["valueFrom"]["secretKeyRef"]["name"]


def test_the_service_finds_the_scheduler(job):
    """The scheduler's service selects the cluster of this job, which the operator names as the job."""
    service = job["spec"]["cluster"]["spec"]["scheduler"]["service"]
    assert service["selector"]["dask.org/cluster-name"] == job["metadata"]["name"]
    named = {port["name"] for port in containers(job)["scheduler"]["ports"]}
    assert {port["targetPort"] for port in service["ports"]} == named
