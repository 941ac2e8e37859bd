"""``genesis discover`` on real scans."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.workspace import HIPPOCAMPUS, TINY

if TYPE_CHECKING:
    from tests.integration.workspace import Workspace


@pytest.mark.slow
def test_discovery_of_real_scans_is_kept_and_taken_up(hippocampus: Workspace) -> None:
    command = ("genesis", "discover", "4", *TINY, "-np", "1", "--exclude-fold", "0")
    first = hippocampus.run(*command)
    folder = "GenesisPretraining_semantic-genesis__nnUNetPlansTiny__3d_fullres__without_fold_0"
    pretraining = hippocampus.results / HIPPOCAMPUS / folder
    (file,) = pretraining.glob("discovery/*/discovery.json")
    assert (file.parent / "discovery.png").stat().st_size > 20_000
    assert "training the auto-encoder" in first
    content = json.loads(file.read_text())
    # 12 scans, 3 of them in fold 0, one held out.
    assert (content["provenance"]["num_cases"], content["provenance"]["num_validation_cases"]) == (8, 1)
    (held_out,) = {scan for one in content["classes"] for scan in one["held_out"]}
    assert all(held_out not in one["train"] for one in content["classes"])
    written = file.read_bytes()
    second = hippocampus.run(*command)
    assert "training the auto-encoder" not in second
    assert second.splitlines()[-4:] == first.splitlines()[-4:]
    assert file.read_bytes() == written
