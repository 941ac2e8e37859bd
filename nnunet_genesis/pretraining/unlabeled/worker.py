"""The worker processes of a pool: what they hold, and the functions that they are given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import SimpleITK as sitk
import torch

from nnunet_genesis.pretraining.unlabeled.case_preprocessing import ScanPreprocessor

if TYPE_CHECKING:
    from nnunet_genesis.pretraining.unlabeled.case_preprocessing import PreparedScan, PreprocessingJob
    from nnunet_genesis.scans.scan import Scan

_PREPROCESSORS: list[ScanPreprocessor] = []


def start_worker(job: PreprocessingJob) -> None:
    """Make this process ready: one thread, a silent terminal, and the plans at hand."""
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    _PREPROCESSORS[:] = [ScanPreprocessor(job)]
    # Readers in C++ write their complaints past Python; every one of them is in the report as well.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def prepare_scan(scan: Scan) -> PreparedScan:
    """Run `ScanPreprocessor.prepare` in a worker."""
    return _PREPROCESSORS[0].prepare(scan)


def read_scan_key(scan: Scan) -> str:
    """Run `ScanPreprocessor.read_key` in a worker."""
    return _PREPROCESSORS[0].read_key(scan)
