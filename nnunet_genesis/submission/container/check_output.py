"""Check the output of a job against its input: one segmentation of integers on the grid of the first channel."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import SimpleITK as sitk

TOLERANCE = 1e-4


def find_problems(config_file: Path, input_folder: Path, output_folder: Path) -> list[str]:
    """Tell what is wrong with the output; nothing where it is sound."""
    config = json.loads(config_file.read_text())
    results = sorted((output_folder / config["output"]).glob("*"))
    images = sorted((input_folder / config["inputs"][0]).glob("*"))
    if len(results) != 1 or results[0].suffix != ".mha":
        return [f"{output_folder} must hold {config['output']}/NAME.mha, and holds {list(map(str, results))}"]
    result, image = sitk.ReadImage(str(results[0])), sitk.ReadImage(str(images[0]))
    problems = []
    if images[0].name.split(".")[0] != results[0].name.split(".")[0]:
        problems.append(f"it is called {results[0].name}, and the input {images[0].name}")
    if result.GetSize() != image.GetSize():
        problems.append(f"its size is {result.GetSize()}, the input's {image.GetSize()}")
    for name in ("Spacing", "Origin", "Direction"):
        own, wanted = (getattr(volume, f"Get{name}")() for volume in (result, image))
        if any(abs(one - other) > TOLERANCE * max(1.0, abs(other)) for one, other in zip(own, wanted, strict=True)):
            problems.append(f"its {name.lower()} is {own}, the input's {wanted}")
    if "float" in result.GetPixelIDTypeAsString():
        problems.append(f"its voxels are {result.GetPixelIDTypeAsString()}")
    strange = sorted(set(sitk.GetArrayViewFromImage(result).ravel().tolist()) - set(config["labels"]))
    if strange:
        problems.append(f"it holds {strange}, and the dataset has {config['labels']}")
    return problems


def main(words: list[str]) -> int:
    """``check_output.py CONFIG INPUT OUTPUT``; returns the exit status."""
    problems = find_problems(*(Path(word) for word in words))
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    if not problems:
        sys.stdout.write("the output is on the grid of the input, and holds known labels\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
