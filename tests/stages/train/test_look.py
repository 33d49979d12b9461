import math

import pytest

from assay.stages.train.look import scored
from assay.stats.intervals import t_interval


def test_the_mean_is_of_groups_and_has_their_t_interval():
    nats, sizes = {"a": 100.0, "b": 30.0, "c": 64.0}, {"a": 80, "b": 10, "c": 40}
    values = [nats[group] / math.log(2) / sizes[group] for group in nats]
    found, expected = scored(nats, sizes), t_interval(values)
    assert found["dev_bpb"] == pytest.approx(sum(values) / 3)
    assert (found["dev_low"], found["dev_high"]) == (expected.low, expected.high)
    assert (found["dev_groups"], found["dev_bytes"]) == (3, 130)
    assert "dev_why" not in found


def test_one_group_has_no_interval_and_says_why():
    found = scored({"a": math.log(2) * 50, "empty": 0.0}, {"a": 25, "empty": 0})
    assert found["dev_bpb"] == pytest.approx(2.0)
    assert (found["dev_low"], found["dev_high"], found["dev_why"]) == (
        None,
        None,
        "no interval: 1 of at least 2 groups",
    )


def test_a_score_that_is_not_finite_is_no_number():
    assert scored({"a": math.nan, "b": 1.0}, {"a": 9, "b": 9})["dev_bpb"] is None
