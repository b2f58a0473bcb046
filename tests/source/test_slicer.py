"""The source that goes along with an export: all that the class reaches, nothing else, as it was written."""

from __future__ import annotations

import ast
import importlib
import sys

import pytest
import torch

from expand.core.errors import ExpandError
from expand.source.slicer import hashed_source, standalone_source
from search_spaces.x3d import X3D

FAMILY = '''# Copyright the authors.
"""A toy family.

Source: nobody, 2026.
"""
# Ported from nowhere.

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expand.core.space import Architecture, SearchSpace
from {layers} import Mixer as Mix, Swish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from numpy.typing import NDArray

# --- the network ---

# Channels of the stem; 8 reads well.
STEM = 8
RATIOS = {{"narrow": 1}}
RATIOS["wide"] = 2  # added later
UNUSED = json.dumps({{}})


def widen(channels: int, ratio: str = "wide") -> int:
    """Channels after widening."""
    return math.ceil(channels * RATIOS[ratio])  # never fewer


class Base(nn.Module):
    def steps(self) -> Iterator[int]:
        yield STEM

    def array(self) -> "NDArray": ...


# The network itself.
class Net(Base):
    def __init__(self, classes: int, hidden: int = STEM, depths: Sequence[int] = (1,)) -> None:
        super().__init__()
        search = hidden  # a local name equal to a module-level one
        self.conv = nn.Conv3d(3, widen(search), 3, padding=1)
        self.mix = Mix(widen(hidden))
        self.act = Swish()
        self.fc = nn.Linear(widen(hidden), classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, T, H, W) -> (B, classes)
        return self.fc(F.relu(self.mix(self.act(self.conv(x)))).mean((2, 3, 4)))


# --- the space ---


def search(space: SearchSpace) -> Mapping[str, Architecture]:
    return space.points


class Space(SearchSpace):
    network = Net
'''

LAYERS = '''"""Layers of the toy family. Source: somebody."""

import torch
from torch import nn

from {inner} import gate

NEVER = 1


class Swish(nn.Module):
    def forward(self, x):
        return x * gate(x)


class Mixer(nn.Conv3d):
    def __init__(self, channels):
        super().__init__(channels, channels, 1)
'''

INNER = """import torch


@torch.no_grad()
def unused(x):
    return x


def gate(x):
    return torch.sigmoid(x)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes modules with unique names into a folder on the path: `write(family=..., layers=...)`."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def put(**texts):
        names = {key: f"toy_{key}_{tmp_path.name}" for key in texts}
        for key, text in texts.items():
            (tmp_path / f"{names[key]}.py").write_text(text.format(**names), encoding="utf-8")
        made.extend(names.values())
        importlib.invalidate_caches()
        return importlib.import_module(next(iter(names.values())))

    yield put
    for name in made:
        sys.modules.pop(name, None)


def definitions(text):
    tree = ast.parse(text)
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]


def test_what_the_class_reaches_and_nothing_else(write):
    text = standalone_source(write(family=FAMILY, layers=LAYERS, inner=INNER).Net)
    assert definitions(text) == ["gate", "Swish", "Mixer", "widen", "Base", "Net"]
    for gone in (
        "SearchSpace",
        "Architecture",
        "json",
        "UNUSED",
        "NEVER",
        "def search",
        "Mapping",
        "expand.core.space",
    ):
        assert gone not in text
    for kept in (
        '# Copyright the authors.\n"""A toy family.\n\nSource: nobody, 2026.\n"""\n# Ported from nowhere.\n',
        "# Channels of the stem; 8 reads well.\nSTEM = 8\n",
        'RATIOS["wide"] = 2  # added later',
        "return math.ceil(channels * RATIOS[ratio])  # never fewer",
        "# The network itself.\nclass Net(Base):",
        "Mix = Mixer",
        "# Layers of the toy family. Source: somebody.",
        "if TYPE_CHECKING:\n    from collections.abc import Iterator\n    from numpy.typing import NDArray\n",
    ):
        assert kept in text


def test_the_imports_left_are_torch_and_the_standard_library(write):
    text = standalone_source(write(family=FAMILY, layers=LAYERS, inner=INNER).Net)
    lines = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert lines == [
        "from __future__ import annotations",
        "import math",
        "from collections.abc import Sequence",
        "from typing import TYPE_CHECKING",
        "import torch",
        "import torch.nn.functional as F",
        "from torch import Tensor, nn",
    ]


def test_the_text_stands_alone(write):
    module = write(family=FAMILY, layers=LAYERS, inner=INNER)
    scope = {"__name__": "alone"}
    exec(standalone_source(module.Net), scope)
    torch.manual_seed(0)
    here = module.Net(5)
    torch.manual_seed(0)
    there = scope["Net"](5)
    clip = torch.rand(2, 3, 2, 8, 8)
    assert torch.equal(here(clip), there(clip))


def test_a_base_class_of_a_module_met_late_comes_first(write):
    family = """
from torch import nn
from {layers} import first, Second

class Net(nn.Module):
    use = (first, Second)
"""
    layers = """
from {inner} import Root

def first():
    pass

class Second(Root):
    pass
