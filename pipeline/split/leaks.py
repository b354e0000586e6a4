"""Leaks: held-out images that the training set has already seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.params import Dedupe
from pipeline.dataset.contents import Ints
from pipeline.dataset.pairs_table import KINDS, NEAR, Edges, Pairs

Bools = NDArray[np.bool_]
DRAWS = 5  # random splits over which the leak `before` is averaged
SAME_BYTES, SAME_GROUP, PERHAPS = "same_bytes", "same_group", "perhaps"


@dataclass(frozen=True)
class Audit:
    """The data that is searched for leaks: n samples, their contents, edges and provenance.

    `of` (n,) is the content of each sample. `edges` are between contents. `policy` has the
    largest distance in bits at which a near edge is a duplicate, and the kinds of edges that were
    searched. `origins` are arrays (n,) with the provenance of every sample as a number; -1 is
    unknown.
    """

    of: Ints
    edges: Edges
    policy: Dedupe
    origins: Sequence[Ints] = ()

    def seen(self, is_train: Bools, is_held_out: Bools) -> dict[str, Bools]:
        """Return which samples (n,) are held out and have a counterpart in the training set.

        The keys are the kinds of leaks: the same bytes, near-duplicates (the same bytes count,
        too), each other kind of edge, and the same group. A last key, `perhaps`, is for pairs that
        differ in a few bits more than near-duplicates.
        """
        trained = np.zeros(int(self.of.max(initial=-1)) + 1, bool)
        trained[self.of[is_train]] = True

        def partner_in_train(pairs: Pairs) -> Bools:
            found = np.zeros(trained.size, bool)
            found[pairs.a[trained[pairs.b]]] = True
            found[pairs.b[trained[pairs.a]]] = True
            return found[self.of] & is_held_out

        same = trained[self.of] & is_held_out
        near = self.edges.near
        is_near = near.distance <= self.policy.group_within
        found = {SAME_BYTES: same}
        for name, pairs in self.edges._asdict().items():
            if name == NEAR:
                found[KINDS[name].leak] = same | partner_in_train(near.where(is_near))
            else:
                found[KINDS[name].leak] = partner_in_train(pairs)
        group = np.zeros(self.of.size, bool)
        for origin in self.origins:
            known = origin >= 0
            group |= known & np.isin(origin, origin[known & is_train])
        found[SAME_GROUP] = group & is_held_out
        found[PERHAPS] = partner_in_train(near.where(~is_near))
        return found

    def shares(self, is_train: Bools, is_held_out: Bools) -> dict[str, float]:
        """Return the share of held-out samples with each kind of leak that was searched."""
        seen = self.seen(is_train, is_held_out)
        unsearched = {kind.leak for kind in KINDS.values() if not kind.is_searched(self.policy)}
        if not KINDS[NEAR].is_searched(self.policy):
            unsearched.add(PERHAPS)
        count = max(int(is_held_out.sum()), 1)
        return {
            name: round(int(found.sum()) / count, 4)
            for name, found in seen.items()
            if name not in unsearched
        }

    def of_random_splits(self, ids: Sequence[str], size: int, seed: int) -> dict[str, Any]:
        """Return the mean and standard deviation of the shares over random splits.

        Each split holds out `size` samples. It depends on the sample `ids` (n,) and the seed, not
        on the order of the rows.
        """
        by_id = np.argsort(np.array(ids))
        draws = []
        for number in range(DRAWS):
            is_held_out = np.zeros(by_id.size, bool)
            order = np.random.default_rng([seed, number]).permutation(by_id.size)
            is_held_out[by_id[order[:size]]] = True
            draws.append(self.shares(~is_held_out, is_held_out))
        columns = {name: [draw[name] for draw in draws] for name in draws[0]}
        return {
            name: {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4)}
            for name, values in columns.items()
        }


def residual_method(policy: Dedupe) -> str:
    """Return a sentence that says which leaks were not looked for, and what `perhaps` includes."""
    if policy.method == "exact":
        return "same bytes only; near-duplicates were not searched"
    unseen = [kind.plural for kind in KINDS.values() if not kind.is_searched(policy)]
    bits = f"{policy.group_within + 1} to {policy.review_within}"
    return (
        f"perhaps: phash distance of {bits} bits; not searched: "
        f"{', '.join([*unseen, 'borders', 'collages'])} (on photos checked by eye, 3.5% +- 1.4 of "
        "the validation set had a crop or the like in the training set)"
    )
