"""What the loader's processes do to a training when one of them hangs."""

import time
from pathlib import Path

import numpy as np
import pytest

from expand.core.clip import Clip
from expand.core.errors import ExpandError
from expand.core.study import Recipe
from expand.data import loader
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.read_source import read_source


class Hanging(ClipCache):
    """Its first clip is never decoded."""

    def picked(self, index, indices) -> np.ndarray:
        if index == 0:
            time.sleep(3600)
        return super().picked(index, indices)


def test_a_hanging_decoder_is_an_error_with_the_files_of_its_batch(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loader, "BATCH_SECONDS", 1)
    cache = Hanging(prepare(read_source(squares), side=24, splits=("val",))[0])
    clips, recipe = (Clip(frames=2, stride=1, height=16, width=16),), Recipe(batch_size=4)
    training = loader.TrainingClips(cache, clips, recipe, seed=0, epoch=0)
    views = loader.ViewClips(cache, clips, 2)
    with pytest.raises(ExpandError, match="the decoder hangs on one of ") as error:
        list(loader.batches(training, 2, workers=1))
    assert cache.names[0] in str(error.value) and str(error.value).count(".avi") == 2
    assert [views.name(index) for index in range(4)] == [cache.names[0], cache.names[0], cache.names[1], cache.names[1]]
