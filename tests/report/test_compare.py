"""Runs compared: intervals worked out by hand, false alarms and power simulated, and what people get to read."""

from __future__ import annotations

import io
import json
import math
import xml.etree.ElementTree
from dataclasses import replace
from itertools import count
from statistics import stdev

import numpy
import pandas
import pytest
from conftest import STUDIES
from rich.console import Console
from scipy.stats import ttest_rel

from expand.cli.compare_runs import compare
from expand.core.attempt import Epoch
from expand.core.errors import UsageError
from expand.core.space import Architecture
from expand.core.study import Data, Recipe
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.report import noise as seeds_noise
from expand.report.candidates import RunFacts, candidates
from expand.report.compare.files import write_fronts
from expand.report.compare.fronts import compare_fronts, find_bins, network_differences, share_at
from expand.report.compare.intervals import (
    Difference,
    Noise,
    clip_half_width,
    clip_noise,
    seed_noise,
    share,
    shared_seeds,
)
from expand.report.compare.runs import Run, check_alike, split_name
from expand.report.compare.tables import print_sections, sections
from expand.report.drawing import picture_names
from expand.report.hypervolume import Box
from expand.report.significance import scored_networks
from expand.storage.facts import Facts, StudyFacts, VideoCounts, VideoFacts

CLIPS = 160
DATA = VideoFacts("clips", "f" * 64, ("a", "b"), VideoCounts(100, CLIPS, 9))
RULES = Facts(study=StudyFacts("x", (), (0,), data=Data(cache_side=64)), data=DATA)


