"""Pictures of the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

BARS = {
    "reference": ("plain reference, CPU", "tab:gray"),
    "cpu": ("nnunet-genesis, CPU", "tab:blue"),
    "gpu": ("nnunet-genesis, GPU", "tab:green"),
    "floor": ("floor, CPU", "tab:orange"),
}


def draw_pairs(file: Path, times: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Draw bars on a logarithmic axis: one panel per patch size, one group per operation."""
    figure = Figure(figsize=(4.2 * len(times), 4.6), layout="constrained")
    panels = figure.subplots(1, len(times), sharey=True, squeeze=False)[0]
    for panel, (size, operations) in zip(panels, times.items(), strict=True):
        makers = [maker for maker in BARS if maker in next(iter(operations.values()))]
        width = 0.8 / len(makers)
        for number, maker in enumerate(makers):
            label, color = BARS[maker]
            places = [group + (number - (len(makers) - 1) / 2) * width for group in range(len(operations))]
            values = [ms[maker] for ms in operations.values()]
            panel.bar(places, values, width, color=color, label=label)
        for group, ms in enumerate(operations.values()):
            ratio = f"{ms['reference'] / ms['cpu']:.2g}x"
            panel.annotate(ratio, (group, max(ms["reference"], ms["cpu"])), ha="center", va="bottom", fontsize=9)
        panel.set_yscale("log")
        panel.set_title(size if "x" in size else f"{size} x {size} x {size}")
        panel.set_xticks(range(len(operations)), list(operations), rotation=30, ha="right")
        panel.grid(alpha=0.3, axis="y")
    panels[0].set_ylabel("milliseconds per pair, one thread")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(BARS), fontsize="small")
    figure.suptitle("Making restoration pairs (above the bars: reference / ours on the CPU)", fontsize=11)
    figure.savefig(file, dpi=100)


def draw_scaling(file: Path, by_size: Mapping[str, tuple[float, float]], by_batch: Sequence[tuple[int, float]]) -> None:
    """Draw time per pair over voxels, and time per patch over the batch size.

    Args:
        file: Where to write.
        by_size: Per patch size, its voxels and milliseconds.
        by_batch: Batch sizes and milliseconds per patch.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    voxels, times = zip(*by_size.values(), strict=True)
    left.loglog(voxels, times, "o-", label="measured")
    per_voxel = times[-1] / voxels[-1]
    left.loglog(voxels, [per_voxel * count for count in voxels], "--", color="0.5", label="in proportion to voxels")
    for name, (count, ms) in by_size.items():
        left.annotate(f"{name}³", (count, ms), textcoords="offset points", xytext=(2, -13), fontsize=8)
    left.margins(0.12)
    left.set_xlabel("voxels")
    left.set_ylabel("milliseconds per pair")
    left.legend(fontsize="small")
    right.plot(*zip(*by_batch, strict=True), "o-")
    right.set_ylim(0, 1.2 * max(ms for _, ms in by_batch))
    right.set_xlabel("patches in a batch")
    right.set_ylabel("milliseconds per patch")
    for panel in (left, right):
        panel.grid(alpha=0.3)
    figure.savefig(file, dpi=100)


def draw_parts(
    file: Path,
    probe: Mapping[str, Sequence[float]],
    change: Mapping[str, Sequence[float]],
    *,
    alone: str,
    reference: tuple[str, float],
) -> None:
    """Draw what parts of a pretext do to a linear probe and to restoration: a dot per run, a bar at the mean.

    Args:
        file: Where to write.
        probe: Accuracies of the probe per variant.
        change: Relative change of the restoration error against restoration alone, per other variant.
        alone: Name of the variant that the others are compared with.
        reference: Name and accuracy of a line in the first panel.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    percent = {variant: [100 * value for value in values] for variant, values in change.items()}
    for panel, rows in ((left, probe), (right, {alone: [0.0], **percent})):
        for place, values in enumerate(rows.values()):
            spread = [place + 0.06 * (number - (len(values) - 1) / 2) for number in range(len(values))]
            panel.plot(spread, values, "o", color="tab:blue", alpha=0.6, ms=5)
            mean = sum(values) / len(values)
            panel.plot([place - 0.25, place + 0.25], [mean, mean], color="black", linewidth=2)
        panel.set_xticks(range(len(rows)), list(rows))
        panel.grid(alpha=0.3, axis="y")
    left.axhline(0.5, color="0.4", linestyle=":", linewidth=1, label="chance")
    left.axhline(reference[1], color="tab:orange", linestyle="--", linewidth=1, label=reference[0])
    left.legend(fontsize="small")
    left.set_ylabel("balanced accuracy")
    left.set_title("Fresh linear probe of the modality, unseen patients", fontsize=10)
    right.set_ylabel("percent")
    right.set_title(f"Restoration error against {alone} alone", fontsize=10)
    figure.savefig(file, dpi=110)


