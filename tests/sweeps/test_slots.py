"""Cores and GPUs are shared out once each, and never more runs than fit."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import MachineError
from assay.sweeps import slots
from assay.sweeps.slots import THREADS, Slot, fitting, gpus_here, gpus_in, makespan, share_out


@given(
    wish=st.one_of(st.just("auto"), st.integers(1, 20)), runs=st.integers(1, 12), cores=st.integers(1, 12),
    gpus=st.integers(0, 5),
)  # fmt: skip
def test_nothing_is_given_out_twice(wish, runs, cores, gpus):
    numbers, devices = list(range(10, 10 + cores)), [f"GPU-{n}" for n in range(gpus)]
    slots = share_out(wish, runs=runs, cores=numbers, gpus=devices)
    taken = [core for slot in slots for core in slot.cores]
    assert sorted(taken) == numbers  # every core, once
    sizes = {len(slot.cores) for slot in slots}
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert len(slots) <= min(runs, cores)
    own = [slot.gpu for slot in slots]
    assert own == (devices[: len(slots)] if gpus else [None] * len(slots))


def test_how_many_workers():
    def workers(wish, **more):
        return len(share_out(wish, **{"runs": 12, "cores": range(8)} | more))

    assert workers("auto") == 1  # on processors: timings are to be comparable
    assert workers(2) == 2
    assert workers(20) == 8
    assert workers("auto", gpus=["0", "1"]) == 2
    assert workers(4, gpus=["0", "1"]) == 2
    assert workers(1, gpus=["0", "1"]) == 1
    assert workers(4, runs=3) == 3


def test_threads_are_as_many_as_cores_and_never_more_than_was_asked_for():
    slot = Slot((2, 3), "GPU-7")
    assert slot.environment({"PATH": "x"}) == {
        "PATH": "x",
        **dict.fromkeys(THREADS, "2"),
        "CUDA_VISIBLE_DEVICES": "GPU-7",
    }
    given = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "16", "RAYON_NUM_THREADS": "0", "POLARS_MAX_THREADS": "many"}
    assert Slot((5,)).environment({**given, "CUDA_VISIBLE_DEVICES": ""}) == {
        **dict.fromkeys(THREADS, "1"), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    assert Slot(tuple(range(4))).environment(given)["OMP_NUM_THREADS"] == "1"


def test_a_slot_in_words():
    assert str(Slot((3,))) == "core 3"
    assert str(Slot((2, 3, 4))) == "cores 2-4"
    assert str(Slot((0, 2))) == "cores 0,2"
    assert str(Slot((0, 1), "GPU-1")) == "GPU GPU-1, cores 0-1"


WHOLE = "GPU 0: NVIDIA H100 (UUID: GPU-aa-1)\nGPU 1: NVIDIA H100 (UUID: GPU-bb-2)\n"
DIVIDED = (
    "GPU 0: NVIDIA A100 (UUID: GPU-aa-1)\n  MIG 3g.20gb     Device  0: (UUID: MIG-11)\n"
    "  MIG 3g.20gb     Device  1: (UUID: MIG-22)\n"
)  # fmt: skip


@pytest.mark.parametrize(
    ("listing", "found"), [(WHOLE, ["GPU-aa-1", "GPU-bb-2"]), (DIVIDED, ["MIG-11", "MIG-22"]), ("No devices\n", [])]
)
def test_gpus_as_the_driver_lists_them(listing, found):
    assert gpus_in(listing) == found


def test_a_driver_that_does_not_answer_is_told(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexec sleep 30\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slots, "LISTING_SECONDS", 0.2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(MachineError, match="has not answered") as told:
        gpus_here()
    assert "CUDA_VISIBLE_DEVICES= " in str(told.value.fix)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_here() == []


def test_under_a_quota_a_slot_is_a_number_of_threads():
    (slot,) = share_out(1, runs=1, cores=[0, 1], bound=False)
    assert str(slot) == "2 cores"
    assert slot.environment({})["OMP_NUM_THREADS"] == "2"


def test_how_many_fit_at_once():
    assert fitting([3, 5, 4], budget=12) == 3
    assert fitting([3, 5, 4], budget=11) == 2  # 5 + 4, the largest two; all three are 12
    assert fitting([3, 5, 4], budget=8) == 1
    assert fitting([9], budget=8) == 1  # whether one fits is for its own plan to say
    assert fitting([], budget=8) == 1


def test_when_the_last_ends():
    assert makespan([4, 3, 2, 1], 1) == 10
    assert makespan([4, 3, 2, 1], 2) == 5  # 4 then 1 beside 3 then 2
    assert makespan([1, 1, 6], 2) == 7
    assert makespan([], 3) == 0


@given(st.lists(st.floats(0, 100), max_size=8), st.integers(1, 5))
def test_the_last_ends_between_the_fair_share_and_the_sum(seconds, workers):
    end = makespan(seconds, workers)
    assert end <= sum(seconds) + 1e-9
    assert end >= max([sum(seconds) / workers, *seconds, 0]) - 1e-9
