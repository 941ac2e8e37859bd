"""Draw the validation curves of several pretraining runs into one picture.

    python -m benchmarks.plot_runs OUT.png LABEL=OUTPUT_FOLDER [LABEL=OUTPUT_FOLDER ...]

Every folder is an output folder of genesis-pretrain-nnunet; the baselines are those of the first run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from nnunet_genesis import checkpoint


def main() -> None:
    """Read the runs' final checkpoints, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("runs", nargs="+", metavar="LABEL=FOLDER")
    options = parser.parse_args()
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    baselines: dict[str, float] = {}
    for run in options.runs:
        label, _, folder = run.partition("=")
        genesis = checkpoint.read(Path(folder) / checkpoint.FINAL_NAME)["genesis"]
        baselines = baselines or genesis["baselines"]
        history = genesis["history"]
        axes.plot(
            [entry["step"] for entry in history], [entry["val_loss"] for entry in history], marker="o", label=label
        )
    styles = {"identity": (":", "input returned"), "blurred": ("--", "best blur"), "constant": ("-.", "mean")}
    for name, (style, label) in styles.items():
        axes.axhline(
            baselines[name], color="0.4", linestyle=style, linewidth=1, label=f"{label}: {baselines[name]:.3g}"
        )
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("validation error (mean squared, normalised units)")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3, which="both")
    figure.savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
