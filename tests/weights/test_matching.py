"""Files of weights: ours and others', what became of each tensor, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from expand.cli import listing
from expand.core.errors import UsageError
from expand.export.folder import Package, export_network
from expand.search.job import _save_weights
from expand.training import checkpoint
from expand.weights.matching import load_weights, points_that_fit
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace(frames=2, stride=8, resolution=32, width=0.3, depth=0.3)
HEAD = {"fc2.weight", "fc2.bias"}


@pytest.fixture
def trained() -> nn.Module:
    return built(seed=1)


def built(seed: int = 0, num_classes: int = 5, **values: object) -> nn.Module:
    torch.manual_seed(seed)
    return SPACE.build(SPACE.architecture(**values), num_classes)


def loaded(path: Path, network: nn.Module, **values: object):
    return load_weights(network, path, space=SPACE, architecture=SPACE.architecture(**values))


def same(network: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


@pytest.fixture(scope="module")
def one_export(tmp_path_factory) -> Path:
    cls, arguments = SPACE.constructor(SPACE.start, 5)
    about = {"architecture": {"family": "x3d", **SPACE.start.as_dict()}}
    folder = tmp_path_factory.mktemp("export") / "taken"
    state, clip = built(seed=1).state_dict(), SPACE.inputs(SPACE.start)
    export_network(folder, Package(cls, arguments, state, about, clip))
    return folder


@pytest.fixture
def folder(one_export, tmp_path) -> Path:
    """An export of the trained network."""
    return Path(shutil.copytree(one_export, tmp_path / "taken"))


# --- what can be read ------------------------------------------------------------------------------------------------


def test_an_export_is_read_by_its_folder_and_by_its_file(trained, folder):
    for path in (folder, folder / "model.safetensors"):
        network = built()
        matched = loaded(path, network)
        assert same(network, trained) and matched.layout == "expand"
        assert set(matched.matched) == set(network.state_dict())
        assert not (matched.missing or matched.unexpected or matched.replaced or matched.notes)


def test_a_trials_weights_and_its_checkpoint_are_read(trained, tmp_path):
    _save_weights(tmp_path / "artifacts" / "000001" / "model.safetensors", trained)
    checkpoint.save(tmp_path / "last.pt", {"network": trained.state_dict(), "curve": [{"epoch": 1}], "identity": "x"})
    for path in (tmp_path / "artifacts" / "000001", tmp_path / "last.pt"):
        network = built()
        assert not loaded(path, network).missing and same(network, trained)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model_state": state, "optimizer_state": {"state": {}}, "epoch": 3, "cfg": "MODEL: X3D"},
        lambda state: {
            "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
            "hyper_parameters": {},
        },
        lambda state: {"model": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_others_wrap_around_a_state_dict_is_taken_off(wrap, zipped, trained, tmp_path):
    torch.save(wrap(trained.state_dict()), tmp_path / "w.pyth", _use_new_zipfile_serialization=zipped)
    network = built()
    assert not loaded(tmp_path / "w.pyth", network).missing and same(network, trained)


def test_half_precision_and_uncounted_batches_are_fine(trained, tmp_path):
    state = {name: tensor.half() for name, tensor in trained.state_dict().items() if "num_batches" not in name}
    save_file(state, tmp_path / "w.safetensors")
    network = built()
    matched = loaded(tmp_path / "w.safetensors", network)
    assert not matched.missing and network.fc1.weight.dtype is torch.float32
    assert torch.equal(network.fc1.weight, trained.fc1.weight.half().float())


# --- what becomes of the tensors -------------------------------------------------------------------------------------


def test_a_last_layer_for_other_classes_starts_anew(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    network, before = built(num_classes=9), built(num_classes=9)
    state = torch.get_rng_state()
    matched = loaded(tmp_path / "w.pt", network)
    assert torch.equal(state, torch.get_rng_state()), "loading draws random numbers"
    assert set(matched.replaced) == HEAD and not HEAD & set(matched.matched) and not matched.missing
    assert torch.equal(network.fc2.weight, before.fc2.weight) and torch.equal(network.fc1.weight, trained.fc1.weight)
    assert "2 replaced (fc2.weight, fc2.bias)" in str(matched)


def test_what_is_missing_keeps_its_values_and_what_is_left_over_is_named(trained, tmp_path):
    state = trained.state_dict() | {"teacher.weight": torch.ones(3)}
    del state["conv5.weight"]
    torch.save(state, tmp_path / "w.pt")
    network, before = built(), built()
    matched = loaded(tmp_path / "w.pt", network)
    assert matched.missing == ("conv5.weight",) and matched.unexpected == ("teacher.weight",)
    assert torch.equal(network.conv5.weight, before.conv5.weight)


def test_the_named_points_that_fit_are_found():
    tensors = SPACE.build(SPACE.points["X2D"], 7).state_dict()
    assert points_that_fit(tensors, SPACE) == [("X2D", "expand")]
    assert points_that_fit({name: tensors[name] for name in HEAD}, SPACE) == []


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(path: Path, words: str, **values: object) -> None:
    network, before = built(**values), built(**values)
    with pytest.raises(UsageError, match=words) as caught:
        loaded(path, network, **values)
    assert "\n" not in str(caught.value) and same(network, before)


def test_other_shapes_are_an_error_with_both(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    refused(
        tmp_path / "w.pt",
        r"shapes differ: .*widen.weight is 8x8x1x1x1 in the file and 16x8x1x1x1 in the network",
        bottleneck=2,
    )


def test_an_export_says_how_its_architecture_differs(folder):
    refused(folder, "from the file's architecture to the network's: bottleneck 1→2", bottleneck=2)
    about = json.loads((folder / "architecture.json").read_text())
    about["architecture"] = {"family": "c3d", "width": 1.0}
    (folder / "architecture.json").write_text(json.dumps(about))
    refused(folder, "the file is of the family c3d, the network of x3d", bottleneck=2)


def test_another_clip_is_the_same_network(trained, folder):
    network = built(frames=4)
    assert not loaded(folder, network, frames=4).missing and same(network, trained)


@pytest.mark.parametrize(
    "names", [{"a.weight": torch.ones(3, 2)}, {"fc2.weight": torch.ones(5, 2048), "fc2.bias": torch.ones(5)}]
)
def test_nothing_in_common_is_an_error_with_first_names_of_both(names, tmp_path):
    torch.save(names, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", r"the file has \S+ \dx\d+.*, the network stem_spatial.weight 8x3x1x3x3, .* and \d+ more")


class Payload:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_a_file_that_would_run_code_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content, name in (
        (Payload(), "pathlib.Path.touch|getattr"),
        ({"at": Fraction(1, 2)}, "fractions.Fraction"),
        (trained, "X3D"),
    ):
        torch.save({"state_dict": trained.state_dict(), "extra": content}, "w.pt")
        refused(Path("w.pt"), rf"would run code \(.*({name})\), which is refused; where it was created, save only")
    assert not Path("ran").exists()


def test_damaged_and_foreign_files_are_named(trained, tmp_path):
    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    refused(tmp_path / "gone.pt", "no such file; name an export's folder")
    refused(tmp_path, "a folder without model.safetensors")
    refused(file("page.pth", b"<!DOCTYPE html><html></html>"), "no file of weights: .*<!DOCTYPE")
    refused(file("empty.pt", b""), "no file of weights")
    for zipped in (True, False):
        torch.save(trained.state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
        whole = (tmp_path / "w.pt").read_bytes()
        refused(file("cut.pt", whole[: len(whole) // 2]), "cut.pt is damaged or no file of weights")
    torch.save({"epoch": 3, "cfg": "text"}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "holds no weights")
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    refused(file("cut.safetensors", (tmp_path / "w.safetensors").read_bytes()[:-9]), "cut.safetensors is damaged")
    checkpoint.save(tmp_path / "last.pt", {"network": trained.state_dict()})
    stored = bytearray((tmp_path / "last.pt").read_bytes())
    stored[-1000] ^= 1
    refused(file("last.pt", bytes(stored)), "a damaged checkpoint .*SHA-256")


def test_an_export_whose_weights_changed_is_refused(folder):
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(raw))
    refused(folder, "its SHA-256 is not the one in architecture.json")


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_lists_what_a_network_would_take(trained, tmp_path, capsys):
    torch.save(trained.state_dict() | {"teacher.weight": torch.ones(3)}, tmp_path / "w.pt")
    values = [f"{name}={value}" for name, value in SPACE.start.as_dict().items()]
    listing.show_matched(tmp_path / "w.pt", "x3d", values, None, 9, as_json=False)
    shown = capsys.readouterr().out
    assert (
        "expand's layout, into x3d frames=2" in shown
        and "    1 unexpected (are not used)\n      teacher.weight" in shown
    )
    listing.show_matched(tmp_path / "w.pt", "x3d", values, None, 9, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert set(told["replaced"]) == HEAD and told["unexpected"] == ["teacher.weight"] and not told["missing"]


def test_the_command_says_which_networks_a_file_fits(folder, tmp_path, capsys):
    listing.show_weight_file(folder, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["architecture"]["family"] == "x3d" and told["fits"] == []
    assert told["tensors"]["stem_spatial.weight"] == [8, 3, 1, 3, 3]
    torch.save(SPACE.build(SPACE.points["X2D"], 7).state_dict(), tmp_path / "w.pt")
    listing.show_weight_file(tmp_path / "w.pt", as_json=False)
    assert "\nfits x3d --point X2D (expand's layout)\n" in capsys.readouterr().out


def test_a_mistake_at_the_command_line_is_one_line_and_code_2(expand, tmp_path):
    (tmp_path / "page.pth").write_text("<html>")
    done = expand("weights", "page.pth", "x3d", "--point", "M")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "page.pth is no file of weights" in done.stderr
