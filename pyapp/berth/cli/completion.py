"""Completion scripts for bash and mksh, made from the table of commands.

Both share one part in plain shell that finds what may follow; it lists the containers' folder itself, because
starting Python at every Tab would be felt.  mksh, the shell of Android, knows no programmable completion: there
Ctrl-X Tab runs the line through a function by its editing commands quote-region and evaluate-region (R54, 2016).
"""

from __future__ import annotations

from berth.cli.table import COMMANDS, SHELLS
from berth.errors import UsageError
from berth.rules import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from berth.cli.table import Flag
    from berth.home import Home

_FILES = ("FILE", "DIR", "PATH", "STAGE=PATH", "SRC:DST[:ro]", "SRC DST")
_NAMES = ("NAME", "NAME[,NAME]")


def script(shell: str, home: Home) -> str:
    """The completion script for `shell`, "bash" or "mksh", completing the containers of `home`.

    Raises UsageError for another shell.
    """
    drivers = {"bash": _BASH, "mksh": _MKSH}
    if shell not in drivers:
        raise UsageError(f"completion {quoted(shell)}: scripts are there for {' and '.join(SHELLS)}")
    return _tables() + _COMMON.replace("@STATE@", home.state) + drivers[shell]


def _tables() -> str:
    flags = [_case(name, " ".join(f"--{flag.name}" for flag in command.flags)) for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"__berth_commands='{' '.join(COMMANDS)}'",
            "",
            "__berth_flags() {",
            "  case $1 in",
            *flags,
            _case("*", "--help --version"),
            "  esac",
            "}",
            "",
            "# What follows the flag $2 of the command $1: words, @file, @name, @any, or nothing.",
            "__berth_value() {",
            "  case $1:$2 in",
            *_value_cases(),
            _case("*", ""),
            "  esac",
            "}",
            "",
        ]
    )


def _value_cases() -> list[str]:
    """One case for each spelling; a switch that takes a value under other commands comes before those."""
    with_value: dict[str, str] = {}
    switches: list[str] = []
    for command in COMMANDS.values():
        for flag in command.flags:
            for spelling in _spellings(flag):
                if flag.arity:
                    with_value[spelling] = _kind(flag)
                else:
                    switches.append(f"{command.name}:{spelling}")
    exceptions = [_case(switch, "") for switch in switches if switch.partition(":")[2] in with_value]
    return exceptions + [_case(f"*:{spelling}", kind) for spelling, kind in with_value.items()]


def _spellings(flag: Flag) -> list[str]:
    return [f"--{name}" for name in (flag.name, *flag.aliases)] + ([f"-{flag.short}"] if flag.short else [])


def _kind(flag: Flag) -> str:
    if flag.choices:
        return " ".join(flag.choices)
    if flag.value in _FILES:
        return "@file"
    return "@name" if flag.value in _NAMES else "@any"


def _case(pattern: str, words: str) -> str:
    return f"    {pattern}) __berth_words='{words}' ;;"


_COMMON = r"""
__berth_names() {
  local file
  __berth_words=
  for file in "${BERTH_HOME:-@STATE@}"/containers/*/container.toml; do
    [ -e "$file" ] || continue
    file=${file%/container.toml}
    __berth_words="$__berth_words ${file##*/}"
  done
}

# Sets __berth_words to what may stand for the word $1 after the words that follow it, or to @file.
__berth_candidates() {
  local current=$1 word command='' expected='' named='' count=0
  shift
  for word; do
    if [ -n "$expected" ]; then
      expected=
      continue
    fi
    case $word in
      --name=*) named=1 ;;
      --*=*) ;;
      -*)
        case $word in -n* | --name | --rm) named=1 ;; esac
        __berth_value "$command" "$word"
        expected=$__berth_words
        ;;
      *)
        if [ -z "$command" ]; then command=$word; else count=$((count + 1)); fi
        ;;
    esac
  done
  if [ -n "$expected" ]; then
    __berth_words=$expected
  else
    case $current in
      --*=*) __berth_value "$command" "${current%%=*}" ;;
      -*) __berth_flags "$command" ;;
      *) __berth_argument "$command" "$((count + ${named:-0}))" ;;
    esac
  fi
  case $__berth_words in
    @name) __berth_names ;;
    @any) __berth_words= ;;
  esac
  case $__berth_words:$current in
    @file:*) ;;
    *:--*=*,*) __berth_prefix "${current%,*}," ;;
    *:--*=*) __berth_prefix "${current%%=*}=" ;;
    *:*,*) __berth_prefix "${current%,*}," ;;
  esac
}

# The argument number $2, from 0, of the command $1.
__berth_argument() {
  case $1:$2 in
    :*) __berth_words=$__berth_commands ;;
    help:0) __berth_words=$__berth_commands ;;
    completion:0) __berth_words='bash mksh' ;;
    stop:* | restart:* | recover:* | events:*) __berth_words=@name ;;
    start:0 | demo:0 | enter:0 | run:0 | console:0 | logs:0 | info:0 | plan:0 | rename:0 | rm:0) __berth_words=@name ;;
    run:*) __berth_words=@file ;;
    *) __berth_words= ;;
  esac
}

__berth_prefix() {
  local word words=
  for word in $__berth_words; do
    words="$words $1$word"
  done
  __berth_words=$words
}
"""

_BASH = r"""
__berth_complete() {
  local line=${COMP_LINE:0:COMP_POINT} current='' kept words
  read -ra words <<<"$line"
  case $line in
    *' ') ;;
    *) current=${words[${#words[@]} - 1]} && unset "words[${#words[@]} - 1]" ;;
  esac
  __berth_candidates "$current" "${words[@]:1}"
  # readline takes what stands behind = and : for a word of its own
  kept=${current%"${current##*[=:]}"}
  if [[ $__berth_words == @file ]]; then
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "${current#"$kept"}")
  else
    mapfile -t COMPREPLY < <(compgen -W "$__berth_words" -- "$current")
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
  fi
}
complete -F __berth_complete berth
"""

_MKSH = r"""
# Prints the line $1, completed as far as that is possible.
__berth_complete() {
  local line=$1 current='' kept common='' found='' number=0 word
  case $line in
    *' ') ;;
    *) current=${line##* } ;;
  esac
  set -f
  set -- ${line%"$current"}
  set +f
  if [ "$1" != berth ]; then
    print -nr -- "$line"
    return
  fi
  shift
  __berth_candidates "$current" "$@"
  kept=${current%"${current##*[=:]}"}
  if [ "$__berth_words" = @file ]; then
    __berth_words=
    for word in "${current#"$kept"}"*; do
      [ -e "$word" ] && __berth_words="$__berth_words $kept$word"
    done
  fi
  for word in $__berth_words; do
    case $word in
      "$current"*) ;;
      *) continue ;;
    esac
    number=$((number + 1))
    found="$found $word"
    if [ "$number" = 1 ]; then
      common=$word
    else
      until [[ $word = "$common"* ]]; do common=${common%?}; done
    fi
  done
  case $number in
    0) common=$current ;;
    1) if [ -d "${common#"$kept"}" ]; then common=$common/; else common="$common "; fi ;;
    *) print -u2 && print -ru2 -- "${found# }" ;;
  esac
  print -nr -- "${line%"$current"}$common"
}
bind -m '^X^I=^A^[ ^E^[Q^A^[ __berth_complete ^E^[^E'
"""
