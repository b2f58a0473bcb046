"""The model card (README.md) of an exported folder, written from its architecture.json, and the index of several exports.
Unknown facts are left out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from expand.core.accuracy import in_percent
from expand.core.units import format_bytes, format_macs

Facts = Mapping[str, Any]

USE = """```python
import sys, torch
sys.path.insert(0, "PATH/OF/THIS/FOLDER")
from load import describe, load, prepare

network, about = load(), describe()  # in eval mode, on the CPU; load(device="cuda") for a GPU
video, fps = torch.zeros(64, 240, 320, 3, dtype=torch.uint8), None  # your video: RGB frames (T, H, W, 3)
probabilities = network(*prepare(video, fps=fps)).softmax(1)  # (1, {outputs})
print({answer})
```

Any decoder of RGB frames works, for example PyAV (`pip install av numpy`):

```python
import av
with av.open("my_video.mp4") as file:
    fps = float(file.streams.video[0].average_rate)
    video = torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)])
```

The folder is also a package: with its parent folder on the path, use `from FOLDER import load`.
{portable}"""

PT2 = """
`model.pt2` holds the same network without source, for any number of clips: `torch.export.load("model.pt2").module()`.
"""
ONNX = """
`model.onnx` is for ONNX runtimes, for any number of clips; its output is `logits`:

