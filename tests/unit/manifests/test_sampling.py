from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.manifests.sampling import by_rounds, up_to_hours

SPEAKERS = st.sampled_from([f"s{n}" for n in range(5)])
HOUR = 3600 * 16_000


@given(
    speakers=st.lists(SPEAKERS, min_size=1, max_size=30),
    lengths=st.lists(st.integers(1, 9), min_size=30, max_size=30),
    wanted=st.integers(1, 120),
    seed=st.integers(0, 9),
)
@settings(max_examples=200, deadline=None)
def test_a_sample_is_even_full_and_independent_of_the_order(speakers, lengths, wanted, seed):
    candidates = [(f"c{i}", who) for i, who in enumerate(speakers)]
    length = dict(zip((name for name, _ in candidates), lengths))

    def pick(rows, hours=wanted):
        order = by_rounds(rows, seed, lambda one: one[0], lambda one: one[1])
        return up_to_hours([(one, length[one[0]] * HOUR) for one in order], hours)

    chosen, hours, more = pick(candidates)
    assert hours == sum(length[name] for name, _ in chosen) <= wanted
    assert more == (len(chosen) < len(candidates))
    assert not more or hours + 9 > wanted
    assert pick(candidates[::-1]) == (chosen, hours, more)
    # Less is a part of more.
    assert chosen[: len(pick(candidates, wanted / 2)[0])] == pick(candidates, wanted / 2)[0]
    # Even: nobody has two clips more than one who has some left.
    taken = Counter(who for _, who in chosen)
    for who, count in Counter(speakers).items():
        if taken[who] < count:
            assert max(taken.values(), default=0) <= taken[who] + 1
