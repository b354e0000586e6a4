"""What of the held-out pictures the training part has seen already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.params import Dedupe
from pipeline.dataset.contents import Ints
from pipeline.dataset.pairs_table import Edges, Pairs

Bools = NDArray[np.bool_]
DRAWS = 5  # random splits that the leak before is averaged over


class Seen(NamedTuple):
    """Of each of n samples, whether train holds such a one; false for train's own."""

    same_bytes: Bools
    near_duplicate: Bools  # the same bytes among them
    mirrored: Bools
    crop: Bools
    same_group: Bools  # of its provenance
    perhaps: Bools  # looks a little alike, beyond what counts as near


@dataclass(frozen=True)
class Audit:
    """What is looked at: n samples, the content `of` each, links between contents, provenance.

    `policy` says up to how many bits a near link is a duplicate, and what was searched at all;
    each of `origins` (n,) numbers the samples' provenance, -1 where unknown.
    """

    of: Ints
    edges: Edges
    policy: Dedupe
    origins: Sequence[Ints] = ()

    def seen(self, is_train: Bools, is_held_out: Bools) -> Seen:
        """Say of each held-out sample what of it is in train."""
        trained = np.zeros(int(self.of.max(initial=-1)) + 1, bool)
        trained[self.of[is_train]] = True

        def partner_in_train(pairs: Pairs) -> Bools:
            found = np.zeros(trained.size, bool)
            found[pairs.a[trained[pairs.b]]] = True
            found[pairs.b[trained[pairs.a]]] = True
            return found[self.of] & is_held_out

        same = trained[self.of] & is_held_out
        is_near = self.edges.near.distance <= self.policy.group_within
        group = np.zeros(self.of.size, bool)
        for origin in self.origins:
            known = origin >= 0
            group |= known & np.isin(origin, origin[known & is_train])
        return Seen(
            same,
            same | partner_in_train(self.edges.near.where(is_near)),
            partner_in_train(self.edges.mirror),
            partner_in_train(self.edges.crop),
            group & is_held_out,
            partner_in_train(self.edges.near.where(~is_near)),
        )

    def shares(self, is_train: Bools, is_held_out: Bools) -> dict[str, float]:
        """Return the share of held-out samples for which each thing that was searched is true."""
        seen = self.seen(is_train, is_held_out)._asdict()
        if self.policy.method == "exact":
            del seen["near_duplicate"], seen["perhaps"]
        if not self.policy.mirror:
            del seen["mirrored"]
        if not self.policy.crop:
            del seen["crop"]
        count = max(int(is_held_out.sum()), 1)
        return {name: round(int(found.sum()) / count, 4) for name, found in seen.items()}

    def of_random_splits(self, ids: Sequence[str], size: int, seed: int) -> dict[str, Any]:
        """Return the mean and standard deviation over a few random splits that hold out `size`."""
        by_id = np.argsort(np.array(ids))  # the order of the rows must not matter
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
    """Say what the audit cannot see, and what `perhaps` counts."""
    if policy.method == "exact":
        return "same bytes only: near duplicates are not searched"
    searched = {"mirror images": policy.mirror, "crops": policy.crop}
    unseen = [name for name, is_searched in searched.items() if not is_searched]
    bits = f"{policy.group_within + 1} to {policy.review_within}"
    return (
        f"perhaps: phash distance {bits}; not searched: "
        f"{', '.join([*unseen, 'borders', 'collages'])} (on photos checked by eye, 3.5% +- 1.4 of "
        "validation had a crop or the like in train)"
    )
