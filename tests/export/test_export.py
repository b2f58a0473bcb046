"""The exported folder: it loads where only torch is, wherever it lies, and gives the same logits."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch

from expand.core.clip import Clip
from expand.core.errors import ExpandError, UsageError
from expand.core.study import Recipe
from expand.core.trial import CONVENTION
from expand.counting.cost import cost_of, family_layers
from expand.data import sampling
from expand.data import transforms as augment
from expand.export import bundle as takeaway
from expand.export import model_card as card
from expand.export import verify
from expand.export.folder import FILES, Package, export_network
from expand.export.templates import load
from search_spaces.x3d import X3DSpace

NETWORK = '''"""A toy network with two streams."""

import math

import torch
from torch import nn
from {sibling} import pool

from expand.core.clip import Clip

START = Clip(4, 2, 16, 16)
WIDE = 2


def widen(channels):
    return math.ceil(channels * WIDE)


class Base(nn.Module):
    pass


class TwoStreams(Base):
    def __init__(self, channels, classes):
        super().__init__()
        self.rgb = nn.Conv3d(3, widen(channels[0]), 3)
        self.norm = nn.BatchNorm3d(widen(channels[0]))
        self.flow = nn.Conv3d(2, widen(channels[1]), 3)
        self.fc = nn.Linear(widen(sum(channels)), classes)
        self.tied = self.fc
        self.register_buffer("empty", torch.zeros(0, 3))

    def forward(self, rgb, flow):
        return self.fc(torch.cat((pool(self.norm(self.rgb(rgb))), pool(self.flow(flow))), 1))
'''
# rgb: 4 x 3 x 27 weights at 2 x 14 x 14 places, flow: 6 x 2 x 27 at 1 x 10 x 18, fc: 10 x 3
TOY_MACS = 4 * 81 * 392 + 6 * 54 * 180 + 30
CLIPS = (Clip(4, 2, 16, 16), Clip(3, 2, 12, 20, channels=2))
ABOUT = {
    "cost": {"macs": TOY_MACS, "convention": CONVENTION},
    "accuracy": {"top1": 0.5},
    "classes": ["raise", "lower", "wave"],
    "normalisation": {"mean": 0.45, "std": [0.225, 0.224, 0.225]},
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A trained toy network's class, arguments and state, from a module in a user's own folder."""
    home = tmp_path_factory.mktemp("home")
    (home / "toy_exported_family.py").write_text(NETWORK.format(sibling="toy_exported_sibling"))
    (home / "toy_exported_sibling.py").write_text("def pool(x):\n    return x.mean((2, 3, 4))\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home)
        network = importlib.import_module("toy_exported_family").TwoStreams
        arguments = {"channels": (2, 3), "classes": 3}
        torch.manual_seed(1)
        trained = network(**arguments)
        trained(torch.rand(4, 3, 4, 16, 16), torch.rand(4, 2, 3, 12, 20))  # moves the running statistics
        yield Package(network, arguments, trained.state_dict(), ABOUT, CLIPS)
        for name in ("toy_exported_family", "toy_exported_sibling"):
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def answer(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "out"
    return folder, export_network(folder, toy)


@pytest.fixture
def out(answer, tmp_path):
    """A copy of the export, for this test to spoil."""
    return shutil.copytree(answer[0], tmp_path / "out")


def logits_of(toy, inputs):
    network = toy.network(**toy.arguments)
    network.load_state_dict(toy.state_dict)
    with torch.no_grad():
        return network.eval()(*inputs)


def test_the_folder_and_its_check(answer):
    folder, differences = answer
    assert differences.keys() == {"model.safetensors"} and 0 <= differences["model.safetensors"] <= 1e-5
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert list(folder.parent.iterdir()) == [folder]
    about = json.loads((folder / "architecture.json").read_text())
    assert about["network"] == {"class": "TwoStreams", "arguments": {"channels": [2, 3], "classes": 3}}
    assert about["clip"][1] == {"frames": 3, "stride": 2, "height": 12, "width": 20, "channels": 2}
    assert about["cost"]["macs"] == TOY_MACS and about["classes"] == ABOUT["classes"]
    weights = (folder / "model.safetensors").read_bytes()
    assert about["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()


def test_a_copy_moved_elsewhere_loads_beside_another_and_takes_other_sizes(toy, answer, tmp_path):
    shutil.copytree(answer[0], tmp_path / "else where" / "copy")
    networks = [load.load(folder) for folder in (answer[0], tmp_path / "else where" / "copy")]
    assert type(networks[0]) is not type(networks[1]) and not networks[0].training
    odd = (torch.rand(1, 3, 5, 17, 31), torch.rand(1, 2, 7, 9, 11))
    with torch.no_grad():
        for network in networks:
            assert torch.equal(network(*odd), logits_of(toy, odd))


def test_our_reader_reads_what_safetensors_writes(tmp_path):
    from safetensors.torch import save_file

    tensors = {
        "half": torch.randn(3, 2).half(),
        "brain": torch.randn(5).bfloat16(),
        "double": torch.randn(2, 2).double(),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False, True]),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "nothing": torch.zeros(0, 4),
    }
    save_file(tensors, tmp_path / "all.safetensors", metadata={"format": "pt"})
    read = load.read_safetensors(tmp_path / "all.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)


def test_damaged_weights_are_refused(out):
    file = out / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\1\2\3\4")
    with pytest.raises(ValueError, match="SHA-256"):
        load.load(out)
    for length, message in ((5, "not a safetensors file"), (40, "is truncated"), (len(whole) - 8, "do not fit")):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=message):
            load.read_safetensors(file)


def test_the_readme_tells_classes_clips_and_figures(answer):
    text = (answer[0] / "README.md").read_text()
    for told in (
        "raise, lower, wave",
        "- top1: 0.5",
        "(B, 2, 3, 12, 20)",
        f"multiply-adds: {TOY_MACS:,} per clip",
        "[0.225, 0.224, 0.225]",
    ):
        assert told in text


@pytest.mark.parametrize("recipe", [Recipe(scale_jitter=(1.0, 1.0)), Recipe(), Recipe(crop="fixed")])
def test_prepare_is_what_validation_does(tmp_path, recipe):
    scale, resize = sampling.validation_scale(recipe), takeaway.resize_facts(recipe)
    normal = {"mean": augment.MEAN, "std": augment.STD}
    clips = (Clip(4, 3, 32, 32), Clip(3, 1, 32, 32))
    about = {"clip": [asdict(clip) for clip in clips], "normalisation": normal, "resize": resize}
    (tmp_path / "architecture.json").write_text(json.dumps(about))
    for length, height, width in ((30, 60, 80), (7, 24, 20), (12, 32, 32)):
        video = torch.randint(0, 256, (length, height, width, 3), dtype=torch.uint8)
        for view in range(2):
            start = sampling.uniform_start(length, clips[0], view, 2)
            for clip, got in zip(clips, load.prepare(video, tmp_path, view=view, views=2), strict=True):
                frames = video[sampling.frame_indices(length, clip, sampling.within(length, clip, clips, start))]
                expected = augment.normalise(augment.centre_crop(frames, 32, scale).clone())
                assert torch.allclose(got[0], expected, atol=1e-5)


@pytest.mark.parametrize(("device", "said"), [("cuda", True), ("cpu", False), ("", False)])
def test_a_card_promises_the_same_digits_only_where_torch_does(device, said):
    made = asdict(Recipe()) | {"seed": 0, "seconds": 3.0, "device": device}
    videos = {"name": "mine", "train": 2, "val": 1, "cache_side": 96, "fingerprint": "f"}
    lines = "\n".join(card._training({"training": made, "videos": videos, "environment": {}}))
    assert ("may give weights that differ in the last digits" in lines) is said


def test_a_second_export_replaces_the_first_by_force_only(toy, out):
    (out / "network.py").write_text("mine")  # somebody has worked on it
    (out / "__pycache__").mkdir()
    with pytest.raises(UsageError, match="--force replaces it"):
        export_network(out, toy)
    assert (out / "network.py").read_text() == "mine"
    export_network(out, replace(toy, about=ABOUT | {"accuracy": {"top1": 0.75}}), force=True)
    assert "0.75" in (out / "README.md").read_text()
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("name", ["notes.txt", "network.py", "architecture.json"])
def test_a_folder_of_something_else_is_refused(toy, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(UsageError, match="only an earlier export can be replaced"):
        export_network(tmp_path / "out", toy, force=True)
    assert (tmp_path / "out" / name).read_text() == "mine"
    with pytest.raises(UsageError, match="it is a file"):
        export_network(tmp_path / "out" / name, toy, force=True)


def test_an_export_with_something_beside_it_is_refused(toy, out):
    (out / "results.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"holds results\.csv"):
        export_network(out, toy, force=True)


def test_a_failed_check_leaves_nothing_and_keeps_the_old(toy, out, monkeypatch):
    spoiled = "import torch\nimport safetensors\n\n\ndef build_network():\n    return torch.nn.Identity()\n"
    monkeypatch.setattr("expand.export.folder.network_source", lambda *_: spoiled)
    with pytest.raises(ExpandError, match=r"fresh process.*the export imports 'safetensors', but may use only torch"):
        export_network(out, toy, force=True)
    assert load.describe(out)["classes"] == ABOUT["classes"]
    assert list(out.parent.iterdir()) == [out]


def test_other_costs_are_an_error(toy, tmp_path):
    with pytest.raises(
        ExpandError, match=f"{TOY_MACS:,} multiply-adds as torch counts them, but {TOY_MACS + 1:,} are recorded"
    ):
        export_network(tmp_path / "out", replace(toy, about={"cost": {"macs": TOY_MACS + 1}}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "got, words",
    [
        ({"logits": [[1.0, 2.0], [3.0, 4.1]], "first": [[1.0, 2.0]]}, "differ by 0.1"),
        ({"logits": [[1.0, 2.0], [3.0, 4.0]], "first": [[1.0, 2.001]]}, "differ by 0.001"),
        ({"logits": [[1.0, 2.0], [3.0, math.nan]], "first": [[1.0, 2.0]]}, "differ by nan"),
        ({"logits": [[1.0, 2.0, 0.0]], "first": [[1.0, 2.0, 0.0]]}, r"shape \(1, 3\), expected \(2, 2\)"),
    ],
)
def test_other_logits_are_an_error(tmp_path, got, words):
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    written = verify.Written(tmp_path, ("model.safetensors",), (), logits, logits[:1])
    with pytest.raises(ExpandError, match=words):
        verify._difference(written, "model.safetensors", got)


def test_another_runtime_may_round_as_much_as_torch_does_but_torch_may_not(tmp_path):
    logits = torch.tensor([[1.0, 2.0]])
    got = {"logits": [[1.0, 2.0 + 3e-5]], "first": [[1.0, 2.0]]}
    rough = verify.Written(tmp_path, ("model.onnx",), (), logits, logits, rounding=1e-5)
    assert verify._difference(rough, "model.onnx", got) == pytest.approx(3e-5)
    for written, file in ((rough, "model.pt2"), (replace(rough, rounding=1e-6), "model.onnx")):
        with pytest.raises(ExpandError, match="allowed is 1e-05"):
            verify._difference(written, file, got)


def test_what_is_not_plain_is_named(toy, tmp_path):
    with pytest.raises(ExpandError, match=r"TwoStreams\(act=.*plain values only"):
        export_network(tmp_path / "out", replace(toy, arguments={"act": torch.nn.ReLU}))
    with pytest.raises(ExpandError, match="state entry 'extra' is a dict"):
        export_network(tmp_path / "out", replace(toy, state_dict={"extra": {}}))
    with pytest.raises(ExpandError, match="do not fit TwoStreams"):
        export_network(tmp_path / "out", replace(toy, state_dict={}))
    assert not list(tmp_path.iterdir())


def test_the_smallest_x3d(tmp_path):
    space = X3DSpace(frames=2, stride=4, resolution=32, width=0.5, bottleneck=1.0, depth=0.5)
    network, arguments = space.constructor(space.start, num_classes=8)
    torch.manual_seed(0)
    trained, folder = network(**arguments), tmp_path / "x3d"
    about = ABOUT | {"classes": [str(n) for n in range(8)], "cost": {"macs": cost_of(space, space.start, 8).macs}}
    layers = family_layers(space, space.start, 8)
    package = Package(network, arguments, trained.state_dict(), about, space.inputs(space.start), layers)
    assert export_network(folder, package)["model.safetensors"] <= 1e-5
    video = torch.randint(0, 256, (20, 48, 64, 3), dtype=torch.uint8)
    exported = load.load(folder)
    with torch.no_grad():
        assert exported(*load.prepare(video, folder)).shape == (1, 8)
        odd = torch.rand(1, 3, 3, 41, 57)
        assert torch.equal(exported(odd), trained.eval()(odd))
    code = (folder / "network.py").read_text()
    assert f"{about['cost']['macs']:,}" in code and f"widths={arguments['widths']}," in code  # told in its own words
    for file in folder.glob("*.py"):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--isolated", file], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
    example = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[0]  # runs as it stands
    example = example.replace("PATH/OF/THIS/FOLDER", str(folder))
    done = subprocess.run([sys.executable, "-I", "-c", example], capture_output=True, text=True)
    assert done.stdout.strip() in map(str, range(8)), done.stderr


def test_a_video_of_another_frame_rate_is_read_at_that_of_the_training_videos(tmp_path):
    about = {"clip": [{"frames": 4, "stride": 3, "height": 8, "width": 8}], "fps": 10}
    (tmp_path / "architecture.json").write_text(json.dumps(about))
    video = torch.arange(60, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(60, 8, 8, 3)

    def seen(fps):
        return (load.prepare(video, tmp_path, fps=fps)[0][0, 0, :, 0, 0] * 255).round().tolist()

    assert seen(None) == seen(10) == seen(10.4) == [25, 28, 31, 34]
    assert seen(20) == [20, 26, 32, 38]  # 30 frames at 10 a second, of which 10, 13, 16, 19, each shown twice
    assert seen(5) == [27, 29, 30, 32]  # 27.5, 29, 30.5 and 32; between two the earlier one


def test_the_card_begins_with_the_test_accuracy_where_it_is_known():
    """Validation chose the network, so its figure is too high."""
    accuracy = {"validation_top1": 0.83, "validation_standard_error": 0.03, "validation_clips": 160, "views": 1}
    about = {"accuracy": accuracy, "trial": 3, "study": "tiny", "scale": "demo", "data": "clips"}
    assert "83.0 % ± 3.0 on validation" in card.summary(about)
    tested = about | {"accuracy": accuracy | {"test_top1": 0.75, "test_standard_error": 0.04, "test_videos": 100}}
    text = card.summary(tested)
    assert text.index("75.0 % ± 4.0 on test") < text.index("83.0 % ± 3.0 on validation")
    first, second = card._accuracy(tested)
    assert first.startswith("- test top-1 75.0 %") and second.startswith("- validation top-1 83.0 %")
