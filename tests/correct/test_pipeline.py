"""Batches across studies: whatever travels together, comes late or does not fit, every study comes out as alone."""

import json
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch
from fake_study import Times, heart, write_nc, write_study
from patience import until

import spectac_fast as sf
from spectac_fast import Corrector
from spectac_fast.correct import Report, carry_out, correct_study
from spectac_fast.correct.engines.memory import choose_batch_size, is_out_of_memory
from spectac_fast.correct.engines.network import Network
from spectac_fast.correct.stages import Stages
from spectac_fast.errors import NoInputError, SetupError, SpectacError, UsageError


def write_cases(folder, rng, count, slices=29, **geometry):
    for k in range(count):
        counts = heart(rng, (slices, 64, 64))
        write_nc(folder / f"case-{k:03}" / "SA.dcm", counts, study_key=f"case-{k}", **geometry)


class Ramp(Times):
    """Depends on the slice, its seed and its neighbours, so that a slice in another's place shows."""

    context_mm = (-6.8, 6.8)

    def translate(self, nc, seeds=None, neighbours=None, **options):
        super().translate(nc, seeds, neighbours, **options)
        noise = (seeds % 1000).float()[:, None, None, None] / 1000
        return nc + 0.1 * noise + 0.1 * neighbours.mean(1, keepdim=True)


def test_batches_run_across_studies_and_every_slice_keeps_its_place(tmp_path, rng):
    for k, (pixel, slices) in enumerate([(6.8, 29), (4.8, 12), (6.8, 3), (6.8, 90), (4.8, 20), (6.8, 1)]):
        write_nc(tmp_path / f"{k}" / "SA.dcm", heart(rng, (slices, 64, 64)), pixel_mm=pixel, study_key=str(k))
    model = Ramp()
    results = list(Corrector(model, batch_size=32, seed=4).map([tmp_path]))
    # 29 + 3 + 90 + 1 slices of 64 x 64 and 12 + 20 of 46 x 46: as few runs as can be, all filled up.
    assert [shape[0] for shape, _, _ in model.calls] == [32] * 5
    assert [result.sources[0].parent.name for result in results] == list("012345")
    for result in results:
        (alone,) = correct_study(result.study, Ramp(), seed=4)
        np.testing.assert_array_equal(result.counts[0], alone)


def test_results_may_come_as_they_are_done(tmp_path, rng):
    # The first study's slices have a shape of their own, which fills no batch.
    write_nc(tmp_path / "0" / "SA.dcm", heart(rng, (5, 64, 64)), pixel_mm=4.8, study_key="0")
    write_cases(tmp_path, rng, 5)
    names = {
        ordered: [r.sources[0].parent.name for r in Corrector(Times(), batch_size=16).map([tmp_path], ordered=ordered)]
        for ordered in (True, False)
    }
    assert names[True] == sorted(names[True])
    assert sorted(names[False]) == names[True]
    assert names[False][0] != "0"


def test_results_do_not_wait_for_the_end(tmp_path, rng):
    write_cases(tmp_path, rng, 60)
    model = Times()
    results = Corrector(model, batch_size=8, jobs=1).map([tmp_path])
    next(results)
    assert sum(shape[0] for shape, _, _ in model.calls) < 60 * 29 / 2
    results.close()


@pytest.mark.parametrize("ordered", [True, False])
def test_no_study_is_dropped_when_all_under_way_are_done_at_once(tmp_path, rng, monkeypatch, ordered):
    from spectac_fast.correct.engines import pipeline

    monkeypatch.setattr(pipeline, "_STUDY", 2)
    write_cases(tmp_path, rng, 8, slices=3)
    count = 0
    for _ in Corrector(Times(), batch_size=2, jobs=1).map([tmp_path], ordered=ordered):
        # Whoever takes the results is slow, so that everything else is finished meanwhile.
        time.sleep(0.05)
        count += 1
    assert count == 8


def test_a_run_that_loses_studies_does_not_end_well(tmp_path, rng, monkeypatch):
    from spectac_fast.correct.engines import pipeline

    whole = pipeline.Pipeline.run
    monkeypatch.setattr(pipeline.Pipeline, "run", lambda self, tasks: whole(self, list(tasks)[:-1]))
    write_cases(tmp_path, rng, 4, slices=3)
    results = Corrector(Times(), batch_size=2).map([tmp_path])
    assert len([next(results) for _ in range(3)]) == 3
    with pytest.raises(SpectacError, match="each of 4 studies, found none for 1"):
        next(results)


