"""Quantiles of groups, and the moments from which variances come.

Quantiles: the values of a group are brought together (a counting sort by group), and the value at a place is found by selection
among them (Hoare, Algorithm 65: FIND, CACM 1961; partitioned as Lomuto does, without a branch). Moments: mean and sum of
squared deviations (Welford, Technometrics 1962); those of two parts are put together as by Chan, Golub and LeVeque (1979).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import F64, I64, OUT_F64, OUT_I64, U8, f64, inline, kernel, void

_SMALL = 12
_FLOAT_LOWER = np.int64(0x7FFFFFFFFFFFFFFF)


@kernel(void(I64, I64, OUT_I64, OUT_I64))
def place_by_group(groups: Any, words: Any, at: Any, out: Any) -> None:
    """out (int64[total]) gets words (int64[n]) of group g (groups: int64[n]) from at[g] on; at (int64[num_groups]) moves on."""
    for i in range(len(groups)):
        group = groups[i]
        out[at[group]] = words[i]
        at[group] += 1


@inline
def divide(words: Any, first: Any, last: Any, pivot: Any, with_equal: Any) -> Any:
    """Bring what is less than `pivot` (or equal) to the front of words[first:last]; returns where that ends. Without a branch,
    which could not be foreseen."""
    equal, end = np.int64(with_equal), first
    for i in range(first, last):
        word = words[i]
        words[i] = words[end]
        words[end] = word
        end += np.int64(word < pivot) | (np.int64(word == pivot) & equal)
    return end


@inline
def select_place(words: Any, first: Any, last: Any, place: Any) -> None:
    """Rearrange words[first:last] so that words[place] is what sorting puts there, and nothing greater lies before it."""
    state = np.uint64(last - first)
    while last - first > _SMALL:
        state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        # the middle of three, of which one is anywhere: no order of the input makes this slow
        a = words[first + np.int64((state >> np.uint64(33)) % np.uint64(last - first))]
        b = words[(first + last) >> 1]
        c = words[last - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        middle = divide(words, first, last, pivot, False)
        if place < middle:
            last = middle
        elif middle > first:
            first = middle
        else:  # none is less: those that are equal go at once, however many
            first = divide(words, first, last, pivot, True)
            if place < first:
                return
    for i in range(first + 1, last):
        word = words[i]
        j = i
        while j > first and words[j - 1] > word:
            words[j] = words[j - 1]
            j -= 1
        words[j] = word


@kernel(void(OUT_I64, I64, f64, OUT_I64, OUT_I64, OUT_F64))
def find_places(words: Any, ends: Any, fraction: Any, lower: Any, upper: Any, weights: Any) -> None:
    """The values between which the quantile of each group lies.

    Args:
        words (int64[n]): of all groups, one after the other; rearranged within each.
        ends (int64[num_groups]): where the words of each group end.
        fraction: in [0, 1]; the quantile of m values lies at place (m - 1) * fraction.
        lower, upper (int64[num_groups]), weights (float64[num_groups]): the words beside that place, and what of `upper`
            counts; untouched for a group without words.
    """
    first: Any = 0
    for group in range(len(ends)):
        last = ends[group]
        if last > first:
            place = (last - first - 1) * fraction
            below = np.int64(np.floor(place))
            at = first + below
            select_place(words, first, last, at)
            lower[group] = words[at]
            weights[group] = place - below
            least = words[at]
            if place > below:
                least = words[at + 1]
                for i in range(at + 2, last):
                    least = min(least, words[i])
            upper[group] = least
        first = last


@kernel(void(I64, OUT_I64))
def float_bits(ordered: Any, out: Any) -> None:
    """The way back of `sorting.order_floats`."""
    for i in range(len(ordered)):
        out[i] = ordered[i] ^ ((ordered[i] >> 63) & _FLOAT_LOWER)


@kernel(void(I64, F64, U8, OUT_I64, OUT_F64, OUT_F64))
def add_moments(groups: Any, values: Any, live: Any, counts: Any, means: Any, squares: Any) -> None:
    """Take values (float64[n]) into counts, means and sums of squared deviations of their groups (int64[n])."""
    for i in range(len(groups)):
        if len(live) == 0 or live[i] != 0:
            group = groups[i]
            counts[group] += 1
            before = values[i] - means[group]
            means[group] += before / counts[group]
            squares[group] += before * (values[i] - means[group])


@kernel(void(I64, I64, F64, F64, OUT_I64, OUT_F64, OUT_F64))
def merge_moments(
    groups: Any, other_counts: Any, other_means: Any, other_squares: Any, counts: Any, means: Any, squares: Any
) -> None:
    """Take what others have found into that of groups (int64[n])."""
    for i in range(len(groups)):
        group, theirs = groups[i], other_counts[i]
        if theirs == 0:
            continue
        mine = counts[group]
        if mine == 0:
            means[group], squares[group] = other_means[i], other_squares[i]
        else:
            total = mine + theirs
            apart = other_means[i] - means[group]
            means[group] = (theirs * other_means[i] + mine * means[group]) / total
            squares[group] += other_squares[i] + apart * apart * theirs * mine / total
        counts[group] = mine + theirs


def warm() -> None:
    """Have every kernel of this file compiled."""
    for each in (place_by_group, find_places, float_bits, add_moments, merge_moments):
        each.load()
