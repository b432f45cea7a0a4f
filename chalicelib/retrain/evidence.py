"""How sure it is that a new version is better: a paired bootstrap over groups of validation images.

Both versions are measured on the same images, so each resample of these gives one difference; what
makes an image hard for both cancels out. Groups of look-alikes are drawn, not images: ten photos of
one scene tell little more than one. Source: B. Efron and R. Tibshirani, An Introduction to the
Bootstrap (1993), chapters 8 and 13.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from chalicelib.labels.fingerprint import Fingerprint, Index
from chalicelib.retrain.measured import LEAST_GROUPS, PERCENTS, Difference, Evidence
from chalicelib.vision.resampled import Scored

RESAMPLES = 1000
DIGITS = 5
Float64 = npt.NDArray[np.float64]


def compare(new: Scored, live: Scored, groups: Sequence[int], seed: int = 0) -> Evidence:
    """Compare two versions that were measured on the same images.

    Parameters
    ----------
    new, live : Scored
    groups : Sequence[int]
        Of each image the group of look-alikes that it belongs to, as ``look_alikes`` has them.
    seed : int
        Of the resamples: the same images and the same seed give the same answer.
    """
    _, of_image = np.unique(np.asarray(groups, np.int64), return_inverse=True)
    count = int(of_image.max(initial=-1)) + 1
    drawn = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / max(count, 1)), RESAMPLES if count >= LEAST_GROUPS else 0
    )
    # The first row is the images as they are.
    times = np.concatenate([np.ones((1, count)), drawn.astype(np.float64)])[:, of_image]
    before, after = live.precision(times), new.precision(times)
    changes = {class_id: after[class_id] - before[class_id] for class_id in sorted(before)}
    return Evidence(
        images=len(groups),
        groups=count,
        gain=_difference(_mean(changes, len(times))),
        classes={class_id: _difference(change) for class_id, change in changes.items()},
    )


def look_alikes(pictures: Iterable[Fingerprint]) -> list[int]:
    """Return the number of the group of each picture: near to one of them is near to all."""
    index, groups = Index(), list[int]()
    for number, picture in enumerate(pictures):
        near = {groups[other] for other, _ in index.near(picture)}
        index.add(picture.bits)
        groups.append(min(near, default=number))
        groups = [groups[-1] if group in near else group for group in groups]
    return groups


def _mean(changes: Mapping[int, Float64], rows: int) -> Float64:
    """Return the mean change of the classes that each resample shows."""
    if not changes:
        return np.full(rows, np.nan)
    every = np.stack(list(changes.values()))
    shown = np.isfinite(every)
    counts = shown.sum(axis=0)
    total = np.where(shown, every, 0).sum(axis=0)
    mean: Float64 = np.divide(total, counts, out=np.full(rows, np.nan), where=counts > 0)
    return mean


def _difference(differences: Float64) -> Difference:
    """Return the first difference, and the percentiles of the others."""
    resampled = differences[1:][np.isfinite(differences[1:])]
    percentiles = np.percentile(resampled, PERCENTS) if len(resampled) else np.empty(0)
    return Difference(
        value=round(float(np.nan_to_num(differences[0])), DIGITS),
        percentiles=tuple(round(float(each), DIGITS) for each in percentiles),
    )
