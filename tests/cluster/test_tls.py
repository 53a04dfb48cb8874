"""Jobs on clusters that speak TLS, and what somebody is told whose certificate is missing, wrong or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from job.jobs import assert_accounted_for, books_of

from .processes import Certificates, Cluster, EndpointProcess, nemocc

COMM = "DASK_DISTRIBUTED__COMM__"


def certificates(folder: Path) -> Certificates:
    """Those of an authority of its own, for 127.0.0.1."""
    folder.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of the cluster's authority."""
    return certificates(tmp_path_factory.mktemp("authority") / "ours")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, ours: Certificates) -> Iterator[tuple[Cluster, EndpointProcess]]:
    """A cluster that speaks nothing but TLS, and an endpoint."""
    folder = tmp_path_factory.mktemp("tls")
    with ExitStack() as both:
        cluster = both.enter_context(Cluster(workers=2, folder=folder / "cluster", tls=ours))
        yield cluster, both.enter_context(EndpointProcess(folder))


def ran(running: tuple[Cluster, EndpointProcess], output: Path, address: str, environment: dict[str, str]) -> str:
    """What the command says that fails, in its last line."""
    endpoint = ["--base-url", running[1].base_url, "--model", "simulated"]
    words = ["run", "--scheduler", address, *endpoint, "--output", str(output), "--samples", "20"]
    done = nemocc(*words, "--rows-per-partition", "5", env=environment)
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if "nemocc-dask: " in done.stderr else 0), done.stderr
    return done.stderr.splitlines()[-1]


def test_a_job_with_tls(running, ours, tmp_path):
    """A job runs encrypted between client, scheduler and workers, told by Dask's own configuration alone."""
    cluster, endpoint = running
    before = endpoint.stats()["requests"]
    environment = {**ours.client_environment(), COMM + "REQUIRE_ENCRYPTION": "True"}
    assert "20 of 20 rows" in ran(running, tmp_path / "out", cluster.address, environment)
    assert_accounted_for(tmp_path / "out", books_of(tmp_path / "out"), endpoint.stats()["requests"] - before)
    assert cluster.address.startswith("tls://")


def test_no_certificate(running, tmp_path):
    """Who has an address with TLS and no certificate is told which settings name one."""
    said = ran(running, tmp_path / "out", running[0].address, {})
    assert said.startswith(
        f"nemocc-dask: {running[0].address} is an address with TLS, and no certificate is known here."
    )
    assert said.endswith("DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY.")


def test_an_address_without_tls(running, ours, tmp_path):
    """Who asks a scheduler with TLS without it is told how its address begins."""
    plain = running[0].address.replace("tls", "tcp")
    said = ran(running, tmp_path / "out", plain, {})
    assert said.startswith(f"nemocc-dask: Somebody answers at {plain}, and the connection broke:")
    assert "begins with tls://" in said
    required = {**ours.client_environment(), COMM + "REQUIRE_ENCRYPTION": "True"}
    said = ran(running, tmp_path / "out", plain, required)
    assert said.startswith(f"nemocc-dask: Dask will not speak to {plain}:") and "begins with tls://" in said


def test_the_certificate_of_another_authority(running, tmp_path):
    """A certificate of another authority is refused, and that is said."""
    theirs = certificates(tmp_path / "theirs")
    said = ran(running, tmp_path / "out", running[0].address, theirs.client_environment())
    assert said.startswith("nemocc-dask: Somebody answers at") and "has to be of its authority" in said


@pytest.mark.parametrize("spoilt", ["nowhere.pem", "spoilt.pem"])
def test_a_certificate_that_cannot_be_read(running, ours, tmp_path, spoilt):
    """A file that is missing, or holds no certificate, is named."""
    (tmp_path / "spoilt.pem").write_text("no certificate")
    environment = {**ours.client_environment(), COMM + "TLS__CLIENT__CERT": str(tmp_path / spoilt)}
    said = ran(running, tmp_path / "out", running[0].address, environment)
    assert said.startswith("nemocc-dask: The certificate that distributed.comm.tls names cannot be used:")
    assert str(tmp_path / spoilt) in said
