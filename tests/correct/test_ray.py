"""The pipeline on a Ray cluster: the same bytes as on this machine, whatever dies on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from fake_study import heart, write_nc
from patience import HANGS_S

from spectac_fast.correct import Corrector, Report, carry_out
from spectac_fast.correct.engines.cluster import carry_out_on_ray
from spectac_fast.errors import UsageError

ray = pytest.importorskip("ray", reason="needs Ray (extra: ray)")
pytestmark = pytest.mark.night

STUDIES = 12


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def studies(tmp_path):
    rng = np.random.default_rng(4)
    for k in range(STUDIES):
        for phase in ("stress", "rest"):
            counts = heart(rng, shape=(12, 24, 24))
            write_nc(tmp_path / "in" / f"{k}" / f"{phase}_SA.dcm", counts, phase=phase, study_key=str(k))
    (tmp_path / "in" / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"rubbish")
    return tmp_path / "in"


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.dcm")}


def settings(**more):
    return {"model": "bbdm", "device": "cpu", "batch_size": 8, "seed": 3, **more}


def test_the_same_bytes_with_a_worker_killed_and_again_nothing_to_do(cluster, studies, tmp_path, figures):
    corrector, local = Corrector(**settings()), Report()
    carry_out(corrector, corrector.plan([studies], tmp_path / "local"), local)
    assert len(contents(tmp_path / "local")) == 2 * STUDIES

    killed = []

    def kill_one(actors):
        process = ray.get(actors[0].__ray_call__.remote(lambda self: os.getpid()))

        def work():
            while not contents(tmp_path / "ray"):
                time.sleep(0.005)
            os.kill(process, signal.SIGKILL)
            killed.append(len(contents(tmp_path / "ray")))

        threading.Thread(target=work, daemon=True).start()

    report, out = Report(), tmp_path / "ray"
    carry_out_on_ray(corrector, settings(), corrector.plan([studies], out), report, workers=2, on_start=kill_one)
    assert contents(out) == contents(tmp_path / "local")
    assert (report.studies, report.slices) == (local.studies, local.slices) == (STUDIES, 24 * STUDIES)
    assert report.failed == local.failed
    assert len(report.failed) == 1

    again = Report()
    carry_out_on_ray(corrector, settings(), corrector.plan([studies], out), again, workers=2)
    assert (again.studies, again.written, len(again.finished)) == (0, [], 2 * STUDIES)
    assert len(killed) == 1
    assert killed[0] < 2 * STUDIES
    figures(
        f"{STUDIES} studies on 2 workers, one killed after {killed[0]} of {2 * STUDIES} files: "
        "all there, the bytes of a local run"
    )


def test_more_workers_than_cores_do_not_wait_for_each_other(cluster, studies, tmp_path, figures):
    corrector, report = Corrector(**settings(model="scale")), Report()
    plan = corrector.plan([studies], tmp_path / "out")
    carry_out_on_ray(corrector, settings(model="scale"), plan, report, workers=4)
    assert report.studies == STUDIES
    figures(f"4 workers on 2 cores: {report.studies} studies, no dead-lock")


def test_what_a_model_refuses_ends_the_run(cluster, studies, tmp_path):
    corrector, wrong = Corrector(**settings()), settings(steps=0)
    with pytest.raises(UsageError):
        carry_out_on_ray(corrector, wrong, corrector.plan([studies], tmp_path / "out"), Report(), workers=1)


def test_the_command_on_a_cluster_of_its_own(studies, tmp_path, figures):
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}

    def spectac(out, *words):
        words = ["-i", studies, "-o", tmp_path / out, "-d", "cpu", "--batch-size", "8", "--progress", "json", *words]
        return subprocess.run(
            [sys.executable, "-m", "spectac_fast.cli", "correct", *map(str, words)],
            capture_output=True,
            text=True,
            env={**environment, "OMP_NUM_THREADS": "1"},
            timeout=HANGS_S,
        )

    local = spectac("local")
    started = time.perf_counter()
    result = spectac("ray", "--engine", "ray", "--workers", "2", "--report", tmp_path / "run.json")
    seconds = time.perf_counter() - started
    # One file is damaged: it is listed, and the rest is done.
    assert (result.returncode, local.returncode) == (1, 1), result.stderr
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert len(contents(tmp_path / "ray")) == 2 * STUDIES
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert failed == [line for line in local.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1
    last = json.loads([line for line in result.stderr.splitlines() if line.startswith("{")][-1])
    assert last["done"] == last["total"] == 24 * STUDIES
    report = json.loads((tmp_path / "run.json").read_text())
    assert (report["exit_code"], report["studies_corrected"], report["failed"]) == (1, STUDIES, 1)
    assert sum(study["status"] == "corrected" for study in report["studies"]) == STUDIES
    again = spectac("ray", "--engine", "ray", "--workers", "2")
    assert f"{2 * STUDIES} series finished before" in again.stdout
    figures(f"`spectac correct --engine ray`: {STUDIES} studies in {seconds:.0f} s, the bytes of the local engine")
