"""What helps a person at the command line: likely spellings, completion in the shell, the manual page."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streams.cli.completion import SHELLS, script_of
from streams.cli.main import COMMANDS, main

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts"))

from generate_manual import PAGE, manual  # noqa: E402


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("servrs", "'servrs', did you mean 'servers'?"),
        ("servers lst", "'lst', did you mean 'list'?"),
        ("servers list --status blcked", "'blcked', did you mean 'BLOCKED'?"),
        ("policy mode OBSERV", "'OBSERV', did you mean 'observe'?"),
        ("--verson", "unrecognized arguments: --verson (did you mean --version?)"),
        ("servers --hepl list", "unrecognized arguments: --hepl (did you mean --help?)"),
        ("servers list --tenat=x --bogus", "--tenat=x (did you mean --tenant?) --bogus"),
        # A required option is missing here too, since it was mistyped.
        ("pause create --tenat contoso --days 5", "--tenat (did you mean --tenant?)"),
        ("completion bsh", "'bsh', did you mean 'bash'?"),
    ],
)
def test_a_likely_spelling_is_suggested(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].endswith(said)


@pytest.mark.parametrize("words", ["xyzzy", "y" * 3_000])
def test_what_is_like_nothing_is_answered_with_the_choices(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([words])
    assert "choose from 'inspect', 'simulate'" in capsys.readouterr().err


def test_an_option_may_be_shortened_and_a_value_may_look_like_one(tmp_path: Path) -> None:
    words = ["servers", "list", "--serv", str(tmp_path / "none"), "--tena", "x"]
    assert main(words) == 2  # the file is missing: the arguments were understood
    assert main(["inspect", "--", "--polcy"]) == 2


def complete(script: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    typed = " ".join(f"'{word}'" for word in words)
    program = f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _shtab_tes; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_options_and_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "tes"
    script.write_text(capsys.readouterr().out)
    assert complete(script, "tes", "ser") == ["servers"]
    assert {*COMMANDS} <= {*complete(script, "tes", "")}
    assert complete(script, "tes", "servers", "l") == ["list"]
    assert complete(script, "tes", "servers", "list", "--st") == ["--status"]
    assert complete(script, "tes", "servers", "list", "--status", "BL") == ["BLOCKED"]
    assert complete(script, "tes", "completion", "") == list(SHELLS)


def test_a_file_is_completed_where_a_file_is_wanted() -> None:
    script = script_of("bash")
    assert "_shtab_tes_simulate___feed_COMPGEN=_shtab_compgen_files" in script
    assert "_shtab_tes_simulate___out_COMPGEN=_shtab_compgen_dirs" in script


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(script_of(shell))
    assert "servers" in script.read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(script)], check=True)


def test_the_manual_page_is_that_of_the_parser() -> None:
    assert PAGE.read_text(encoding="utf-8") == manual(), "scripts/generate_manual.py writes it anew"


def test_the_manual_page_has_every_command() -> None:
    named = re.findall(r"^\.SS \\fBtes (\w+)\\fR$", manual(), re.MULTILINE)
    assert named == list(COMMANDS)
