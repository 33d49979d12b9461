"""The rule that chooses, and what other prompts must show to confirm it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.stages.decode.choose import Candidate, Confirmation, choose, compared, confirm, looping, with_loops

EIGHT = [f"g{n}" for n in range(8)]


def over(*values: float) -> dict[str, float]:
    return {f"g{n}": value for n, value in enumerate(values)}


def flat(loops: float, distance: float | None, groups: int = 8) -> dict[str, dict[str, float]]:
    names = EIGHT[:groups]
    return {"loop": dict.fromkeys(names, loops), "distance": {} if distance is None else dict.fromkeys(names, distance)}


def test_of_those_that_do_not_loop_the_nearest_to_human_texts_is_chosen() -> None:
    found = choose(
        [
            Candidate("greedy", over(1, 0), over(0.1, 0.1)),
            Candidate("near", over(0, 0.1), over(1.0, 2.0)),
            Candidate("far", over(0, 0), over(3.0, 1.0)),
        ],
        0.05,
    )
    assert found.name == "near"
    assert found.dropped == {"greedy": "50 % of its texts hold a loop"}
    assert not found.loops_too
    assert "of the 2 settings" in found.why
    assert "; 1 of the 1 others is not shown to be further off" in found.why


def test_how_many_others_may_lie_as_near_is_told() -> None:
    """Eight groups agree that one is further off, and say nothing of another."""
    near, same = [1.0 + 0.1 * n for n in range(8)], [1.0 + 0.1 * n + (-1) ** n * 0.2 + 0.01 for n in range(8)]
    settings = {"near": near, "same": same, "far": [own + 2 for own in near]}
    found = choose([Candidate(name, over(*[0] * 8), over(*own)) for name, own in settings.items()], 0.05)
    assert found.name == "near"
    assert "; 1 of the 2 others is not shown to be further off; 0 of 8 groups" in found.why
    shown = choose([Candidate(name, over(*[0] * 8), over(*settings[name])) for name in ("near", "far")], 0.05)
    assert "further off" not in shown.why


def test_where_all_loop_the_one_that_loops_least_is_taken_and_said_to() -> None:
    found = choose([Candidate("a", over(1, 1), over(1, 1)), Candidate("b", over(1, 0.5), over(9, 9))], 0.05)
    assert (found.name, found.loops_too, found.unjudged) == ("b", True, False)
    assert found.why.startswith("none loops in at most 5 % of its texts; it loops least; 2 of 2 groups have a loop")
    assert "b" not in found.dropped


def test_a_setting_whose_texts_cannot_be_judged_is_not_chosen() -> None:
    """One that says next to nothing never loops either."""
    found = choose([Candidate("silent", over(0, 0), {}), Candidate("half", over(0, 0), {"g0": 0.1}),
                    Candidate("good", over(0, 0), over(2, 2))], 0.05)  # fmt: skip
    assert found.name == "good"
    assert set(found.dropped) == {"silent", "half"}
    alone = choose([Candidate("silent", over(0, 0), {}), Candidate("loud", over(1, 1), over(1, 1))], 0.05)
    assert (alone.name, alone.loops_too, alone.unjudged) == ("silent", False, True)
    assert alone.why.startswith("none that loops in at most 5 % of its texts can be held against human ones")


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 9)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_no_setting_above_the_threshold_is_chosen_while_one_is_below(
    settings: list[tuple[float, float]], most: float
) -> None:
    some = [Candidate(str(n), over(loops), over(distance)) for n, (loops, distance) in enumerate(settings)]
    found = choose(some, most)
    loops, distance = settings[int(found.name)]
    below = [own for own in settings if own[0] <= most]
    assert found.loops_too == (not below)
    if below:
        assert loops <= most
        assert distance == min(own[1] for own in below)
    else:
        assert loops == min(own[0] for own in settings)


def test_the_share_of_looping_groups_has_an_exact_interval() -> None:
    """None of six leaves 1 - 0.025^(1/6) of all; a twentieth takes log 0.025 ÷ log 0.95 groups."""
    assert with_loops(over(*[0] * 6)) == (0, 0.0, pytest.approx(1 - 0.025 ** (1 / 6)))
    assert looping(over(*[0] * 6), 0.05) == (
        "0 of 6 groups have a loop, 95 % interval 0 to 46 %: "
        "so few groups cannot show a share of at most 5 %, which takes 72 without a loop"
    )
    assert "so few" in looping(over(*[0] * 71), 0.05)
    assert looping(over(*[0] * 72), 0.05) == "0 of 72 groups have a loop, 95 % interval 0 to 5 %"
    assert looping(over(0.5, *[0] * 71), 0.05).startswith("1 of 72 groups have a loop, 95 % interval 0 to 7 %")
    assert looping(over(0, 0), 0.0).endswith("so few groups cannot show a share of at most 0 %")
    assert "so few" not in looping(over(1, 0), 1.0)


def verdict(chosen: dict, others: dict, **more):  # type: ignore[no-untyped-def,type-arg]
    tests = compared(chosen, others)
    return confirm("x", chosen["loop"], tests, max_loops=0.05, **{"reference": "greedy", "default": "default", **more})


def test_fewer_loops_on_eight_groups_confirm() -> None:
    found = verdict(flat(0, 1.0), {"greedy": flat(0.9, 1.0), "default": flat(0, 1.0)})
    assert found.confirmed is True
    assert "90 points fewer than with greedy" in found.sentence
    (loops, distance, *rest) = found.tests
    assert loops.p == pytest.approx(2 / 2**8)
    assert loops.adjusted == pytest.approx(4 * 2 / 2**8)  # four comparisons in the family
    assert (loops.lower, distance.shown) == (True, False)
    assert all(not test.shown for test in rest)


def test_too_few_groups_cannot_conclude_whatever_they_show() -> None:
    """Sixteen prompts of four plays are four units, not sixteen."""
    found = verdict(flat(0, 1.0, groups=4), {"greedy": flat(1.0, 9.0, groups=4)})
    assert found.confirmed is None
    assert found.sentence.startswith("cannot conclude")
    assert "with 7 groups" in found.sentence


def test_no_difference_is_not_confirmed() -> None:
    assert verdict(flat(0, 1.0), {"greedy": flat(0, 1.0)}).confirmed is False


def test_loops_on_the_other_prompts_are_not_confirmed() -> None:
    found = verdict(flat(0.2, 1.0), {"greedy": flat(0.9, 9.0)})
    assert found.confirmed is False
    assert "20 % of the texts" in found.sentence
    assert "; 8 of 8 groups have a loop" in found.sentence


def test_better_in_one_and_worse_in_the_other_is_not_confirmed() -> None:
    found = verdict(flat(0, 9.0), {"greedy": flat(1.0, 1.0)})
    assert found.confirmed is False
    assert "further from human texts" in found.sentence


def beside_default(farther: float) -> Confirmation:
    """Twelve groups: greedy loops in all of its texts, the chosen one in none, but it is so much farther off."""
    own = [1.0 + 0.1 * n for n in range(12)]
    default = [value - farther + (-1) ** n * 0.02 for n, value in enumerate(own)]
    zero, ones = over(*[0] * 12), over(*[1] * 12)
    others = {"greedy": {"loop": ones, "distance": over(*own)}, "default": {"loop": zero, "distance": over(*default)}}
    return verdict({"loop": zero, "distance": over(*own)}, others)


def test_what_is_gained_on_greedy_makes_up_for_no_loss_on_default() -> None:
    found = beside_default(0.68)
    test = found.tests[3]
    assert (test.against, test.number, test.shown) == ("default", "distance", True)
    assert test.adjusted == pytest.approx(4 * 2 / 2**12)
    assert found.confirmed is False
    assert found.sentence.startswith(
        "not confirmed: on 12 other groups of prompts 0 % of the texts of x hold a loop; "
        "loops are 100 points fewer than with greedy, p = 0.002; "
        "but its texts lie 0.68 spreads further from human texts than those of default (evaluate.decoding), "
        "p = 0.002; 0 of 12 groups have a loop"
    )


def test_its_healthy_twins_are_confirmed_and_say_how_they_stand_against_default() -> None:
    alike, nearer = beside_default(0.0), beside_default(-0.68)
    assert (alike.confirmed, nearer.confirmed) == (True, True)
    assert (
        "; its texts are not shown to lie nearer to human texts than those of default (evaluate.decoding), or further; "
    ) in alike.sentence
    assert "; its texts lie 0.68 spreads nearer to human texts than those of default" in nearer.sentence
    assert "but" not in alike.sentence + nearer.sentence


def test_more_loops_than_default_are_not_confirmed_even_below_the_threshold() -> None:
    few = over(*[0.04] * 12)
    alike = over(*[1.0] * 12)
    others = {name: {"loop": over(*[loops] * 12), "distance": alike} for name, loops in (("greedy", 1), ("default", 0))}
    found = verdict({"loop": few, "distance": alike}, others)
    assert found.confirmed is False
    assert "; but loops are 4 points more than with default (evaluate.decoding), p = 0.002; " in found.sentence


def test_where_default_itself_is_chosen_it_is_called_so() -> None:
    found = confirm(
        "default", over(*[0] * 8), compared(flat(0, 1.0), {"greedy": flat(1, 1.0)}), max_loops=0.05,
        reference="greedy", default="default",
    )  # fmt: skip
    assert found.confirmed is True
    assert "0 % of the texts of default (evaluate.decoding) hold a loop" in found.sentence


def test_without_another_setting_there_is_nothing_to_beat() -> None:
    assert verdict(flat(0, 1.0), {}, reference=None).confirmed is None


def test_only_groups_that_both_have_are_compared() -> None:
    chosen = flat(0, 1.0) | {"distance": {"g0": 1.0, "g1": 2.0}}
    (_, distance) = compared(chosen, {"greedy": flat(0, 5.0)})
    assert (distance.groups, distance.mean) == (2, pytest.approx(-3.5))


def test_a_difference_whose_interval_holds_zero_is_not_shown() -> None:
    """Seven groups agree and one lies far out: the sign-flip test alone would call it a difference."""
    far = dict(zip(EIGHT, [1.1] * 7 + [40.0], strict=True))
    (_, distance) = compared(flat(0, 1.0), {"greedy": flat(0, 5.0) | {"distance": far}})
    assert distance.p == pytest.approx(2 / 2**8)
    assert distance.high is not None
    assert distance.high > 0
    assert not distance.shown
