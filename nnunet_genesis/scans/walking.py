"""Walk through folders of scans: sorted, each folder once, without labels."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnunet_genesis.scans.candidates import Candidate, unreadable
from nnunet_genesis.scans.naming import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LABEL_FOLDERS = ("labelsTr", "labelsTs")


@dataclass
class Walk:
    """One pass over several folders.

    Attributes:
        notes: What was left out on purpose.
        problems: Folders and files that cannot be looked at.
        hidden: Number of hidden files and folders left out.
    """

    notes: list[str] = field(default_factory=list)
    problems: list[Candidate] = field(default_factory=list)
    hidden: int = 0
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def folders(self, root: Path) -> Iterator[tuple[Path, tuple[str, ...], list[str]]]:
        """Each folder at and below ``root`` with its path relative to it in parts, and the sorted names of its files.

        Links to folders are followed, but no folder is entered twice, also not from another root.
        """
        if root.name in _LABEL_FOLDERS:
            self.notes.append(f"{root} is left out: it holds labels")
            return
        waiting: list[tuple[Path, tuple[str, ...]]] = [(root, ())]
        while waiting:
            folder, parts = waiting.pop()
            try:
                status = folder.stat()
                if (status.st_dev, status.st_ino) in self._seen:
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                names, files = self._list(folder, parts)
            except OSError as error:
                name = parts or (root.name,)
                self.problems.append(unreadable(Place(name, str(folder)), str(folder), error))
                continue
            names = self._without_labels(folder, names, files)
            waiting += [(folder / name, (*parts, name)) for name in reversed(names)]
            yield folder, parts, files

    def _list(self, folder: Path, parts: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Sorted names of the folders and of everything else, without hidden ones and what cannot be looked at."""
        names: list[str] = []
        files: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    self.hidden += 1
                    continue
                try:
                    (names if entry.is_dir() else files).append(entry.name)
                except OSError as error:  # a link that leads back to itself, or into a folder of somebody else
                    place = Place((*parts, entry.name), entry.path)
                    self.problems.append(unreadable(place, entry.path, error))
        return sorted(names), sorted(files)

    def _without_labels(self, folder: Path, names: list[str], files: list[str]) -> list[str]:
        """Leave out folders of labels, and all but imagesTr of a raw dataset of nnU-Net, and say so."""
        is_raw_dataset = "imagesTr" in names and ("dataset.json" in files or "labelsTr" in names)
        kept = []
        for name in names:
            if name in _LABEL_FOLDERS:
                self.notes.append(f"{folder / name} is left out: it holds labels")
            elif is_raw_dataset and name == "imagesTs":
                self.notes.append(
                    f"{folder / name} is left out: it holds test cases; if their use is allowed, "
                    "name it itself with -i, or use --imagesTs"
                )
            elif is_raw_dataset and name != "imagesTr":
                self.notes.append(
                    f"{folder / name} is left out: of a raw dataset of nnU-Net only imagesTr is taken; name it with -i"
                )
            else:
                kept.append(name)
        return kept
