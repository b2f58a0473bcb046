"""The weights of a run's trials."""

from __future__ import annotations

import torch

from expand.core.errors import ExpandError
from expand.core.trial import Trial
from expand.storage.run_directory import Record


def read_weights(record: Record, trial: Trial) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = record.weights(trial.number)
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise ExpandError(f"{path} is gone: trial {trial.number} has no weights; train it again in a new run") from None
    except SafetensorError as error:
        raise ExpandError(
            f"{path} is damaged ({error}): trial {trial.number} has no weights; train it again in a new run"
        ) from None
