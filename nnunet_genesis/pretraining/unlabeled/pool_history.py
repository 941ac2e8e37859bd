"""What ``pool.json`` says of a pool: by which plans and packages it was begun, and every command that built it."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nnunet_genesis.json_reading import read_json

if TYPE_CHECKING:
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.unlabeled.build import BuildOptions
    from nnunet_genesis.pretraining.unlabeled.pool import Pool

_PACKAGES = ("nnunet-genesis", "nnunetv2", "SimpleITK", "numpy", "blosc2", "torch")


def note_build(pool: Pool, planned: PlannedConfiguration, options: BuildOptions) -> list[str]:
    """Describe a new pool, and add the command of this build with its time and its exclusions.

    Returns:
        Notes for the user: exclusions of earlier builds of this pool that this one does without.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    pool.create(
        {
            "created": now,
            "dataset": planned.dataset_name,
            "plans": planned.plans_name,
            "configuration": planned.configuration,
            "preprocessing": dict(planned.preprocessing),
            "channel_names": list(planned.channel_names),
            "versions": {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
            "command": options.command,
        }
    )
    description = read_json(pool.pool_file)
    commands = description.setdefault("commands", [])
    dropped = _list_exclusions(commands) - set(options.exclusions)
    commands.append(
        {
            "time": now,
            "command": options.command,
            "exclusions": list(options.exclusions),
            "excluded_keys": len(options.excluded),
        }
    )
    pool.describe(description)
    return [
        f"an earlier build of this pool had {flag}, this one has not: scans that it left out may be in the pool now"
        for flag in sorted(dropped)
    ]


def _list_exclusions(commands: list[dict[str, Any]]) -> set[str]:
    return {flag for earlier in commands for flag in earlier.get("exclusions", [])}
