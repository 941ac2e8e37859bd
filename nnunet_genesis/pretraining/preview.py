"""``genesis preview``: what pretraining would do to the user's own scans, before a week of GPU time is spent on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from nnunet_genesis.folders import refuse_used_folder
from nnunet_genesis.pretraining.background import describe_background
from nnunet_genesis.pretraining.case_samples import sample_intensities
from nnunet_genesis.pretraining.data import PatchDataset
from nnunet_genesis.pretraining.pretexts import build_pretext, prepare_pretext
from nnunet_genesis.pretraining.preview_figures import PreviewRow, draw_preview
from nnunet_genesis.pretraining.processes import preprocessing_workers
from nnunet_genesis.pretraining.seeds import Stream, numpy_generator, torch_generator
from nnunet_genesis.pretraining.single_channel import join_channels, learned_plans, learned_range, with_channels_drawn
from nnunet_genesis.pretraining.source_folders import find_source_folders
from nnunet_genesis.pretraining.sources import open_sources

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.data import Patch
    from nnunet_genesis.pretraining.intensities import IntensityRange
    from nnunet_genesis.pretraining.pretexts.base import Pretext


def preview(planned: PlannedConfiguration, config: PretrainingConfig, output: Path, *, count: int) -> list[Path]:
    """Draw every distortion alone and all of them together, on the first patches that pretraining would see.

    Args:
        planned: The dataset's plans.
        config: What pretraining would run with.
        output: New folder for the pictures.
        count: Number of patches.

    Returns:
        The pictures.

    Raises:
        GenesisError: If the folder is in use, or the dataset cannot be pretrained on.
    """
    refuse_used_folder(output, "the preview")
    folders, workers = find_source_folders(planned, config), preprocessing_workers()
    sources = open_sources(planned, config, folders, workers=workers, show_progress=True)
    samples = sample_intensities(sources, numpy_generator(config.seed, Stream.INTENSITIES), workers=workers)
    intensities = learned_range(planned, config, samples)
    if config.single_channel:
        planned, samples = learned_plans(planned, config), join_channels(samples)
    # What a pretext prepares is kept where pretraining will look for it.
    kept = planned.pretraining_folder(config.pretext, config.exclude_fold)
    prepared = prepare_pretext(config, planned, sources, folders=folders, folder=kept, workers=workers)
    pretext = build_pretext(config, planned, intensities, prepared)
    dataset = pretext.training_patches(sources, config)
    drawn = with_channels_drawn(dataset, config)
    patches = [drawn[number] for number in range(count)]
    _write_summary(planned, pretext, intensities, patches, torch.cat([torch.from_numpy(s) for s in samples], dim=1))
    for source in sources:
        sys.stdout.write(f"{source.describe()}\n")
    if isinstance(dataset, PatchDataset):
        sys.stdout.write(f"{describe_background(dataset)}\n")
    output.mkdir(parents=True, exist_ok=True)
    pictures = {"all together": pretext, **pretext.separate()}
    files = []
    for name, one in tqdm(pictures.items(), desc="drawing", unit="picture"):
        file = output / f"{name.replace(' ', '_')}.png"
        title = f"{name}: {config.pretext}, {planned.dataset_name}, {planned.configuration}"
        draw_preview(file, _make_rows(one, patches, config.seed, planned.channel_names), planned.spacing, title)
        files.append(file)
    return files


def _make_rows(
    pretext: Pretext[Any],
    patches: list[Patch],
    seed: int,
    channel_names: tuple[str, ...],
) -> list[PreviewRow]:
    """Make a pair of every patch; of the first patch all channels are shown, of the others the first one."""
    parameters = pretext.sample(len(patches), torch_generator(seed, Stream.TRAIN_DISTORTIONS))
    rows = []
    for number, (patch, inside, _) in enumerate(patches):
        pairs = pretext.make_pairs(patch[None], inside[None], parameters.select(slice(number, number + 1)))
        explanation = pretext.explain(parameters, number)
        # Beside the mirrored target one sees the distortion; mirroring alone is seen beside the patch itself.
        only_mirrored = torch.equal(pairs.distorted, pairs.target)
        before = patch if only_mirrored else pairs.target[0]
        channels = range(len(channel_names) if number == 0 else 1)
        rows += [
            PreviewRow(f"patch {number}, {channel_names[c]}", explanation, before[c], pairs.distorted[0, c])
            for c in channels
        ]
    return rows


def _write_summary(
    planned: PlannedConfiguration,
    pretext: Pretext[Any],
    intensities: IntensityRange,
    patches: list[Patch],
    voxels: torch.Tensor,
) -> None:
    write = sys.stdout.write
    in_mm = " x ".join(f"{n * mm:.0f}" for n, mm in zip(pretext.patch_size, planned.spacing, strict=True))
    write(f"{planned.dataset_name}, {planned.plans_name}, {planned.configuration}\n")
    write(f"patch: {' x '.join(map(str, pretext.patch_size))} voxels, {in_mm} mm\n")
    padding = 1 - sum(float((box[:, 1] - box[:, 0]).prod()) for _, box, _ in patches) / (
        len(patches) * float(torch.tensor(pretext.patch_size).prod())
    )
    write(f"padding: {100 * padding:.0f} % of these patches\n")
    for line in pretext.summary(planned.spacing):
        write(f"{line}\n")
    for name, values, low, high in zip(planned.channel_names, voxels, intensities.low, intensities.high, strict=True):
        outside = 100 * float(((values < low) | (values > high)).float().mean())
        write(f"channel {name}: u = 0 at {low:.3g}, u = 1 at {high:.3g}, {outside:.1f} % of the voxels beyond\n")