```python
session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(None, {i.name: clip.numpy() for i, clip in zip(session.get_inputs(), prepare(video, fps=fps))})
```
"""


def card(about: Facts) -> str:
    """The model card. `about` is architecture.json; it always has `network`, `clip`, `outputs` and `files`."""
    parts = [f"# {title(about)}", summary(about), "## Use\n\n" + use(about)]
    sections = (
        ("The clip it reads", _clip), ("What it is", _architecture), ("How it was found", _found),
        ("How it was trained", _training), ("How accurate it is", _accuracy), ("What it costs", _cost),
        ("Limits", _limits), ("The training videos' licence", _licence), ("Files", _files),
    )  # fmt: skip
    for name, lines in sections:
        if text := "\n".join(lines(about)):
            parts.append(f"## {name}\n\n{text}")
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def title(about: Facts) -> str:
    clips = " and ".join(f"{c['frames']} frames of {c['height']} x {c['width']} pixels" for c in about["clip"])
    return f"{about['network']['class']} on {clips}"


def summary(about: Facts) -> str:
    facts, found = [], about.get("found", {})
    if found.get("name"):
        facts.append(found["name"])
    if cost := about.get("cost"):
        facts.append(f"{format_macs(cost['macs'])} multiply-adds per clip")
    accuracy = about.get("accuracy", {})
    # The test accuracy first: the network was chosen by its validation accuracy, which is therefore too high.
    for split in ("test", "validation"):
        if (top1 := accuracy.get(f"{split}_top1")) is not None:
            facts.append(f"{in_percent(top1, accuracy.get(f'{split}_standard_error'))} on {split}")
    where = (
        f"trial {about['trial']} of {about['study']} ({about['scale']} scale), data {about['data']}"
        if "trial" in about
        else ""
    )
    lines = ["A video network as plain PyTorch: this folder needs only torch, and can be moved."]
    return "\n\n".join([*lines, ", ".join(facts) + ("; " if facts and where else "") + where]).strip()


def use(about: Facts) -> str:
    answer = 'about["classes"][int(probabilities.argmax())]' if about.get("classes") else "int(probabilities.argmax())"
    portable = [text for file, text in (("model.pt2", PT2), ("model.onnx", ONNX)) if file in about["files"]]
    return USE.format(outputs=about["outputs"], answer=answer, portable="".join(portable))


def _clip(about: Facts) -> Iterator[str]:
    scale, zoom = about.get("normalisation"), about.get("resize", {}).get("short_side_over_crop", 1.0)
    rate = f" (the training videos have {about['fps']:g} frames per second)" if about.get("fps") else ""
    normalised = f", then (value - {scale['mean']}) / {scale['std']}" if scale else ""
    for c in about["clip"]:
        side = f"the short side resized to {round(zoom * min(c['height'], c['width']))} pixels, " if zoom != 1 else ""
        yield (
            f"- float (B, {c['channels']}, {c['frames']}, {c['height']}, {c['width']}): {c['frames']} frames, one in every "
            f"{c['stride']} of the video{rate}, {side}the centre of {c['height']} x {c['width']} pixels, values from 0 to 1"
            + normalised
        )
    yield "\n`prepare` does all of this, and resamples the video to that frame rate if you pass the video's own (`fps`). The"
    yield "score of a video is the mean of the probabilities over several views: `prepare(video, fps=fps, view=0, views=2)` etc."
    if about.get("classes"):
        yield f"\nClasses, in the order of the outputs: {', '.join(map(str, about['classes']))}."


def _architecture(about: Facts) -> Iterator[str]:
    axes = about.get("found", {}).get("axes")
    if axes:
        yield f"Family {about['architecture']['family']}, built by `build_network()` in network.py, which lists its stages:\n"
        yield "| value | | |\n|---|---|---|"
        yield from (f"| {axis['name']} | {axis['value']} | {axis['unit']} |" for axis in axes)


def _found(about: Facts) -> Iterator[str]:
    found = about.get("found")
    if not found:
        return
    among = f"{found['networks_trained']} completely trained networks"
    if found.get("lineage"):
        yield from _lineage(found)
        return
    place = "on" if found["on_front"] else "not on"
    yield f"By {found['strategy']}, among {among}; it is {place} their accuracy-cost front."
    if found["path"]:
        yield "\n| step | trial | grown along | change | multiply-adds | validation top-1 |\n|---|---|---|---|---|---|"
        for row in found["path"]:
            grown = f"{'contracted: ' if row['kind'] == 'contract' else ''}{' = '.join(row['axes']) or row['kind']}"
            score = in_percent(row["top1"], row["noise"]) if row["top1"] is not None else "-"
            yield f"| {row['step']} | {row['trial']} | {grown} | {row['change']} | {format_macs(row['macs'])} | {score} |"


def _lineage(found: Facts) -> Iterator[str]:
    """The networks whose weights it goes back to."""
    rows, start = found["lineage"], found["before_training"]
    yield f"Grown with `expand grow` from the weights of trial {rows[-2]['trial']}, not trained from scratch: its accuracy is not"
    yield f"comparable with theirs. {sum(row['epochs'] for row in rows)} epochs in all, each with the network of its time.\n"
    yield "| trial | change | epochs | validation top-1 |\n|---|---|---:|---:|"
    for row in rows:
        score = in_percent(row["top1"]) if row["top1"] is not None else "-"
        yield f"| {row['trial']} | {row['change']} | {row['epochs']} | {score} |"
    if start:
        why = (
            f"; it did not compute what its parent did: {', '.join(start['differences'])}"
            if start["differences"]
            else ""
        )
        yield f"\nBefore any training of its own: {in_percent(start['top1'])} on validation, one centre clip{why}."


def _training(about: Facts) -> Iterator[str]:
    made, videos = about.get("training"), about.get("videos")
    if not made or not videos:
        return
    repeated = f" (at least {made['updates']:,} steps)" if made.get("updates") else ""
    by = "AdamW" if made.get("optimiser") == "adamw" else f"SGD, momentum {made['momentum']:g}"
    threads = f" (threads: {made['threads']})" if made.get("threads") else ""
    line = about.get("found", {}).get("lineage")
    start = f"from the weights of trial {line[-2]['trial']}" if line else "from scratch"
    yield (
        f"- {start}, {made['epochs']} epochs{repeated}, seed {made['seed']}, "
        f"{made['seconds']:g} s on {made['device'] or 'a CPU'}{threads}"
    )
    if made["device"] == "cuda":
        yield "- training again with this seed on such a GPU may give weights that differ in the last digits"
    yield (
        f"- {by}, batches of {made['batch_size']}, learning rate {made['learning_rate']:g} "
        f"({made['schedule']}, {made['warmup_epochs']:g} epochs of warm-up), weight decay {made['weight_decay']:g}, dropout "
        f"{made['dropout']:g}, label smoothing {made['label_smoothing']:g}"
    )
    if searched := made.get("searched"):
        yield f"- found together with the network: {', '.join(f'{name} {value}' for name, value in searched.items())}"
    small, large = made["scale_jitter"]
    yield (
        f"- random crops from frames whose short side is {small:.3g} to {large:.3g} times the crop"
        + (", random flips" if made["flip"] else "") + (", random start frames" if made["temporal_jitter"] else "")
    )  # fmt: skip
    yield (
        f"- data: {videos['name']}, {videos['train']} training videos, {videos['val']} validation videos; short side at most "
        f"{videos['cache_side']} pixels; fingerprint {videos['fingerprint']}"
    )
    if known := [
        f"{name} {about['environment'][name]}" for name in ("python", "torch") if name in about["environment"]
    ]:
        yield f"- {', '.join(known)}"


def _accuracy(about: Facts) -> Iterator[str]:
    a, found = about.get("accuracy", {}), about.get("found", {})
    if a.get("test_top1") is not None:
        count = a.get("test_videos", a.get("test_clips"))
        views = f", {a['test_views']} views" if "test_views" in a else ""
        yield f"- test top-1 {in_percent(a['test_top1'], a.get('test_standard_error'))} on {count} videos{views}"
    elif a.get("validation_top1") is not None:
        yield "- test: not measured"
    if a.get("validation_top1") is not None:
        views = "one centre clip" if a["views"] == 1 else f"mean softmax of {a['views']} centre clips"
        yield (
            f"- validation top-1 {in_percent(a['validation_top1'], a['validation_standard_error'])} on {a['validation_clips']} "
            f"videos, {views} (± is the binomial standard error). Networks were chosen by it, so it is too high."
        )
    if found.get("top1_spread") is not None:
        yield (
            f"- over seeds {', '.join(map(str, found['seeds']))}: {in_percent(found['top1_mean'], found['top1_spread'])} "
            "(± is the standard deviation); this network is one of these seeds"
        )
    yield from (f"- {name}: {a[name]}" for name in a if "validation_top1" not in a)


def _cost(about: Facts) -> Iterator[str]:
    c, memory = about.get("cost"), about.get("memory", {})
    if not c:
        return
    views = about.get("accuracy", {}).get("views", 1)
    rows = {
        "multiply-adds": f"{c['macs']:,} per clip ({c.get('convention', '')})",
        "per video": f"{format_macs(c['macs'] * views)} multiply-adds with the {views} views of validation, "
        f"{format_macs(c['macs'] * 30)} with 10 clips x 3 crops, as in papers",
        "operations": f"{2 * c['macs']:,} per clip; a multiply-add counts as two",
        "fvcore's total": f"{c['fvcore_flops']:,} with norms" if c.get("fvcore_flops") else "",
        "parameters": f"{c['params']:,}; {c['params_published']:,} without biases and norms" if "params" in c else "",
        "activations": f"{c['activations']:,} outputs of convolutions and linear layers" if "activations" in c else "",
        "weights": format_bytes(memory["weight_bytes"]) if memory.get("weight_bytes") else "",
        "training memory": f"{format_bytes(memory['training_bytes'])} per clip" if memory.get("training_bytes") else "",
        "latency": f"{about['speed']['ms']:.3g} ms per clip, measured on the machine that trained it"
        if "speed" in about
        else "",
    }
    yield from (f"- {name}: {value}" for name, value in rows.items() if value)


def _limits(about: Facts) -> Iterator[str]:
    videos, made, accuracy = about.get("videos"), about.get("training"), about.get("accuracy", {})
    if not videos or not made:
        return
    if about["scale"] == "demo":
        yield f"- A demo: {made['epochs']} epochs on {videos['train']} videos. It demonstrates the search and is not for use."
    yield f"- It knows {about['outputs']} classes and answers with one of them for any video."
    yield f"- It was scored on videos of {videos['name']} only: other cameras, places and people are untested."
    if accuracy.get("test_top1") is None:
        yield "- It was not tested on the test split; expect less than the validation accuracy there."
    if len(about["found"]["seeds"]) == 1:
        yield "- One seed: it is unknown how much another training of the same network would differ."
    yield "- Multiply-adds predict speed only roughly: measure on your own machine."


def _licence(about: Facts) -> Iterator[str]:
    videos = about.get("videos")
    if videos and videos["rendered"]:
        yield "The videos were rendered by this program: no third party's videos and no real persons."
    elif videos:
        yield f"This program does not know the licence of {videos['name']}. Find out yourself whether you may pass on weights"
        yield "that were trained on these videos, and whether the persons in them agreed."


def _files(about: Facts) -> Iterator[str]:
    texts = {
        "network.py": "the network's source, with its arguments at the end", "load.py": "`load`, `describe`, `prepare`",
        "predict.py": "`python predict.py clip.mp4` prints the most probable classes (needs PyAV)",
        "__init__.py": "makes the folder a package", "model.safetensors": "the weights", "README.md": "this text",
        "architecture.json": "the same facts for programs, including the classes",
        "model.pt2": "torch.export", "model.onnx": "ONNX",
    }  # fmt: skip
    yield from (f"- {file}: {texts[file]}" for file in about["files"])


# --- several networks ------------------------------------------------------------------------------------------------


def front_card(run: str, rows: Sequence[Facts], seeds: int) -> str:
    """The README of a folder with all networks of a front; rows as in `front_csv`."""
    table = [
        f"| [{row['folder']}]({row['folder']}/README.md) | {format_macs(row['macs'])} | {row['params']:,} | "
        f"{in_percent(row['validation_top1'], row['validation_standard_error'])} | {row['network']} |"
        for row in rows
    ]
    return "\n".join([
        f"# The front of {run}", "",
        f"The {len(rows)} networks on the accuracy-cost front of the run, cheapest first. Each folder "
        "needs only torch; its README says how to use it.", "",
        "| folder | multiply-adds per clip | parameters | validation top-1 | network |", "|---|---:|---:|---|---|", *table, "",
        "± is the binomial standard error of the validation split, which chose the networks. front.csv holds the same."
        + (f" Each folder has the best of {seeds} seeds, so these accuracies are too high." if seeds > 1 else ""), "",
    ])  # fmt: skip


def front_csv(rows: Sequence[Facts]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
