"""Jobs on GPUs: what is looked at before, and workers of one thread that have several partitions in hand."""

import dataclasses
import time

import pandas as pd
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster
from kinds import skip_without_a_gpu
from stand_in_frames import stand_in

from nemocc_dask import devices
from nemocc_dask.cli import nemocc
from nemocc_dask.clusters import running_cluster
from nemocc_dask.devices import cuda_devices
from nemocc_dask.dispatch import Partitions
from nemocc_dask.errors import JobError, SettingError
from nemocc_dask.io.parts import plan_parts
from nemocc_dask.job import run_job
from nemocc_dask.order import Order
from nemocc_dask.partition import Work
from nemocc_dask.settings import Job

from .jobs import OUTPUT_FIELDS, arguments, assert_accounted_for, assert_same_results, quiet, rejects

without_gpu = pytest.mark.skipif(cuda_devices() > 0, reason="there is a CUDA device")


@without_gpu
def test_a_gpu_that_is_not_there(job, simulator):
    """Asked for where there is none, one line says so before anything is sent, and what to do."""
    done = CliRunner().invoke(nemocc, arguments(job(simulator, gpu=True)), prog_name="nemocc-dask")
    assert done.exit_code == 2 and "A GPU is asked for" in done.stderr.splitlines()[-1]
    assert quiet(simulator) == 0


def test_without_a_driver_nothing_is_to_be_installed(monkeypatch):
    """Where there is no driver, libraries of gigabytes would not help."""
    monkeypatch.setattr(devices, "driver", None)
    monkeypatch.setattr(devices, "_has_driver", lambda: False)
    with pytest.raises(SettingError, match="there is no CUDA driver here") as refusal:
        devices.check_gpu()
    assert "pip install" not in str(refusal.value)
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    with pytest.raises(SettingError, match="pip install"):
        devices.check_gpu()


@pytest.fixture
def one_thread():
    """A worker of one thread in this process, as a GPU's is."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@without_gpu
def test_a_cluster_without_gpus(one_thread):
    """Workers of a running cluster that have none are named before anything runs on them."""
    address = one_thread.scheduler.address
    with (
        pytest.raises(JobError, match=r"1 workers .* have no GPU.*dask cuda worker"),
        running_cluster(address, None, gpu=True),
    ):
        pass


def test_workers_and_gpu_contradict_each_other():
    """The number of GPUs is the number of workers."""
    with pytest.raises(SettingError, match="CUDA_VISIBLE_DEVICES"):
        Job(output="o", samples=1, base_url="http://localhost:1/v1", model="m", gpu=True, workers=2)


@pytest.mark.parametrize(("in_hand", "at_once"), [(1, 5), (3, 15)])
def test_a_thread_is_left_while_answers_are_awaited(job, simulate, one_thread, in_hand, at_once):
    """A worker of one thread has as many partitions in hand as it may, each with five requests, and no more."""
    simulator = simulate(latency_s=0.6)
    order = Order.of(job(simulator, input=(), samples=40, rows_per_partition=5))
    works = [Work(part) for part in plan_parts((), rows_per_partition=5, samples=40)]
    plan = dataclasses.replace(order.plan(None, "run"), partitions_in_hand=in_hand)
    began = time.monotonic()
    records = list(Partitions(one_thread, works, plan, lambda *_: False).records(on_interrupt=lambda: None))
    assert len(records) == 8 and quiet(simulator) == 40
    assert simulator.stats()["peak_in_flight"] == at_once
    assert time.monotonic() - began >= 0.6 * 8 / in_hand


def test_partitions_on_a_device_write_the_rows_of_the_host(job, simulate, one_thread, tmp_path):
    """On frames that stand in for cuDF's, shards and rejects of every task are those of pandas frames."""
    for place, gpu in (("host", False), ("gpu", True)):
        order = Order.of(job(simulate(), output=str(tmp_path / place), samples=7))
        parts = plan_parts(order.files, rows_per_partition=10, samples=7)
        works = [Work(part, (1,)) for part in parts]
        plan = dataclasses.replace(order.plan(order.columns([part for part in parts if part.file]), "run"), gpu=gpu)
        with pytest.MonkeyPatch.context() as patch:
            engine = stand_in(patch)
            list(Partitions(one_thread, works, plan, lambda *_: False).records(on_interrupt=lambda: None))
        assert engine.made == (len([work for work in works if work.part.file]) if gpu else 0)
    assert_same_results(tmp_path / "host", tmp_path / "gpu")
    for task in ("input", *OUTPUT_FIELDS):
        pd.testing.assert_frame_equal(rejects(tmp_path / "host", task), rejects(tmp_path / "gpu", task))


def test_a_job_on_gpus_has_the_rows_of_one_without(job, simulate, tmp_path):
    """Text on the devices or not, the same rows come out for every task, the same go, and the books balance."""
    skip_without_a_gpu()
    for place, gpu in (("host", False), ("gpu", True)):
        simulator = simulate()
        books = run_job(job(simulator, output=str(tmp_path / place), samples=7, gpu=gpu))
        assert_accounted_for(tmp_path / place, books, quiet(simulator))
    assert_same_results(tmp_path / "host", tmp_path / "gpu")
