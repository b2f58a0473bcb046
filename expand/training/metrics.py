"""From the scores of all views: accuracies with standard errors, accuracy per class, confusion matrix.

All accuracies are fractions. Standard errors come from the finite number of videos alone, not from seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from expand.core.accuracy import ClassRow, Rate
from expand.core.trial import Metrics

Z95 = 1.959964  # standard deviations around the mean that contain 95 % of a normal distribution


@dataclass(frozen=True)
class Scores:
    """The scores of all videos of a split.

    Attributes:
        probabilities: (videos, classes), the mean softmax over the `views` views of each video.
        labels: (videos,), the true classes.
        clip_hits: (videos, 2), the share of a video's single views whose top-1 and top-5 answers are correct.
    """

    probabilities: torch.Tensor
    labels: torch.Tensor
    clip_hits: torch.Tensor
    views: int

    @property
    def predicted(self) -> torch.Tensor:
        """(videos,): the class with the highest probability; of equal ones the first."""
        return self.probabilities.argmax(1)

    @property
    def loss(self) -> float:
        """Mean negative log probability of the true class."""
        likelihood = self.probabilities.gather(1, self.labels[:, None]).clamp_min(1e-12)
        return round(-likelihood.log().mean().item(), 6)

    @property
    def hits(self) -> torch.Tensor:
        """(videos, 2): 1 if the true class is first, and if it is among the first five."""
        return hits(self.probabilities, self.labels)

    def metrics(self) -> Metrics:
        top1, top5 = self.hits.mean(0).tolist()
        return Metrics(round(top1, 6), round(top5, 6), self.loss, clips=len(self.labels), views=self.views)

    def rates(self) -> dict[str, Rate]:
        """Top-1 and top-5 of videos and of single views. The views of one video are not independent, so standard errors count
        videos: for videos the binomial error, for views the same formula with shares."""
        both = torch.cat((self.hits, self.clip_hits), 1).double()
        errors = both.std(0, correction=0) / math.sqrt(len(both))
        names = ("video_top1", "video_top5", "clip_top1", "clip_top5")
        pairs = zip(names, both.mean(0).tolist(), errors.tolist(), strict=True)
        return {name: Rate(round(value, 6), round(error, 6)) for name, value, error in pairs}

    def per_class(self, names: Sequence[str]) -> list[ClassRow]:
        """One row per class; `names` are in the order of the classes."""
        rows = []
        for label, (name, answers) in enumerate(zip(names, self.confusion().tolist(), strict=True)):
            right, videos = answers[label], sum(answers)
            rows.append(ClassRow(name, videos, right, right / videos if videos else None, *wilson(right, videos)))
        return rows

    def confusion(self) -> torch.Tensor:
        """(classes, classes) counts of videos: rows are the truth, columns the answers."""
        classes = self.probabilities.shape[1]
        cells = self.labels * classes + self.predicted
        return torch.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def hits(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # (N, classes), (N,) -> (N, 2)
    """Whether the true class is first, and among the first five; of equal scores the lower class comes first. A row that is not
    finite counts as wrong."""
    own = scores.gather(1, labels[:, None])
    lower = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    before = (~(scores <= own) | ((scores == own) & lower)).sum(1)
    return torch.stack((before < 1, before < 5), 1).float()


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927). Unlike ± two standard errors it stays
    between 0 and 1 and is valid for few videos. It is 0 to 1 without any."""
    if not total:
        return 0.0, 1.0
    share, z2 = right / total, Z95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)