def made(name, networks, seeds=(0, 1, 2), *, clips=CLIPS, facts=None, complete=True):
    """A run of networks {name: (macs, scores)}, one epoch each, told in this order."""
    numbers = count()
    trials = tuple(
        Trial(
            number := next(numbers),
            TrialState.COMPLETE,
            Suggestion(Architecture("c3d", (("variant", label),)), 1, seed, kind="grid", name=label),
            Cost(macs, macs // 10, macs // 10, macs, ((3, 4, 8, 8),)),
            Metrics(top1, 1.0, 1.0, clips, 1),
            (Epoch(1, 1.0, 0.5),),
            ended=f"{number:04d}",
        )
        for label, (macs, scores) in networks.items()
        for seed, top1 in zip(seeds, scores, strict=True)
    )
    about = RunFacts(name, "demo", "clips", 1, 1, clips, tuple(seeds), complete=complete)
    found, left = scored_networks(candidates(trials, seeds), trials, seeds)
    return Run(name, facts or RULES, about, tuple(found), len(left), trials)


# --- intervals -------------------------------------------------------------------------------------------------------


def test_two_networks_alone_are_compared_as_by_a_paired_t_test():
    one, two = (0.80, 0.83, 0.84), (0.70, 0.76, 0.71)
    ((noise, width),) = seed_noise([one], [two], [(0, 0)], paired=True, error=0.05)
    by_scipy = ttest_rel(one, two)
    assert noise.freedom == 2 and noise.standard_error == pytest.approx(0.1 / by_scipy.statistic)
    low, high = by_scipy.confidence_interval(0.95)
    assert width == pytest.approx((high - low) / 2)


def test_a_table_shares_its_5_percent():
    noise = clip_noise(0.5, 0.6, (160, 160))
    assert clip_half_width(noise, share(1, 1)) == pytest.approx(1.96 * noise.standard_error, rel=1e-3)
    assert clip_half_width(noise, share(1, 2)) == pytest.approx(2.236 * noise.standard_error, rel=1e-3)
    assert 1 - (1 - share(2, 6)) * (1 - share(4, 6)) == pytest.approx(0.05)


def test_the_noise_of_a_pair_is_at_least_the_mean_variance_over_all_pairs():
    first, second = [(0.50, 0.56, 0.52), (0.60, 0.61, 0.68)], [(0.40, 0.49, 0.43), (0.71, 0.70, 0.75), (0.8, 0.9, 0.7)]
    each = [[stdev([a - b for a, b in zip(one, two, strict=True)]) ** 2 for two in second] for one in first]
    mean = sum(map(sum, each)) / 6
    pairs = [(0, 0), (1, 2)]
    found = seed_noise(first, second, pairs, paired=True, error=0.05)
    expected = [math.sqrt(max(each[a][b], mean) / 3) for a, b in pairs]
    assert [noise.standard_error for noise, _ in found] == pytest.approx(expected) and each[0][0] < mean < each[1][2]
    shifted = [tuple(score + shift for score, shift in zip(row, (0.1, -0.1, 0), strict=True)) for row in first + second]
    moved = seed_noise(shifted[:2], shifted[2:], pairs, paired=True, error=0.05)
    assert [width for _, width in moved] == pytest.approx([width for _, width in found])  # good for all is no noise


def test_which_seeds_count():
    assert shared_seeds((0, 1, 2), (2, 1, 5)) == ("paired", (1, 2), (1, 2))
    assert shared_seeds((0, 1, 2), (2, 3)) == ("unpaired", (0, 1, 2), (2, 3))
    assert shared_seeds((0, 1, 2), (2,))[0] == "clips"
    ((noise, _),) = seed_noise([(0.5, 0.6)], [(0.5, 0.6, 0.7)], [(0, 0)], paired=False, error=0.05)
    assert noise.standard_error == pytest.approx(math.sqrt(0.0025 + 0.01 / 3))  # variances 0.005 / 2 and 0.01 / 3
    assert noise.freedom == pytest.approx((0.0025 + 0.01 / 3) ** 2 / (0.0025**2 + (0.01 / 3) ** 2 / 2))


def test_what_shows_no_noise_is_not_called_different():
    ((noise, width),) = seed_noise([(0.5, 0.6, 0.7)], [(0.4, 0.5, 0.6)], [(0, 0)], paired=True, error=0.05)
    difference = Difference(0.6, 0.5, noise, width)
    assert noise.standard_error is None and difference.verdict == "noise unknown" and difference.interval is None
    assert clip_noise(1.0, 1.0, (50, 50)).standard_error > 0  # always right on 50 clips is no proof of being so


@pytest.mark.parametrize("gap", [0.0, 0.059, 0.061, -0.061, 0.5])
def test_indistinguishable_means_that_intervals_overlap_and_that_of_the_difference_contains_0(gap):
    difference = Difference(0.5 + gap, 0.5, Noise("paired", 0.02, 4), 0.06, split_error=0.04)
    low, high = difference.interval
    own = difference.own_half_width
    overlap = max(difference.first, 0.5) - own <= min(difference.first, 0.5) + own
    assert difference.indistinguishable == (low <= 0 <= high) == overlap == (abs(gap) < 0.06)
    bracketed = "beyond seed noise, within the split's"
    assert difference.verdict == ("indistinguishable" if overlap else "beyond noise" if gap == 0.5 else bracketed)


def trained(random, accuracies, spreads, seeds, hardness, seed_effects):
    """Shares of right answers, (networks, seeds): every training has its own luck, clips are as hard for all."""
    own = accuracies[:, None] + seed_effects + spreads[:, None] * random.standard_normal((len(accuracies), seeds))
    own = numpy.clip(own, 0.02, 0.98)
    logits = numpy.log(own / (1 - own)) * 1.16  # about what the spread of hardness takes off
    right = 1 / (1 + numpy.exp(-(logits[:, :, None] + hardness)))
    return (random.random(right.shape) < right).mean(2)


def alarms(pairs, seeds, *, spreads=(0.02,) * 4, better=0.0, shared=True, seed_noise_of=0.02, late=0.0):
    """How many of so many simulated pairs of runs, a network in each of four bins, show any difference beyond noise. Of both
    runs' trainings a share `late` stays at 20 %."""
    random, found = numpy.random.default_rng(7), 0
    for _ in range(pairs):
        hardness, effects = random.normal(0, 1, CLIPS), random.normal(0, seed_noise_of, seeds)
        rows = [
            trained(random, LADDER + plus, numpy.array(spreads), seeds, hardness, effects) for plus in (better, 0.0)
        ]
        rows = [numpy.where(random.random(row.shape) < late, 0.2, row) for row in rows]
        widths = seed_noise(*(row.tolist() for row in rows), [(n, n) for n in range(4)], paired=shared, error=0.05)
        gaps = (rows[0].mean(1) - rows[1].mean(1)).tolist()
        found += any(
            Difference(gap, 0.0, *of).verdict != "indistinguishable" for gap, of in zip(gaps, widths, strict=True)
        )
    return found


LADDER = numpy.array([0.40, 0.60, 0.75, 0.85])
UNEQUAL = (0.011, 0.148, 0.02, 0.07)  # as in README's tables


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(seeds_noise, "MOST_DRAWS", 1000)


def test_equal_runs_seldom_look_different(few_draws):
    assert alarms(200, 3, spreads=UNEQUAL) <= 14


@pytest.mark.heavy
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("case", [{}, {"spreads": UNEQUAL}, {"late": 0.1}, {"late": 1 / 3}], ids=str)
@pytest.mark.parametrize("shared", [True, False])
def test_false_alarms_of_equal_runs(few_draws, seeds, case, shared):
    found = alarms(1000, seeds, **case, shared=shared, seed_noise_of=0.02 * shared)
    print(seeds, case, shared, found)
    assert found <= 70


def test_ten_points_are_found_with_three_seeds(few_draws):
    assert alarms(100, 3, better=0.1) > 75


@pytest.mark.heavy
@pytest.mark.parametrize("offered", [3, 5])
def test_the_best_of_several_candidates(few_draws, offered):
    """Of several in each bin the best counts: its luck is in both runs alike where both offer several, and flatters the run that
    offers more."""
    random, equal, more = numpy.random.default_rng(1), 0, 0
    for _ in range(500):
        rows = random.normal(0.7, 0.03, (2, 2, offered, 3))  # runs, bins, networks, seeds
        best = rows.mean(3).argmax(2)
        for counts in ((offered, offered), (offered, 1)):
            own = [rows[run, :, :count].reshape(-1, 3) for run, count in enumerate(counts)]
            picked = [best[run] if number > 1 else (0, 0) for run, number in enumerate(counts)]
            places = [
                tuple(n * number + int(own[n]) for own, number in zip(picked, counts, strict=True)) for n in (0, 1)
            ]
            widths = seed_noise(own[0].tolist(), own[1].tolist(), places, paired=True, error=0.05)
            gaps = [abs(own[0][a].mean() - own[1][b].mean()) for a, b in places]
            alarm = any(gap > width for gap, (_, width) in zip(gaps, widths, strict=True))
            equal, more = equal + (alarm and counts[1] > 1), more + (alarm and counts[1] == 1)
    print(offered, equal, more)
    assert equal <= 25 and more <= 40


# --- fronts ----------------------------------------------------------------------------------------------------------

A = made("a", {"a1": (100, (0.30, 0.34, 0.32)), "a2": (200, (0.50, 0.52, 0.57)), "a3": (400, (0.40, 0.40, 0.40))})
B = made("b", {"b1": (105, (0.60, 0.66, 0.63)), "b2": (800, (0.70, 0.72, 0.80))})
LONE = made("lone", {"l1": (100, (0.50,)), "l2": (400, (0.60,))}, seeds=(0,))


def test_a_hypervolume_worked_out_by_hand():
    box = Box(100, 800)  # three doublings
    assert box.share([(100, 0.3), (200, 0.6)]) == pytest.approx((0.3 + 0.6 + 0.6) / 3)
    assert box.share([(200, 0.6), (400, 0.5)]) == pytest.approx(
        0.4
    )  # a third of the box has no network, one is dominated
    assert Box(100, 800, floor=0.1).share([(100, 0.3), (200, 0.05)]) == pytest.approx(0.2)
    assert box.share([]) == 0 and box.share([(900, 1.0)]) == 0


def test_all_runs_are_measured_in_one_box_and_each_seed_has_its_own_front():
    found = compare_fronts([A, B], "gmacs")
    assert (found.box.low, found.box.high, found.box.floor) == (105, 1600, 0.0)  # from where both have a network
    assert [[one.name for one in front.best] for front in found.fronts] == [["a1", "a2"], ["b1", "b2"]]
    first, rest = math.log2(200 / 105), math.log2(1600 / 200)
    assert found.shares[0] == pytest.approx((0.32 * first + 0.53 * rest) / (first + rest))
    assert found.seed_shares[0][0] == pytest.approx((0.30 * first + 0.50 * rest) / (first + rest))
    (versus,) = found.versus
    test = ttest_rel(found.seed_shares[0], found.seed_shares[1])
    assert versus.difference.noise.standard_error == pytest.approx(versus.difference.value / test.statistic)
    assert versus.seeds == (0, 1, 2)
    own = compare_fronts([A, B], "params_m", reference={"params_m": 320e-6, "top1": 0.1})
    assert (own.box.low, own.box.high) == (10, pytest.approx(320))
    assert own.shares[0] == pytest.approx((0.22 + 4 * 0.43) / 5)
    assert Box(200, 800).share([(100, 0.3)]) == pytest.approx(0.3)  # what is cheaper counts from the box's edge on


def test_what_training_bought():
    (moments, others) = (front.growth for front in compare_fronts([A, B], "gmacs").fronts)
    step = 3 * 100 + CLIPS  # clips learned from count three times
    assert [moment.macs for moment in moments[:4]] == [100 * step, 200 * step, 300 * step, 500 * step]
    assert moments[1].volume == 0 and moments[2].volume == pytest.approx(0.32)  # counts once its last seed is trained
    assert share_at(others, 300 * step) == 0 and share_at(others, 315 * step) > 0.4
    assert share_at(moments, 10**9) == moments[-1].volume


def test_bins_hold_networks_of_two_runs_within_the_width():
    (only,) = find_bins([A, B], "gmacs", 0.1)
    assert (only.low, only.high, only.counts) == (100, 105, (1, 1))
    assert [network.label for network in only.best] == ["a1", "b1"]
    difference = only.versus[0].difference
    assert difference.value == pytest.approx(-0.31)
    rows = [[network.scores for network in run.networks] for run in (A, B)]
    assert difference.half_width == seed_noise(*rows, [(0, 0)], paired=True, error=share(1, 1))[0][1]
    assert find_bins([A, B], "gmacs", 0.04) == ()
    wide = find_bins([A, B], "gmacs", 1.0)  # 100 to 200, then 400 to 800: networks of one bin are in no other
    assert [entry.counts for entry in wide] == [(2, 1), (1, 1)] and wide[0].best[0].label == "a2"
    both = seed_noise(*rows, [(1, 0), (2, 1)], paired=True, error=share(2, 2))
    assert [entry.versus[0].difference.half_width for entry in wide] == [width for _, width in both]
    near = made("n", {"n1": (96, (0.1,) * 3), "n2": (100, (0.2,) * 3)}), made("m", {"m1": (109, (0.3,) * 3)})
    (found,) = find_bins(near, "gmacs", 0.1)  # a bin from 96 on would end before m1
    assert (found.low, found.best[0].label) == (100, "n2")


def test_one_seed_leaves_the_clips():
    found = compare_fronts([A, LONE], "gmacs")
    first, second = (entry.versus[0].difference for entry in found.bins)
    guesses = [(0.32 * CLIPS + 1) / (CLIPS + 2), (0.50 * CLIPS + 1) / (CLIPS + 2)]
    error = math.sqrt(sum(guess * (1 - guess) / (CLIPS + 2) for guess in guesses))
    assert first.noise.basis == "clips" and first.noise.standard_error == pytest.approx(error)
    assert first.half_width == pytest.approx(2.236 * error, rel=0.02)  # two bins: 5 % for both together
    assert (
        first.verdict.endswith("the noise of training is unknown") and found.versus[0].difference.noise.basis == "clips"
    )
    assert second.noise.standard_error != first.noise.standard_error
    assert 0.01 < found.versus[0].difference.noise.standard_error < 0.06


def test_two_networks_of_one_run_by_name_have_their_own_noise():
    alone = [replace(A, networks=(A.network(number),)) for number in (3, 0)]
    (difference,) = network_differences(*alone, [(A.network(3), A.network(0))], 1)
    test = ttest_rel(A.network(3).scores, A.network(0).scores)
    low, high = test.confidence_interval(0.95)
    assert difference.noise.freedom == 2 and difference.value == pytest.approx(0.21)
    assert difference.interval == pytest.approx((low, high)) and difference.verdict == "beyond noise"


# --- what people read ------------------------------------------------------------------------------------------------


def printed(found, warnings=()):
    stream = io.StringIO()
    print_sections(Console(file=stream, width=160), sections(found), warnings)
    return stream.getvalue()


def test_what_is_printed_says_what_it_rests_on():
    text = " ".join(printed(compare_fronts([A, B, LONE], "gmacs", width=0.1), ["recipe.epochs 1 / 2"]).split())
    for said in (
        "warning: recipe.epochs 1 / 2",
        "paired over seeds 0, 1, 2",
        "lone trained one seed, so the variance of training is unknown",
        "All 4 intervals of differences hold together in 95 of 100 cases",
        "networks whose intervals overlap are indistinguishable",
        "b: b1",
    ):
        assert said in text, said
    assert "--bins makes the bins wider" in printed(compare_fronts([A, B], "gmacs", width=0.01))


def test_files(tmp_path):
    found = compare_fronts([A, B], "gmacs", width=1.0)
    paths = write_fronts(tmp_path / "to", found, ["of another recipe"])
    assert [path.name for path in paths] == ["compare.md", "compare.csv", "compare.json", *picture_names("fronts")]
    plain = json.loads(paths[2].read_text())
    table = pandas.read_csv(paths[1])
    assert len(table) == len(plain["equal_cost"]) == 2 and list(table["first_network"]) == ["a2", "a3"]
    assert plain["runs"][1]["hypervolume"] == found.shares[1] and plain["reference"]["gmacs"] == pytest.approx(1600e-9)
    assert "**Warning:** of another recipe." in paths[0].read_text()
    assert paths[3].read_bytes()[:4] == b"\x89PNG"
    texts = "".join(xml.etree.ElementTree.fromstring(paths[4].read_text()).itertext())
    assert "training spent (MMACs)" in texts and "hypervolume over training" in texts
    write_fronts(tmp_path / "to", found, [])  # its own files may be written again
    (tmp_path / "to" / "diary.txt").touch()
    with pytest.raises(UsageError, match=r"diary\.txt"):
        write_fronts(tmp_path / "to", found, [])


# --- bad input -------------------------------------------------------------------------------------------------------


def test_runs_of_other_videos_are_refused_and_of_another_recipe_warned_about():
    other = replace(RULES, study=replace(RULES.study, recipe=Recipe(epochs=99)))
    assert check_alike([A, B]) == []
    (warning,) = check_alike([A, made("c", {"c1": (1, (0.1,) * 3)}, facts=other)])
    assert "a and c" in warning and "recipe.epochs 12 / 99" in warning and "views" not in warning
    for field, value, said in (("fingerprint", "e" * 64, "other videos"), ("classes", ("a", "x"), "other classes")):
        strange = made("s", {"s1": (1, (0.1,) * 3)}, facts=replace(RULES, data=replace(DATA, **{field: value})))
        with pytest.raises(UsageError, match=said):
            check_alike([A, strange])
        assert said in check_alike([A, strange], anyway=True)[0]


def test_a_run_or_a_network_by_name(tmp_path):
    assert split_name("runs/a:17") == (tmp_path.__class__("runs/a"), 17)
    (tmp_path / "a:17").mkdir()
    assert split_name(str(tmp_path / "a:17")) == (tmp_path / "a:17", None)
    with pytest.raises(UsageError, match="trials 0 to 8"):
        A.network(9)
    with pytest.raises(UsageError, match="not measured"):
        compare_fronts([A, B], "latency_ms")
    with pytest.raises(UsageError, match="cheapest network"):
        compare_fronts([A, B], "gmacs", reference={"gmacs": 50e-9})


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (["one"], {}, "compared with what"),
        (["one:3"], {}, "another RUN:TRIAL"),
        (["one", "./one"], {}, "given twice"),
        (["one", "nowhere"], {}, "no run of expand here"),
        (["one", "two:1"], {}, "not one with the other"),
        (["one:1", "two:1", "two:2"], {}, "3 networks"),
        (["one", "two"], {"cost": "gmac"}, "did you mean 'gmacs'"),
        (["one", "two"], {"width": 0.0}, "above 0"),
        (["one", "two"], {"reference": ["params_m=2"]}, "gmacs, top1"),
        (["one", "two"], {"reference": ["gmacs=x"]}, "with a number"),
        ([str(n) for n in range(9)], {}, "at most 8"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(arguments, more, said):
    with pytest.raises(UsageError) as caught:
        compare(arguments, Console(file=io.StringIO()), **more)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.heavy
def test_the_command(expand, squares, tmp_path):
    """Two real runs, compared; one of which nothing is complete."""
    quick = ("--data", squares, "--workers", 0, "--set", "strategy.points=depth-1,depth-3")
    for name, more in (("one", ()), ("two", ("--set", "seeds=0")), ("none", ("--set", "recipe.learning_rate=1e30"))):
        expand("run", STUDIES / "tiny_grid.py", *quick, "--out", name, *more)
    done = expand("compare", "one", "two", "--to", "to", "--bins", 0.5)
    assert done.returncode == 0 and "two trained one seed" in done.stdout and (tmp_path / "to/fronts.svg").exists()
    done = expand("compare", "one:0", "one:2", "--json")
    assert [network["label"] for network in json.loads(done.stdout)["networks"]] == ["depth-1", "depth-3"]
    for arguments, said in ((("one", "none"), "nothing to compare"), (("one:0", "one:1"), "the same network")):
        done = expand("compare", *arguments)
        assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
