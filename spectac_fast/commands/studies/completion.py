"""`spectac completion SHELL`: what makes a shell complete commands, options, choices and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from spectac_fast.commands._parser import COMMANDS, build_parser

_ABOUT = """
  bash: spectac completion bash > ~/.local/share/bash-completion/completions/spectac
  zsh:  spectac completion zsh > a file _spectac in a folder of $fpath
  fish: spectac completion fish > ~/.config/fish/completions/spectac.fish"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description}\n{_ABOUT}"
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace) -> int:
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell](dict(_parsers())), end="")
    return 0


def _parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command and its parser."""
    for name in COMMANDS:
        whole = build_parser(name)
        (commands,) = (each for each in whole._actions if isinstance(each, argparse._SubParsersAction))
        yield name, commands.choices[name]


def _bash(parsers: dict[str, argparse.ArgumentParser]) -> str:
    """Options where a word begins with a dash, choices after an option that has some, else files."""
    cases = "\n".join(
        f"        {name}) options='{' '.join(_flags(parser))}'\n"
        f"            case $before in {' '.join(_choices(parser))} esac ;;"
        for name, parser in parsers.items()
    )
    return f"""# Completion of spectac for bash, made by `spectac completion bash`.
_spectac() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} options='' choices=''
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W '--help --version {" ".join(parsers)}' -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
    if [[ -n $choices ]]; then
        COMPREPLY=($(compgen -W "$choices" -- "$word"))
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    fi
}}
complete -o default -F _spectac spectac
"""


def _zsh(parsers: dict[str, argparse.ArgumentParser]) -> str:
    return f"#compdef spectac\nautoload -U +X bashcompinit && bashcompinit\n{_bash(parsers)}"


def _fish(parsers: dict[str, argparse.ArgumentParser]) -> str:
    lines = ["# Completion of spectac for fish, made by `spectac completion fish`."]
    for name, parser in parsers.items():
        lines.append(f"complete -c spectac -n __fish_use_subcommand -f -a {name} -d {_quoted(parser.description)}")
        for action in parser._actions:
            said = [f"complete -c spectac -n '__fish_seen_subcommand_from {name}'"]
            for flag in action.option_strings:
                said.append(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}")
            if action.choices:
                said.append(f"-x -a '{' '.join(map(str, action.choices))}'")
            elif action.option_strings and action.nargs != 0:
                said.append("-r")
            if action.option_strings or action.choices:
                lines.append(f"{' '.join(said)} -d {_quoted(action.help)}")
    return "\n".join(lines) + "\n"


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings]


def _choices(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Arms of a shell's case: what may follow an option, or the command, where that is a list."""
    for action in parser._actions:
        if action.choices:
            after = "|".join(action.option_strings) or parser.prog.rpartition(" ")[2]
            yield f"{after}) choices='{' '.join(map(str, action.choices))}' ;;"


def _quoted(text: str | None) -> str:
    """The first sentence of a help, for a shell."""
    first = (text or "").strip().splitlines()[:1]
    return "'" + "".join(first).replace("\\", "").replace("'", "\\'").replace("%%", "%") + "'"
