"""Train with nnU-Net's own loop, then continue after every epoch; prints what differs. Run by test_schedules.py.

nnU-Net stores a checkpoint every 50 epochs, and its variables must be set before it is imported: hence a program.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from nnunetv2.run.run_training import get_trainer_from_args


def make_trainer(trainer: str, plans: str, fold: int, *, continued: bool) -> Any:
    made = get_trainer_from_args("4", "3d_fullres", fold, trainer, plans, continued, device=torch.device("cpu"))
    made.save_every = 1
    made.plot_network_architecture = made.logger.plot_progress_png = lambda *_: None
    return made


def final_state(trainer: Any) -> dict[str, torch.Tensor]:
    optimizer = trainer.optimizer.state_dict()["state"]
    momentum = {f"momentum {key}": entry["momentum_buffer"] for key, entry in optimizer.items()}
    weights = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    trains = {f"trains {n}": torch.tensor(p.requires_grad) for n, p in trainer.network.named_parameters()}
    return {**weights, **momentum, **trains}


def main(name: str, plans: str, fold: int) -> None:
    torch.set_num_threads(1)
    undisturbed = make_trainer(name, plans, fold, continued=False)
    copies: list[Path] = []
    end_epoch = undisturbed.on_epoch_end

    def end_epoch_and_copy() -> None:
        end_epoch()
        latest = Path(undisturbed.output_folder, "checkpoint_latest.pth")
        if undisturbed.current_epoch < undisturbed.num_epochs:
            copies.append(Path(shutil.copy(latest, latest.with_name(f"after_{undisturbed.current_epoch}.pth"))))

    undisturbed.on_epoch_end = end_epoch_and_copy
    undisturbed.run_training()
    expected = final_state(undisturbed)
    for copy in copies:
        continued = make_trainer(name, plans, fold, continued=True)
        continued.load_checkpoint(str(copy))
        continued.run_training()
        found = final_state(continued)
        differing = [key for key in expected if key not in found or not torch.equal(expected[key], found[key])]
        sys.stdout.write(f"{copy.stem}: {len(found)} of {len(expected)} there, differing: {differing}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
