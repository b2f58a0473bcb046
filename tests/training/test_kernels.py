"""Our CPU kernels against torch's operators in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from expand.core.errors import Unavailable
from expand.training.kernels import depthwise, native, planar, pointwise
from expand.training.kernels.replace import speed_up
from search_spaces.x3d import X3D

LAST, FIRST = torch.channels_last_3d, torch.contiguous_format


def compare(plain: nn.Conv3d, fast: nn.Module, shape: tuple[int, ...], layout: torch.memory_format) -> None:
    """Output and gradients of a module and of the float32 module that replaces it."""
    torch.manual_seed(0)
    x = torch.randn(shape).contiguous(memory_format=layout).requires_grad_()
    exact = x.detach().double().requires_grad_()
    out = fast(x)
    gradient = torch.randn_like(out).contiguous(memory_format=layout)
    out.backward(gradient)
    own = [x.grad, *(parameter.grad.clone() for parameter in plain.parameters())]
    plain.zero_grad()
    expected = plain.double()(exact)
    expected.backward(gradient.double())
    for ours, theirs in zip(
        [out, *own], [expected, exact.grad, *(parameter.grad for parameter in plain.parameters())], strict=True
    ):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 2e-6 * theirs.abs().max() * max(1, len(shape))


@pytest.mark.parametrize("layout", [LAST, FIRST])
@pytest.mark.parametrize("channels", [2, 3, 5, 9, 17, 38])
@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [
        ((3, 3, 3), (1, 2, 2), (4, 13, 12)),
        ((3, 3, 3), (1, 1, 1), (1, 6, 15)),
        ((3, 3, 3), (2, 2, 2), (5, 9, 8)),
        ((5, 1, 1), (1, 1, 1), (4, 7, 7)),
        ((3, 5, 7), (2, 1, 3), (4, 5, 3)),
        ((1, 3, 3), (1, 2, 2), (2, 2, 1)),
        ((3, 1, 1), (1, 2, 2), (1, 5, 4)),
    ],
)
def test_channelwise_convolutions(kernel, stride, size, channels, layout):
    padding = tuple(k // 2 for k in kernel)
    plain = nn.Conv3d(channels, channels, kernel, stride=stride, padding=padding, groups=channels, bias=False)
    assert depthwise.fits(plain)
    compare(plain, depthwise.ChannelwiseConv3d(plain), (2, channels, *size), layout)


@pytest.mark.parametrize("layout", [LAST, FIRST])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 1, 3)])
def test_pointwise_convolutions(stride, bias, layout):
    plain = nn.Conv3d(5, 7, 1, stride=stride, bias=bias)
    assert pointwise.fits(plain)
    compare(plain, pointwise.PointwiseConv3d(plain), (2, 5, 4, 5, 7), layout)


@pytest.mark.parametrize("layout", [LAST, FIRST])
@pytest.mark.parametrize("options", [{}, {"stride": (1, 2, 2)}, {"groups": 2}, {"dilation": (1, 2, 1), "bias": False}])
def test_convolutions_of_one_frame(options, layout):
    plain = nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 1, 1), **options)
    assert planar.fits(plain)
    compare(plain, planar.PlanarConv3d(plain), (2, 4, 3, 7, 6), layout)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_work(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        plain = nn.Conv3d(20, 20, 3, stride=(1, 2, 2), padding=1, groups=20, bias=False)
        compare(plain, depthwise.ChannelwiseConv3d(plain), (3, 20, 3, 5, 6), LAST)
    finally:
        torch.set_num_threads(before)


def test_what_fits_no_kernel_stays():
    network = nn.Sequential(
        nn.Conv3d(4, 4, 3, padding=1), nn.Conv3d(4, 4, 3, groups=4, bias=False), nn.Conv3d(4, 4, 1, padding=1),
        nn.Conv3d(4, 4, (1, 3, 3), stride=(2, 1, 1)), nn.Conv3d(4, 4, (1, 3, 3), padding="same"),
    )  # fmt: skip
    speed_up(network)
    assert all(isinstance(module, nn.Conv3d) for module in network)


def test_a_network_trains_the_same_without_a_compiler(monkeypatch):
    """The kernels are used if they can be compiled; without them torch computes the same."""

    def trained() -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = X3D((8, 8, 8, 8), (18, 18, 18, 18), (1, 1, 1, 1), 3)
        speed_up(network)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
        for _ in range(3):
            loss = network(torch.rand(4, 3, 2, 16, 16)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return [parameter.detach() for parameter in network.parameters()]

    ours = trained()
    monkeypatch.setattr(native, "kernels", lambda: None)
    for a, b in zip(ours, trained(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path))
    native.kernels.cache_clear()
    yield tmp_path
    native.kernels.cache_clear()


def test_they_are_compiled_once(empty_cache):
    if native.kernels() is None:
        pytest.skip(native.why_not())
    first = {path: path.stat().st_mtime_ns for path in (empty_cache / "kernels").glob("*.so")}
    native.kernels.cache_clear()
    assert native.kernels() is not None
    assert (
        first == {path: path.stat().st_mtime_ns for path in (empty_cache / "kernels").glob("*.so")} and len(first) == 1
    )


def test_without_a_compiler_it_says_what_is_missing(empty_cache, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(empty_cache))
    assert native.kernels() is None and "no C++ compiler" in native.why_not()


def test_a_compiler_that_fails_is_named(empty_cache, monkeypatch):
    broken = empty_cache / "broken"
    broken.write_text("#!/bin/sh\necho no such standard >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(Unavailable, match="no such standard"):
        native._load()
    assert not list((empty_cache / "kernels").glob("*.so"))


def test_another_compiler_or_source_is_another_file(monkeypatch, tmp_path):
    here = native._fingerprint("c++")
    changed = tmp_path / "kernels.cpp"
    changed.write_text(native.SOURCE.read_text() + "\n")
    assert native._fingerprint("c++") == here != native._fingerprint("clang++")
    monkeypatch.setattr(native, "SOURCE", changed)
    assert native._fingerprint("c++") != here
