"""Leave one group out: each group of the labelled data, such as a speaker, is the test part in turn, and nothing of it
is learnt from.

A fold stands in the place of a seed: it draws labels, initialisation and order anew. All folds together are tested on
one common part, each on its own share of it, so the spread over folds holds that of the test items.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from firth.data.groups import Rule, groups_of, names
from firth.data.labelled import Labelled, named, whole_test
from firth.errors import InputError
from firth.evaluate.arms import Drawn
from firth.functional.random import hash_bytes
from firth.recipe import Recipe, filled
from firth.signal import Signal
from firth.train import adaptation

MOST = 24  # folds: more would be a training of each arm for every one of a crowd


@dataclass(frozen=True)
class Folds:
    """labelled: the common test part. groups: those that are left out, in order. first: the seed of the first."""

    rule: Rule
    groups: tuple[str, ...]
    first: int
    labelled: Labelled
    places: Mapping[int, np.ndarray]  # by seed: which examples of the test part it is tested on

    @property
    def seeds(self) -> range:
        return range(self.first, self.first + len(self.groups))

    @property
    def whole(self) -> Drawn:
        """The common test part as a draw."""
        return Drawn(0, self.first, self.labelled)

    def part(self, seed: int) -> Drawn:
        """What the trials of a seed are tested on."""
        test = [self.labelled.records["test"][place] for place in self.places[seed].tolist()]
        return Drawn(0, seed, replace(self.labelled, records={**self.labelled.records, "test": test}))

    def recipe(self, recipe: Recipe, seed: int) -> Recipe:
        """The same, with the group of the seed left out."""
        return filled(recipe, data={"leave_out": self.rule.only(self.groups[seed - self.first])})

    @property
    def mark(self) -> str:
        """A hash of which items each seed is tested on: trials are kept by seed, which says nothing of the group."""
        tested = [[seed, *places.tolist()] for seed, places in sorted(self.places.items())]
        return f"{hash_bytes(repr(tested).encode()):016x}"

    def told(self) -> str:
        """For the report."""
        return (
            f"Each seed is a fold that leaves one `{self.rule.by}` out ({', '.join(self.groups)}): it is tested on "
            "its share of the test items, and learns from nothing of it. Intervals are over the folds."
        )


def opened(recipe: Recipe, signal: Signal, rule: str) -> Folds:
    """The folds of the labelled data of a recipe. Raises InputError where there are too few groups, or too many."""
    found = Rule.of(rule)
    data = filled(recipe, data={"leave_out": rule}).data
    labelled = whole_test(data, signal, adaptation.task_of(recipe))
    groups = groups_of(labelled.records["test"], found)
    chosen = names(groups, found, named(data))
    refuse_number(chosen, found, rule)
    refuse_answers(groups, labelled, rule)
    kept = [place for place, group in enumerate(groups) if group in chosen]
    test = [labelled.records["test"][place] for place in kept]
    labelled = replace(labelled, records={**labelled.records, "test": test})
    places = np.array([chosen.index(groups[place]) for place in kept])
    by_seed = {recipe.seed + number: np.flatnonzero(places == number) for number in range(len(chosen))}
    return Folds(found, chosen, recipe.seed, labelled, by_seed)


def refuse_number(groups: tuple[str, ...], rule: Rule, given: str) -> None:
    """Raises InputError for one group, and for a crowd."""
    where = f"--leave-out {given}"
    if len(groups) < 2:
        raise InputError(where, f"there is only {groups[0]}", "Leave it out with data.leave_out, or name a column.")
    if len(groups) > MOST:
        do = f"Name at most {MOST}: --leave-out {rule.by}={','.join(groups[:3])}."
        raise InputError(where, f"there are {len(groups):,}, and each would be a training of every arm", do)


def refuse_answers(groups: list[str], labelled: Labelled, given: str) -> None:
    """Raises InputError where groups are the very labels, which nothing could then be learnt of."""
    if groups == [str(one.label) for one in labelled.records["test"]]:
        what = "is what is to be said, and what is left out would never be learnt"
        raise InputError(f"--leave-out {given}", what, "Name another column.")
