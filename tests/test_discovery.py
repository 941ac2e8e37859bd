"""nnU-Net finds our trainers by its own look-up, in fresh interpreters, at no cost to anyone else."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

FIND = """
try:
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
except ImportError:  # before 2.8, the commands looked trainers up like this
    from os.path import join
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    def find(name):
        folder = join(nnunetv2.__path__[0], "training", "nnUNetTrainer")
        found = recursive_find_python_class(folder, name, "nnunetv2.training.nnUNetTrainer")
        if found is None:
            raise RuntimeError("Could not find requested nnunet trainer")
        return found
"""
"""nnU-Net's own look-up."""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


def run_finding(code: str) -> subprocess.CompletedProcess[str]:
    return run(FIND + textwrap.dedent(code))


def test_stock_lookup_finds_our_names_stock_names_and_nothing_else() -> None:
    result = run_finding(
        """
        import pickle
        ours = find("nnUNetTrainerGenesis_scratch_3epochs")
        assert ours.__name__ == "nnUNetTrainerGenesis_scratch_3epochs" and ours.recipe.epochs == 3
        assert find("nnUNetTrainerGenesis").recipe.scratch is False
        assert pickle.loads(pickle.dumps(ours)) is ours
        assert find("nnUNetTrainer_5epochs").__module__.startswith("nnunetv2")
        try:
            find("nnUNetTrainerGenesisOfSomebodyElse")
        except RuntimeError as error:
            assert "Could not find requested nnunet trainer" in str(error)
        else:
            raise SystemExit("found a class that does not exist")
        """
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_misspelt_name_reaches_the_user_as_our_error() -> None:
    result = run_finding(
        """
        find("nnUNetTrainerGenesis_warmpu")
        """
    )
    assert result.returncode == 1
    assert "TrainerNameError: 'nnUNetTrainerGenesis_warmpu' is no trainer of nnunet-genesis" in result.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import sys; import nnunet_genesis; heavy = 'torch'",
        "import sys; import nnunet_genesis.cli; heavy = 'torch'",
        "import sys; heavy = 'nnunetv2'",
    ],
)
def test_start_up_and_command_line_load_nothing_heavy(code: str) -> None:
    result = run(f"{code}\nsys.exit(int(any(name in sys.modules for name in ('torch', 'nnunetv2', 'numpy'))))")
    assert result.returncode == 0, result.stderr


def test_trainer_survives_a_spawned_process() -> None:
    result = run(
        """
        import multiprocessing
        if __name__ == "__main__":
            import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as host
            trainer = host.nnUNetTrainerGenesis_7epochs
            context = multiprocessing.get_context("spawn")
            import nnunet_genesis.trainers.grammar as grammar
            with context.Pool(1) as pool:
                assert pool.apply(getattr, (trainer, "recipe")) == grammar.parse_trainer_name(trainer.__name__)
        """
    )
    assert result.returncode == 0, result.stderr