def test_few_studies_are_in_memory_however_many_there_are(tmp_path, rng, monkeypatch):
    from spectac_fast.correct.engines import pipeline

    # So few slices under way that ten studies reach the bound already.
    monkeypatch.setattr(pipeline, "_STUDY", 29)
    write_cases(tmp_path, rng, 6)
    peaks = []
    for copies in (10, 60):
        for k in range(6, copies):
            folder = tmp_path / f"case-{k:03}"
            if not folder.exists():
                folder.mkdir()
                (folder / "SA.dcm").write_bytes((tmp_path / f"case-{k % 6:03}" / "SA.dcm").read_bytes())
        corrector = Corrector(Times(), batch_size=16, jobs=1)
        tracemalloc.start()
        # The copies have one Study Instance UID each six: the sources are given as studies by hand.
        plan = corrector.plan([tmp_path])
        singles = tuple((source,) for study in plan.studies for source in study)
        for _ in corrector.run(type(plan)(singles, (), plan.root, None)):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Six times the studies; how far reading gets ahead depends on the threads' turns.
    assert peaks[1] < 2.0 * peaks[0]


def test_memory_that_does_not_suffice_halves_the_batch_and_loses_nothing(tmp_path, rng):
    write_cases(tmp_path / "in", rng, 3)

    class Tight(Ramp):
        def translate(self, nc, seeds=None, neighbours=None, **options):
            if len(nc) > 8:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().translate(nc, seeds, neighbours, **options)

    corrector, report = Corrector(Tight(), batch_size=32), Report()
    carry_out(corrector, corrector.plan([tmp_path / "in"], tmp_path / "tight"), report)
    assert report.halvings == [32, 16]
    assert report.slices == 87
    assert corrector.network.batch_size == 8
    other = Corrector(Ramp(), batch_size=8)
    carry_out(other, other.plan([tmp_path / "in"], tmp_path / "wide"), Report())
    outputs = [sorted((tmp_path / name).rglob("*.dcm")) for name in ("tight", "wide")]
    assert [path.read_bytes() for path in outputs[0]] == [path.read_bytes() for path in outputs[1]]


def test_two_slices_that_do_not_fit_are_one_sentence(tmp_path, rng):
    class None_(Times):
        def translate(self, nc, *args, **options):
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    write_cases(tmp_path, rng, 1)
    for size in (8, "auto"):
        with pytest.raises(SetupError, match="more memory"):
            list(Corrector(None_(), batch_size=size).map([tmp_path]))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("out of memory"))


def test_the_batch_size_follows_from_the_memory_there_is(monkeypatch):
    from spectac_fast.correct.engines import memory

    device = torch.device("cpu")
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 1000)
    for peak, expected in ((2, 16), (100, 8), (250, 4), (500, 2), (1000, 1), (9999, 1), (None, 8)):
        monkeypatch.setattr(memory, "_peak_bytes", lambda run, device, peak=peak: run() or peak)
        sizes = []
        assert choose_batch_size(sizes.append, device) == expected
        assert sizes == [2]


def test_the_memory_of_a_run_is_measured():
    from spectac_fast.correct.engines import memory

    device = torch.device("cpu")
    peak = memory._peak_bytes(lambda: np.ones(2**25), device)
    if peak is None:
        pytest.skip("needs /proc, which tells the memory of a process")
    assert 2**27 < peak < 2**29
    assert memory._free_bytes(device) > 0


@pytest.mark.parametrize("size", [0, 3, 65, 128, "large"])
def test_impossible_batch_sizes_are_refused(size):
    with pytest.raises(UsageError, match="batch size"):
        Corrector(Times(), batch_size=size)


def test_options_the_model_refuses_are_told_before_anything_is_read(tmp_path, rng):
    class Strict(Times):
        def translate(self, nc, seeds=None, neighbours=None, **options):
            if options.get("steps") == 3:
                raise ValueError("steps must be even, found 3.")
            return super().translate(nc, seeds, neighbours, **options)

    write_cases(tmp_path, rng, 1)
    for size in (8, "auto"):
        with pytest.raises(UsageError, match="steps must be even"):
            list(Corrector(Strict(), steps=3, batch_size=size).map([tmp_path]))


