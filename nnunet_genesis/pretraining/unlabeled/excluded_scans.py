"""Which scans equal an excluded one, as a whole or in one channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.scans.voxel_hash import channel_keys

if TYPE_CHECKING:
    from collections.abc import Mapping


class ExcludedScans:
    """Scans that must stay out, known by their voxels.

    Collections name, order and combine the channels of a patient in different ways, so one equal channel is enough. A
    channel that holds nothing is equal in many patients, and tells nothing.

    Args:
        scans: Keys of whole scans (`scan_key`), and a few words on what each is.

    Attributes:
        keys: Those keys, and those of their channels alone.
    """

    def __init__(self, scans: Mapping[str, str]) -> None:
        self._scans = scans
        self._channels = {channel: what for key, what in scans.items() for channel in channel_keys(key)}
        self.keys = frozenset({*self._scans, *self._channels})

    def explain(self, key: str) -> str | None:
        """Say in what a scan equals an excluded one; None if it does not.

        Args:
            key: `scan_key` of the scan.
        """
        if key in self._scans:
            return f"the same voxels as {self._scans[key]}"
        shared = sorted(channel_keys(key) & self._channels.keys())
        return f"a channel with the same voxels as one of {self._channels[shared[0]]}" if shared else None
