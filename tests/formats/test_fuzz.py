"""Damaged files, thousands of them: every one is corrected or refused in one sentence, soon and in little memory."""

import collections
import resource
import shutil
import signal
import struct
import time

import numpy as np
import pytest
from fake_study import Times, heart, write_nc
from mutants import mutant
from places import SAMPLES

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.correct import correct_study
from spectac_fast.data.study import Study, read_nc_series, write_corrected
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.series import Provenance
from spectac_fast.models.registry import load

PROVENANCE = Provenance("times", "", "0.1.0", {"seed": 0})
SECONDS, BYTES = 10.0, 2**30


class Hang(BaseException):
    """Not an Exception, so that no handler takes it for damage."""


@pytest.fixture
def alarm():
    # Processor time: a machine that is busy with something else is no hang.
    def ring(*_):
        raise Hang(f"no answer within {SECONDS:g} s")

    before = signal.signal(signal.SIGPROF, ring)
    yield lambda: signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


@pytest.fixture
def sound(tmp_path):
    """The sound files that mutants are made of, by name."""
    rng = np.random.default_rng(6)
    write_nc(tmp_path / "SA.dcm", heart(rng, shape=(12, 24, 24)))
    files = {"phantom": (tmp_path / "SA.dcm").read_bytes()}
    for path in sorted(SAMPLES.glob("*.dcm")):
        files[path.stem] = path.read_bytes()
    return files


def corrected(path, out):
    """Correct one file as the command does, with a model that changes nothing."""
    series = read_nc_series(path, force=True)
    study = Study((series,), root=path.parent)
    return series, write_corrected(study, correct_study(study, Times(pixel_mm=5.5)), out, provenance=PROVENANCE)


def judge(path, out):
    """ "corrected", or "refused" in one sentence with nothing written; anything else fails."""
    try:
        series, (written,) = corrected(path, out)
    except InputError as reason:
        text = str(reason)
    else:
        after = read_series(written, force=True)
        assert after.attenuation_corrected
        assert after.counts.shape == series.counts.shape
        return "corrected"
    assert str(path) in text
    assert text.isprintable()
    assert text.endswith(".")
    assert len(text) < 500
    assert "SECRET" not in text
    assert not [each for each in out.rglob("*") if each.is_file()]
    return "refused"


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.night)])
def test_mutants_are_corrected_or_refused(sound, tmp_path, count, alarm, recwarn, caplog, capfd, figures):
    path, out = tmp_path / "m" / "SA_rest.dcm", tmp_path / "out"
    path.parent.mkdir()
    outcomes, slowest = collections.Counter(), 0.0
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(count):
        rng = np.random.default_rng([count, seed])
        # The projections are a sound file of another kind: few of their mutants get further than that.
        name = rng.choice(list(sound), p=[0.5, 0.45, 0.05] if len(sound) == 3 else None)
        kind, content = mutant(sound[name], rng)
        path.write_bytes(content)
        alarm()
        started = time.process_time()
        try:
            outcome = judge(path, out)
        except Exception as error:
            raise AssertionError(f"mutant {seed} ({kind} of {name}): {error!r}"[:500]) from None
        slowest = max(slowest, time.process_time() - started)
        outcomes[outcome] += 1
        shutil.rmtree(out, ignore_errors=True)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
    assert grown < BYTES
    assert not [each for each in recwarn.list if "SECRET" in str(each.message)]
    assert "SECRET" not in caplog.text
    assert capfd.readouterr() == ("", "")
    assert min(outcomes.values()) > count // 20, outcomes
    figures(
        f"{count} mutants: {outcomes['corrected']} corrected, {outcomes['refused']} refused in one sentence; "
        f"slowest {slowest:.2f} s, {grown / 2**20:.0f} MiB more"
    )


@pytest.mark.parametrize("name", ["phantom", "ge_recon_tomo_rest"])
def test_cut_at_every_offset_of_the_header(sound, tmp_path, name):
    if name not in sound:
        pytest.skip("needs the real GE files in ../shared/samples")
    whole, path = sound[name], tmp_path / "cut.dcm"
    offsets = {*range(0, 3000, 7), *range(len(whole) - 3, len(whole))}
    for size in sorted(offsets):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut\.dcm"):
            read_series(path, force=True)


@pytest.fixture
def weights(tmp_path):
    """A small file of a regression network, sound."""
    from spectac_fast.models.networks.build import build_network

    network = {
        "kind": "folded_unet", "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1,
        "attention_resolutions": [2], "num_head_channels": 8, "head_channels": 2, "norm_groups": 4,
    }  # fmt: skip
    state = build_network(network).state_dict()
    path = tmp_path / "tiny.safetensors"
    bridge = {"num_timesteps": 1000, "max_var": 0.05, "schedule": "linear", "objective": "grad"}
    defaults = {"steps": 1, "samples": 1, "sample_steps": 3, "solver": "dbim", "order": 2, "eta": 0.0}
    config = {
        "network": network, "bridge": bridge, "defaults": defaults, "gain": 1.7, "pixel_mm": 6.8,
        "slice_mm": 6.8, "size": [16, 16],
    }  # fmt: skip
    save_weights(path, {f"denoise_fn.{key}": value for key, value in state.items()}, "bbdm", config, {})
    load(path, device="cpu")
    return path


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.night)])
def test_damaged_models_are_loaded_or_refused(weights, count, alarm, figures):
    whole = weights.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    refused = 0
    for seed in range(count):
        rng = np.random.default_rng([7, count, seed])
        bad = bytearray(whole)
        match seed % 4:
            case 0:
                del bad[rng.choice([0, 7, 8, 9, 8 + header, rng.integers(header), rng.integers(len(whole))]) :]
            case 1:
                bad[:8] = struct.pack("<Q", int(rng.choice([0, 1, header - 1, header + 1, 2**31, 2**62])))
            case 2:
                for at in rng.integers(8, 8 + header, rng.integers(1, 8)):
                    bad[at] = rng.integers(256)
            case 3:
                digits = [k for k in range(8, 8 + header) if chr(whole[k]).isdigit()]
                for at in rng.choice(digits, rng.integers(1, 4)):
                    bad[at] = ord("0") + rng.integers(10)
        weights.write_bytes(bad)
        alarm()
        sentence = ""
        try:
            load(weights, device="cpu")
        except InputError as reason:
            sentence = str(reason)
        except Exception as error:
            raise AssertionError(f"model {seed}: {error!r}"[:500]) from None
        if sentence:
            refused += 1
            assert "tiny.safetensors" in sentence
            assert "\n" not in sentence
    assert refused > count // 2
    figures(f"{count} damaged weight files: {refused} refused in one sentence, the others loaded")