def test_a_study_the_model_fails_on_does_not_stop_the_others(tmp_path, rng):
    class Picky(Times):
        def translate(self, nc, seeds=None, neighbours=None, **options):
            if nc.shape[-1] != 64:
                raise ValueError("only 64 columns")
            return super().translate(nc, seeds, neighbours, **options)

    write_cases(tmp_path, rng, 2)
    write_nc(tmp_path / "odd" / "SA.dcm", heart(rng), pixel_mm=4.8, study_key="odd")
    results = list(Corrector(Picky()).map([tmp_path]))
    assert [len(result.counts) for result in results] == [1, 1, 0]
    assert "odd/SA.dcm: the model times cannot take slices of 46 x 46 pixels: only 64 columns" in results[2].failed[0]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_body_runs_in_the_precision_asked_for(tmp_path, rng, precision):
    network = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.ones_(network.weight)
    torch.nn.init.zeros_(network.bias)
    seen = []

    class Net(Times):
        @torch.no_grad()
        def translate(self, nc, seeds=None, neighbours=None, **options):
            out = network(nc)
            seen.append(out.dtype)
            return out

    write_cases(tmp_path, rng, 1)
    (result,) = Corrector(Net(), precision=precision).map([tmp_path])
    assert set(seen) == {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    top = result.counts[0].max()
    assert np.abs(result.counts[0] - result.study.series[0].counts).max() < top / 100
    with pytest.raises(UsageError, match="precision"):
        Corrector(Net(), precision="int8")


def test_the_shipped_model_gives_the_same_bytes_in_any_company(tmp_path, rng):
    write_cases(tmp_path / "in", rng, 3, slices=5)
    model = sf.load("bbdm", "cpu")
    together, alone = [], []
    for result in Corrector(model, batch_size=4).map([tmp_path / "in"]):
        together.append(result.counts[0])
    for k in range(3):
        (result,) = Corrector(model, batch_size=4).map([tmp_path / "in" / f"case-{k:03}"])
        alone.append(result.counts[0])
    for a, b in zip(together, alone):
        np.testing.assert_array_equal(a, b)


def test_studies_are_read_and_written_while_the_network_runs(tmp_path, rng, monkeypatch):
    """The network's second run does not end before a third study has been read and a first one written."""
    done = {"read": 0, "write": 0}

    def counted(name):
        real = getattr(Stages, name)

        def wrapped(*args, **options):
            result = real(*args, **options)
            done[name] += 1
            return result

        monkeypatch.setattr(Stages, name, wrapped)

    class Patient(Times):
        def translate(self, nc, *args, **options):
            if len(self.calls) == 1:
                until(lambda: done["read"] >= 3 and done["write"] >= 1)
            return super().translate(nc, *args, **options)

    counted("read")
    counted("write")
    write_cases(tmp_path / "in", rng, 6, slices=16)
    corrector, report = Corrector(Patient(), batch_size=16, jobs=1), Report()
    carry_out(corrector, corrector.plan([tmp_path / "in"], tmp_path / "out"), report)
    assert report.studies == 6


def test_map_says_what_it_could_not_use(tmp_path, rng):
    write_study(tmp_path, rng, phases=("rest",))
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"rubbish" * 100)
    write_nc(tmp_path / "AC.dcm", heart(rng), corrected=True)
    study, bad = Corrector(Times()).map([tmp_path])
    assert (len(study.counts), len(bad.counts)) == (3, 0)
    assert "bad.dcm" in bad.failed[0]
    assert "AC.dcm" in study.skipped[0]
    with pytest.raises(NoInputError):
        list(Corrector(Times()).map([tmp_path / "absent"]))


def test_an_abandoned_run_leaves_no_thread(tmp_path, rng):
    write_cases(tmp_path, rng, 10)
    before = threading.active_count()
    results = Corrector(Times(), batch_size=4).map([tmp_path])
    next(results)
    results.close()
    assert threading.active_count() == before


def test_the_report_tells_a_program_everything(tmp_path, rng):
    write_cases(tmp_path / "in", rng, 2)
    (tmp_path / "in" / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"rubbish" * 100)
    corrector, report = Corrector(Times(), batch_size=8), Report()
    carry_out(corrector, corrector.plan([tmp_path / "in"], tmp_path / "out"), report)
    report.write(tmp_path / "run.json", corrector)
    told = json.loads((tmp_path / "run.json").read_text())
    assert (told["exit_code"], told["studies_corrected"], told["slices_corrected"], told["failed"]) == (1, 2, 58, 1)
    assert told["batch_size"] == 8
    assert [study["status"] for study in told["studies"]] == ["not corrected", "corrected", "corrected"]
    assert "SECRET" not in (tmp_path / "run.json").read_text()
    with pytest.raises(SetupError, match="report"):
        report.write(tmp_path / "run.json" / "below", corrector)


def test_a_network_of_one_size_pads_with_empty_slices():
    model = Times()
    network = Network(model, {}, precision="fp32", batch_size=8)
    slices = np.random.default_rng(0).random((3, 8, 8), np.float32)
    out = network.run(slices, np.empty((3, 0, 8, 8), np.float32), np.empty((3, 0), np.float32), np.arange(3))[:, 0]
    np.testing.assert_allclose(out, slices, atol=1e-6)
    assert model.calls[0][0] == (8, 1, 8, 8)
