"""Test set and labelled cases: nested, whole groups, disjoint, and the same for the same seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnunet_genesis.benchmark.subsets import (
    TestSet,
    check_test_set,
    draw_labelled,
    draw_test_set,
    hold_out,
    parse_amount,
)
from nnunet_genesis.errors import SetupError

AMOUNTS = [parse_amount(text) for text in ("1", "5", "10", "20%", "50%", "all")]


def random_groups(seed: int) -> dict[str, str]:
    """Up to 80 cases in groups of 1 to 6."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 7, size=generator.integers(8, 20))
    names = [f"group {number}" for number, size in enumerate(sizes) for _ in range(size)]
    return {f"case_{number}": names[number] for number in generator.permutation(len(names))}


@pytest.mark.parametrize("seed", range(20))
def test_subsets_are_nested_whole_groups_outside_the_test_set(seed: int) -> None:
    groups = random_groups(seed)
    test_set = draw_test_set(groups, 0.2, seed)
    drawn = draw_labelled(groups, test_set, AMOUNTS, seed=seed)
    for smaller, larger in itertools.pairwise(sorted(drawn.values(), key=len)):
        assert set(smaller) <= set(larger)
    for cases in [test_set.cases, *drawn.values()]:
        inside = {groups[case] for case in cases}
        assert set(cases) == {case for case, group in groups.items() if group in inside}
        assert len(set(cases)) == len(cases)
    assert all(set(cases).isdisjoint(test_set.cases) for cases in drawn.values())
    assert set(drawn[parse_amount("all")]) == set(groups) - set(test_set.cases)


@pytest.mark.parametrize("seed", range(20))
def test_an_amount_is_reached_by_its_last_group(seed: int) -> None:
    groups = random_groups(seed)
    test_set = draw_test_set(groups, 0.3, seed)
    largest = max(list(groups.values()).count(group) for group in groups.values())
    available = len(groups) - len(test_set.cases)
    assert 0.3 * len(groups) <= len(test_set.cases) < 0.3 * len(groups) + largest
    for amount, cases in draw_labelled(groups, test_set, AMOUNTS, seed=seed).items():
        assert amount.count(available) <= len(cases) < amount.count(available) + largest


def test_the_seed_alone_decides_not_the_order_of_cases() -> None:
    groups = random_groups(3)
    turned = dict(reversed(groups.items()))
    one, other = draw_test_set(groups, 0.2, 7), draw_test_set(turned, 0.2, 7)
    assert one == other
    assert draw_labelled(groups, one, AMOUNTS, seed=7) == draw_labelled(turned, one, AMOUNTS, seed=7)
    assert {draw_test_set(groups, 0.2, seed) for seed in range(10)} != {one}


def test_a_later_amount_leaves_earlier_ones_as_they_are() -> None:
    groups = random_groups(5)
    test_set = draw_test_set(groups, 0.2, 0)
    five = parse_amount("5")
    assert (
        draw_labelled(groups, test_set, [five], seed=0)[five]
        == draw_labelled(groups, test_set, [*AMOUNTS, five], seed=0)[five]
    )


def test_draws_differ() -> None:
    groups = random_groups(5)
    test_set = draw_test_set(groups, 0.2, 0)
    five = parse_amount("5")
    drawn = {draw_labelled(groups, test_set, [five], seed=0, draw=draw)[five] for draw in range(6)}
    assert len(drawn) > 3


def test_every_group_is_drawn_about_as_often() -> None:
    groups = {f"case_{number:02d}": f"{number // 2}" for number in range(20)}
    nothing = TestSet((), ())
    two = parse_amount("2")
    counts = dict.fromkeys(groups.values(), 0)
    for seed in range(2000):
        (group,) = {groups[case] for case in draw_labelled(groups, nothing, [two], seed=seed)[two]}
        counts[group] += 1
    # Binomial, 2000 draws at 1 in 10: 200 with a standard deviation of 13.4.
    assert all(abs(count - 200) < 5 * 13.4 for count in counts.values())


def test_others_of_the_groups_of_named_test_cases_are_left_out() -> None:
    groups = {"a_left": "a", "a_right": "a", "b_left": "b", "c_left": "c", "c_right": "c"}
    test_set = hold_out(groups, ["a_right", "b_left"])
    assert test_set == TestSet(("a_right", "b_left"), ("a_left",))
    everything = parse_amount("all")
    assert draw_labelled(groups, test_set, [everything], seed=0)[everything] == ("c_left", "c_right")


def test_more_than_there_is_is_refused() -> None:
    groups = {f"case_{number}": f"{number}" for number in range(10)}
    test_set = draw_test_set(groups, 0.2, 0)
    with pytest.raises(SetupError, match="--labelled 9: only 8 cases are left") as raised:
        draw_labelled(groups, test_set, [parse_amount("9")], seed=0)
    assert "--labelled 8 or fewer" in str(raised.value)


def test_one_large_group_leaves_nothing_to_train_on() -> None:
    groups = dict.fromkeys(["a", "b", "c", "d"], "the only patient")
    with pytest.raises(SetupError, match="4 cases in 1 groups, 4 would be held out for the test and 0 be left"):
        check_test_set(groups, draw_test_set(groups, 0.2, 0))


@pytest.mark.parametrize("text", ["0", "-1", "0%", "101%", "five", "5.5", "", "½", "%"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match="a count like 5, a share like 20%, or all"):
        parse_amount(text)


@pytest.mark.parametrize(
    ("text", "available", "count"),
    [("5", 100, 5), ("20%", 100, 20), ("20%", 7, 2), ("0.1%", 100, 1), ("100%", 7, 7), ("all", 7, 7), ("30%", 10, 3)],
)
def test_counts_of_amounts(text: str, available: int, count: int) -> None:
    assert parse_amount(text).count(available) == count


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, float("nan")])
def test_shares_lie_between_nothing_and_everything(share: float) -> None:
    with pytest.raises(SetupError, match="a share lies between 0 and 1"):
        draw_test_set({"a": "a", "b": "b"}, share, 0)