"""
    text = standalone_source(write(family=family, layers=layers, inner="class Root:\n    pass\n").Net)
    exec(text, {"__name__": "alone"})
    assert definitions(text) == ["Root", "first", "Second", "Net"]


def test_x3d_leaves_its_space_behind():
    text = standalone_source(X3D)
    assert definitions(text) == ["SqueezeExcitation", "Block", "X3D", "round_to_8"]
    assert "expand.core.space" not in text and "dataclass" not in text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import numpy as np\n\nclass Net:\n    x = np.pi\n", "needs 'import numpy as np'"),
        ("class Net:\n    def f(self):\n        import numpy\n", "'import numpy' within a statement"),
        (
            "from expand import trial\n\nclass Net:\n    x = trial.Trial\n",
            "import the functions and classes themselves",
        ),
        ("import expand.core.clip\n\nclass Net:\n    x = expand.core.clip.Clip\n", "'import expand.core.clip'"),
        ("from expand.core.space import *\n\nclass Net:\n    x = Clip\n", "'from expand.core.space import \\*'"),
        ("from {layers} import helper\nfrom {inner} import use\n\nclass Net:\n    x = helper, use\n", "'helper' means"),
    ],
)
def test_what_cannot_go_along_is_named(write, body, message):
    module = write(
        family=body,
        layers="def helper():\n    pass\n",
        inner="def helper():\n    pass\n\n\ndef use():\n    return helper()\n",
    )
    with pytest.raises(ExpandError, match=message):
        standalone_source(module.Net)


def test_a_class_inside_a_function_is_refused():
    class Net: ...

    with pytest.raises(ExpandError, match="at the top of its module"):
        standalone_source(Net)


def test_a_star_import_of_torch_stays(write):
    module = write(family="from torch.nn import *\n\n\nclass Net(Module):\n    layer = Conv3d\n")
    assert "from torch.nn import *" in standalone_source(module.Net)


# --- by hash ---------------------------------------------------------------------------------------------------------


def differing(before, now):
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


@pytest.mark.parametrize(
    ("part", "old", "new", "names"),
    [
        ("family", "ratio])  # never fewer", "ratio]\n    )", set()),
        ("family", '"""Channels after widening."""', "pass", set()),
        ("family", "hidden: int = STEM,", "hidden: int = (STEM),", set()),
        ("family", "UNUSED = json.dumps({{}})", "UNUSED = json.dumps([])", set()),
        ("family", "return space.points", "return None", set()),
        ("family", "math.ceil(ch", "math.floor(ch", {"widen"}),
        ("family", "STEM = 8", "STEM = 9", {"STEM"}),
        ("family", 'RATIOS["wide"] = 2', 'RATIOS["wide"] = 3', {"RATIOS"}),
        ("family", "import torch.nn.functional as F", "import torch.nn.functional as F  # short", set()),
        ("family", "self.act = Swish()", "self.act = nn.ReLU()", {"Net", "Swish", "gate"}),
        ("layers", "channels, channels, 1)", "channels, channels, 3)", {"Mixer"}),
        ("layers", "NEVER = 1", "NEVER = 2", set()),
        ("inner", "return torch.sigmoid(x)", "return torch.tanh(x)", {"gate"}),
        ("inner", "    return x\n", "    return -x\n", set()),
    ],
)  # fmt: skip
def test_a_hash_changes_with_what_the_name_does_and_nothing_else(write, part, old, new, names):
    texts = {"family": FAMILY, "layers": LAYERS, "inner": INNER}
    before = hashed_source(write(**texts).Net)
    assert before and {"Net", "Base", "widen", "STEM", "RATIOS", "Mixer", "Mix", "Swish", "gate"} <= before.keys()
    assert old in texts[part] and not {"UNUSED", "search", "Space", "NEVER", "unused"} & before.keys()
    assert differing(before, hashed_source(write(**texts | {part: texts[part].replace(old, new)}).Net)) == names


def test_what_cannot_be_exported_has_hashes_nevertheless(write):
    """A module taken whole, another package, a class in a function."""
    family = """
import numpy as np
from numpy import pi as half_a_turn
import {layers}

def make():
    class Net({layers}.Base):
        angle = np.sin(half_a_turn)
    return Net
"""
    layers = "from torch import nn\n\nclass Base(nn.Module):\n    pass\n\nclass Other:\n    x = 1\n"
    with pytest.raises(ExpandError):
        standalone_source(write(family=family, layers=layers).make())
    before = hashed_source(write(family=family, layers=layers).make())
    assert before and {"make", "Base", "Other", "half_a_turn"} <= before.keys()
    assert differing(before, hashed_source(write(family=family, layers=layers.replace("x = 1", "x = 2")).make())) == {
        "Other"
    }
    turned = family.replace("pi as half", "e as half")
    assert differing(before, hashed_source(write(family=turned, layers=layers).make())) == {"half_a_turn"}


def test_a_class_without_source_has_none():
    """As in a notebook, or from a C extension."""
    scope = {"__name__": "__nowhere__"}
    exec("class Net: pass", scope)
    assert hashed_source(scope["Net"]) is None and hashed_source(type(ast.parse(""))) is None