def draw_changes(file: Path, changes: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw how far the parts of a network moved in training.

    Args:
        file: Where to write.
        changes: Per initialisation and part, in the order of the parts, the relative changes of all trainings.
    """
    percent = {
        name: {part: [100 * value for value in values] for part, values in parts.items()}
        for name, parts in changes.items()
    }
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    panel = _draw_trainings(figure, percent, "How far convolutions moved in fine-tuning")
    panel.set_yscale("log")
    panel.set_yticks([1, 2, 5, 10, 20, 50, 100], labels=["1", "2", "5", "10", "20", "50", "100"])
    panel.minorticks_off()
    panel.set_ylabel("percent of the norm at the beginning")
    figure.savefig(file, dpi=110)


def draw_stage_use(file: Path, dice: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw the Dice of trained networks, whole and with single stages of the encoder silenced.

    Args:
        file: Where to write.
        dice: Per initialisation and part, the Dice of all trainings.
    """
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    panel = _draw_trainings(figure, dice, "Trained networks without a stage of the encoder")
    panel.set_ylim(0, 1)
    panel.set_ylabel("mean Dice")
    figure.savefig(file, dpi=110)


def draw_probes(file: Path, dice: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw what probes of frozen encoders reach: a group of bars per view, a bar per encoder.

    Args:
        file: Where to write.
        dice: Per view and encoder, the Dice of all encoders of that name; bars are means, dots single ones.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    panel = figure.subplots()
    names = list(next(iter(dice.values())))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = [group + (number - (len(names) - 1) / 2) * width for group in range(len(dice))]
        means = [sum(by_encoder[name]) / len(by_encoder[name]) for by_encoder in dice.values()]
        panel.bar(places, means, width, color="0.7" if number == 0 else f"C{number}", label=name)
        for place, by_encoder in zip(places, dice.values(), strict=True):
            panel.plot([place] * len(by_encoder[name]), by_encoder[name], "k.", ms=3)
    panel.set_xticks(range(len(dice)), [view.replace(", ", "\n") for view in dice])
    panel.set_ylim(0, 1)
    panel.set_ylabel("mean Dice")
    panel.set_title("Logistic regression per voxel on frozen encoders", fontsize=10)
    panel.grid(alpha=0.3, axis="y")
    panel.legend(fontsize="small")
    figure.savefig(file, dpi=110)


def draw_folds(file: Path, pooled: Mapping[str, Sequence[Mapping[str, tuple[float, float]]]]) -> None:
    """Draw every patient's Dice from scratch and pretrained, joined by a line: panels per comparison, colours per fold.

    Args:
        file: Where to write.
        pooled: Per comparison, the Dice of scratch and of the pretrained network for every patient of every fold.
    """
    figure = Figure(figsize=(4.2 * len(pooled), 4), layout="constrained")
    panels = figure.subplots(1, len(pooled), sharey=True, squeeze=False)[0]
    for panel, (name, folds) in zip(panels, pooled.items(), strict=True):
        for number, fold in enumerate(folds):
            for place, dice in enumerate(fold.values()):
                label = f"test set {number + 1}" if place == 0 else None
                panel.plot([0, 1], dice, "o-", color=f"C{number}", alpha=0.7, ms=4, label=label)
        values = [dice for fold in folds for dice in fold.values()]
        means = [sum(side) / len(values) for side in zip(*values, strict=True)]
        panel.plot([0, 1], means, "k_-", ms=16, linewidth=2, label=f"mean: {means[0]:.3f} to {means[1]:.3f}")
        panel.set_xticks([0, 1], ["scratch", "pretrained"])
        panel.set_xlim(-0.2, 1.2)
        panel.set_ylim(0, 1)
        panel.set_title(name, fontsize=10)
        panel.grid(alpha=0.3, axis="y")
        panel.legend(fontsize="small", loc="lower right")
    panels[0].set_ylabel("Dice")
    figure.savefig(file, dpi=110)


def _draw_trainings(figure: Figure, values: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Axes:
    """A dot per training, a line through the means, a colour per initialisation."""
    panel = figure.subplots()
    for number, (name, parts) in enumerate(values.items()):
        places = [place + 0.06 * (number - (len(values) - 1) / 2) for place in range(len(parts))]
        color = f"C{number}"
        for place, dots in zip(places, parts.values(), strict=True):
            panel.plot([place] * len(dots), dots, "o", color=color, alpha=0.4, ms=4)
        means = [sum(dots) / len(dots) for dots in parts.values()]
        panel.plot(places, means, "-", color=color, label=f"{name} ({len(next(iter(parts.values())))} trainings)")
    panel.set_xticks(range(len(parts)), list(parts), rotation=20)
    panel.set_title(title, fontsize=10)
    panel.grid(alpha=0.3, axis="y")
    panel.legend(fontsize="small")
    return panel
