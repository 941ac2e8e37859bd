"""The README of a pushed checkpoint, made from its provenance. Names of cases never appear in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nnunet_genesis.facts_checks import crop_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAGS = ("nnU-Net", "medical-imaging", "self-supervised-learning", "pretraining")


def model_card(genesis: Mapping[str, Any], address: str) -> str:
    """Text of a model card, with the metadata that the Hub reads.

    Args:
        genesis: The ``genesis`` entry of a checkpoint.
        address: Where the file will be, as users write it: ``hf://user/repo[/file]``.

    Returns:
        Markdown after a YAML block.
    """
    from huggingface_hub import ModelCardData

    method = _text(genesis.get("pretext", "unknown"))
    metadata = ModelCardData(
        library_name="nnunet-genesis",
        tags=[*TAGS, _tag(method), _tag(_text(genesis.get("dataset", "unknown")))],
    )
    sections = [
        f"# {_title(genesis)}",
        "A network of nnU-Net v2 plans, pretrained without labels by nnunet-genesis. It restores distorted patches; it"
        " does not segment anything before it was trained to. It is no medical device.",
        "## How to use it",
        "With nnU-Net v2 and nnunet-genesis installed:",
        "```\n"
        f"export nnUNet_genesis_checkpoint={address}\n"
        "nnUNetv2_train DATASET CONFIGURATION FOLD -tr nnUNetTrainerGenesis\n"
        "```",
        "Or as a plain torch module that returns the feature maps of all stages:",
        f'```python\nimport nnunet_genesis\n\nencoder = nnunet_genesis.load_encoder("{address}")\n```',
        "## What it was trained on",
        _table(("", ""), _facts(genesis)),
        "## How well it restores",
        _validation(genesis),
        "## Cite",
        "\n".join(f"- {_text(citation)}" for citation in genesis.get("citations", [])) or "No citation is recorded.",
        "## Licence",
        "Not stated. It depends on the data that it was trained on; the one who shares the file adds it.",
    ]
    return f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _title(genesis: Mapping[str, Any]) -> str:
    return f"{_text(genesis.get('pretext', 'pretraining'))}: {_text(genesis.get('dataset', 'unknown data'))}"


def _facts(genesis: Mapping[str, Any]) -> list[tuple[str, str]]:
    architecture = genesis.get("architecture") or {}
    kwargs = architecture.get("arch_kwargs") or {}
    epochs, steps = (_text(genesis.get(key, "unknown")) for key in ("epochs", "steps"))
    versions = genesis.get("package_versions") or {}
    crops = crop_size(genesis)
    return [
        ("method", _text(genesis.get("pretext", "unknown"))),
        ("data set", _text(genesis.get("dataset", "unknown"))),
        ("cases learned from", _text(genesis.get("num_cases", "unknown"))),
        ("cases held out for validation", str(len(genesis.get("validation_cases") or ()))),
        ("cases left out", str(len(genesis.get("excluded_cases") or ()))),
        ("channels", _list(genesis.get("channel_names"))),
        ("normalisation", _list(genesis.get("normalization_schemes"))),
        ("plans, configuration", _list([genesis.get("plans", "unknown"), genesis.get("configuration", "unknown")])),
        ("patch size (voxels)", _list(genesis.get("patch_size"), " x ")),
        *([("size of the crops learned from (voxels)", _list(crops, " x "))] if crops else []),
        ("spacing (mm)", _list(genesis.get("spacing"), " x ")),
        ("network", _text(architecture.get("network_class_name", "unknown")).rsplit(".", 1)[-1]),
        ("features per stage", _list(kwargs.get("features_per_stage"))),
        ("epochs, steps", f"{epochs}, {steps}"),
        ("seed", _text(genesis.get("seed", "unknown"))),
        ("package versions", _list([f"{name} {version}" for name, version in versions.items()])),
    ]


def _validation(genesis: Mapping[str, Any]) -> str:
    history: Sequence[Mapping[str, Any]] = [
        entry for entry in genesis.get("history") or [] if entry.get("val_loss") is not None
    ]
    if not history:
        return "The file holds no validation curve."
    rows = [(f"after epoch {int(entry['epoch']) + 1}", _number(entry["val_loss"])) for entry in history[-3:]]
    names = {
        "identity": "no network: the distorted input returned",
        "blurred": "no network: its best blur",
        "constant": "no network: the mean of every channel",
    }
    baselines = genesis.get("baselines") or {}
    rows += [(names[key], _number(baselines[key])) for key in names if key in baselines]
    return (
        "Error on held-out pairs (lower is better), the last validations and what one gets without a network:\n\n"
        + (_table(("", "error"), rows))
    )


def _table(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join([f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _list(values: Any, separator: str = ", ") -> str:
    """Values in a row; plans name one number where it is the same for all stages."""
    entries = values if isinstance(values, (list, tuple)) else [] if values is None else [values]
    return separator.join(map(_text, entries)) or "unknown"


def _number(value: float) -> str:
    return f"{float(value):.4g}"


def _text(value: object) -> str:
    """A value on one line, with nothing that Markdown or HTML would take for a command."""
    return re.sub(r"([\\`*|<>\[\]])", r"\\\1", " ".join(str(value).split()))


def _tag(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text)
