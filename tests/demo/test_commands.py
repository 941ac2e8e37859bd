"""Commands are printed, logged, watched, and fail with their log's name."""

from pathlib import Path

import pytest

from nnunet_genesis.demo import commands
from nnunet_genesis.demo.commands import Command
from nnunet_genesis.demo.console import Console
from nnunet_genesis.errors import GenesisError


def _run(program: str, log: Path, **variables: str) -> Console:
    command = Command("try", "Try something.", ("python", "-c", program), variables)
    console = Console({"before": 1.0, "try": 1.0})
    try:
        commands.run(command, {"nnUNet_raw": "somewhere"}, log, console)
    finally:
        console.close()
    return console


def test_a_command_is_printed_and_its_output_logged_completely(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "try.log"
    program = "import sys; print('one'); print('two', file=sys.stderr); print('thr\\u00e9e')"
    console = _run(program, log, nnUNet_n_proc_DA="0")
    printed = capsys.readouterr().out
    assert "# Try something." in printed
    assert "$ nnUNet_n_proc_DA=0 python -c 'import sys;" in printed
    assert sorted(log.read_text(encoding="utf-8").splitlines()[1:]) == ["one", "thr\u00e9e", "two"]
    assert console.seconds["try"] > 0


def test_a_failing_command_names_its_log_and_shows_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "try.log"
    with pytest.raises(GenesisError) as caught:
        _run("for i in range(40): print(f'line {i}')\nraise SystemExit(3)", log)
    message = str(caught.value)
    assert "exit status 3" in message
    assert "range(40)" in message
    assert str(log) in message
    assert "line 39\n" in message
    assert "line 25\n" in message
    assert "line 24\n" not in message
    assert "line 0\n" in log.read_text()
    assert "$ python" in capsys.readouterr().out


def test_a_missing_command_is_named(tmp_path: Path) -> None:
    command = Command("try", "Try something.", ("no-such-command-of-nnunet",))
    with pytest.raises(GenesisError, match="no-such-command-of-nnunet is not installed"):
        commands.run(command, {}, tmp_path / "try.log", Console({"try": 1.0}))


def test_inherited_settings_of_nnunet_do_not_reach_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_genesis_checkpoint", "/elsewhere.pth")
    monkeypatch.setenv("nnUNet_raw", "/elsewhere")
    monkeypatch.setenv("nnUNet_extTrainer", "/trainers")
    log = tmp_path / "try.log"
    _run("import os; print(*sorted(f'{k}={v}' for k, v in os.environ.items() if k.startswith('nnUNet_')))", log)
    assert log.read_text().splitlines()[1] == "nnUNet_extTrainer=/trainers nnUNet_raw=somewhere"


def test_the_environment_can_be_typed_even_if_folders_have_spaces() -> None:
    variables = commands.environment(Path("/my data"))
    assert "export nnUNet_raw='/my data/nnUNet_raw'" in commands.exports(variables)
