"""What a vote says, beside the definition written out over the whole sequence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_adapt.runtime.streams.vote import Vote

answers = st.lists(st.sampled_from("abc"), max_size=40)
votes = st.tuples(st.integers(1, 6), st.integers(0, 4)).map(lambda pair: (pair[0], sum(pair)))


def said(agreeing: int, among: int, labels: list[str]) -> list[tuple[int, str]]:
    vote = Vote(agreeing, among)
    return [(index, label) for index, label in enumerate(labels) if vote.changes(label)]


@given(votes, answers)
def test_it_is_said_when_enough_agree_and_only_when_it_changes(vote: tuple[int, int], labels: list[str]) -> None:
    agreeing, among = vote
    expected: list[tuple[int, str]] = []
    for index, label in enumerate(labels):
        window = labels[max(index + 1 - among, 0) : index + 1]
        if window.count(label) >= agreeing and (not expected or expected[-1][1] != label):
            expected.append((index, label))
    assert said(agreeing, among, labels) == expected


@given(answers)
def test_one_of_one_says_every_change(labels: list[str]) -> None:
    changes = [(index, label) for index, label in enumerate(labels) if index == 0 or labels[index - 1] != label]
    assert said(1, 1, labels) == changes


@given(votes, st.integers(0, 5), st.integers(10, 20))
def test_a_slip_shorter_than_the_vote_is_not_heard(vote: tuple[int, int], slip: int, around: int) -> None:
    agreeing, among = vote
    labels = ["a"] * around + ["b"] * min(slip, agreeing - 1) + ["a"] * around
    assert [label for _, label in said(agreeing, among, labels)] == ["a"]
