"""A client of a Dask scheduler that is running already, or one line that says why there is none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, Security
from distributed.comm import CommClosedError

from nemocc_dask.errors import JobError

PATIENCE_S = 10
"""Longest wait for the scheduler to answer."""

_TLS = "distributed.comm.tls"
_TELL_DASK = (
    "Say where its files are in Dask's configuration: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY."
)


@contextmanager
def connect(scheduler: str | None, scheduler_file: str | None) -> Iterator[Client]:
    """A client of the scheduler at this address, or at the one in this file, while the block runs.

    Certificates are those that Dask's configuration names. What befalls the connection is told by errors alone: when a
    scheduler is gone, Dask logs whole tracebacks of its own.

    Raises `JobError` where nobody answers, or TLS is not settled between the two.
    """
    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with _client(scheduler, scheduler_file) as client:
            yield client
    finally:
        log.setLevel(level)


def _client(scheduler: str | None, scheduler_file: str | None) -> Client:
    address = scheduler or scheduler_file
    has_certificate = _has_certificate()
    where = {"address": scheduler} if scheduler else {"scheduler_file": scheduler_file}
    try:
        return Client(**where, timeout=PATIENCE_S)
    except CommClosedError as error:
        raise JobError(
            f"Somebody answers at {address}, and the connection broke: {error}. If that is a Dask scheduler with TLS, "
            f"its address begins with tls://, and the certificate has to be of its authority. {_TELL_DASK}"
        ) from None
    except (OSError, ValueError) as error:
        raise JobError(f"No Dask scheduler answers at {address}: {error}. Start one with 'dask scheduler'.") from None
    except TypeError:  # distributed's way to say that it has an address with TLS, and no certificate
        if has_certificate:
            raise
        raise JobError(f"{address} is an address with TLS, and no certificate is known here. {_TELL_DASK}") from None
    except RuntimeError as error:
        raise JobError(
            f"Dask will not speak to {address}: {error}. With distributed.comm.require-encryption the address of a "
            "scheduler begins with tls://."
        ) from None


def _has_certificate() -> bool:
    """Whether Dask's configuration names one for clients. Raises `JobError` where one is named that cannot be read."""
    security = Security()
    try:
        return security.get_connection_args("client")["ssl_context"] is not None
    except OSError as error:
        named = {"ca-file": security.tls_ca_file, "cert": security.tls_client_cert, "key": security.tls_client_key}
        files = ", ".join(f"{name} {file}" for name, file in named.items())
        raise JobError(f"The certificate that {_TLS} names cannot be used: {error} ({files}). Mend it there.") from None
