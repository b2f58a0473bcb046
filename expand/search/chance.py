"""Whether a search is worth going on: what its networks learned, against guessing. Pure functions of the trials."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from expand.core.accuracy import binomial_tail, in_percent
from expand.core.trial import Trial, TrialState
from expand.strategies.ledger import UNSTEPPED

FEWEST = 3  # networks that must be complete
LEVEL = 0.05  # of all trainings together
POWER = 0.9  # with which the validation clips must show a network that is halfway from chance to perfect


@dataclass(frozen=True)
class Chance:
    """What guessing scores in validation.

    Attributes:
        share: the most frequent class's share of the validation clips, or 1 / `classes` if that is more.
        command: that finds a better recipe.
    """

    share: float
    classes: int
    command: str

    @staticmethod
    def of(labels: Iterable[int], classes: int, command: str) -> Chance:
        counts = Counter(int(label) for label in labels)
        share = max(counts.values(), default=0) / max(counts.total(), 1)
        return Chance(max(share, 1 / classes), classes, command)


def nothing_learned(trials: Sequence[Trial], chance: Chance) -> str:
    """What was seen and what to change, without a full stop, if at least `FEWEST` networks are complete and none beats chance.

    Each training is tested against chance: exact binomial, one-sided, `LEVEL` divided by the number of trainings. A step of an
    expansion is judged once all its candidates have ended, because some of them cannot learn where others do. If there are so
    few validation clips that a good network could hardly be recognised, nothing is said.

    Returns:
        "" if a network beats chance, or if it is too early to say.
    """
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.metrics is not None]
    networks = len({trial.architecture for trial in done})
    if networks < FEWEST or any(t.suggestion.kind not in UNSTEPPED and not t.state.ended for t in trials):
        return ""
    level = LEVEL / len(done)
    scores = [(round(t.metrics.top1 * t.metrics.clips), t.metrics.clips) for t in done if t.metrics]
    if any(binomial_tail(right, clips, chance.share) < level for right, clips in scores):
        return ""
    if not all(can_tell(clips, chance.share, level) for clips in {clips for _, clips in scores}):
        return ""
    best = max(done, key=lambda trial: trial.metrics.top1 if trial.metrics else 0.0)
    assert best.metrics is not None
    return (
        f"none of the {networks} networks trained so far beats chance: the best has {in_percent(best.metrics.top1)} top-1 on "
        f"{best.metrics.clips} validation clips, and guessing the most frequent class has {in_percent(chance.share)}. "
        f"{_diagnosis(best, chance.classes)}. `{chance.command}` finds a learning rate, a weight decay and a length with which "
        "the start learns; with another recipe, give another folder with --out"
    )


def _diagnosis(best: Trial, classes: int) -> str:
    """By the training loss after the last epoch: that of guessing is ln(classes)."""
    guessing = math.log(classes)
    loss = best.curve[-1].loss if best.curve else guessing
    figures = f"its training loss ended at {loss:.2f}, that of guessing is ln({classes}) = {guessing:.2f}"
    if loss > 0.9 * guessing:
        return (
            f"It hardly learned the training clips ({figures}): more steps (--set recipe.updates=2000), another "
            "recipe.learning_rate, or less recipe.dropout and augmentation may help"
        )
    if loss < 0.5 * guessing:
        return (
            f"It learned the training clips by heart ({figures}): more training clips, more recipe.weight_decay or augmentation "
            "may help; the labels of the validation clips may be wrong (`expand data check`)"
        )
    return (
        f"It learned a part of the training clips ({figures}): more steps (--set recipe.updates=2000), another "
        "recipe.learning_rate or more training clips may help"
    )


def can_tell(clips: int, share: float, level: float) -> bool:
    """Whether so many clips would show a network that is halfway from chance to perfect, with probability `POWER`."""
    needed = next((right for right in range(clips + 1) if binomial_tail(right, clips, share) < level), None)
    return needed is not None and binomial_tail(needed, clips, (1 + share) / 2) >= POWER
