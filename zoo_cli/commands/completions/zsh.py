"""The completion script for zsh, for a folder of `fpath` or to be sourced after `compinit`."""

from zoo_cli.commands.completions.description import HELP, Flag, Program, Words

ENGINE = r"""#compdef zoo
# zsh completion for zoo. Written by `zoo completion zsh`; change the program, not this file.

_zoo() {
    local curcontext=$curcontext state state_descr line zoo_workspace=${ZOO_WORKSPACE:-.} ret=1
    local -A opt_args
    _arguments -C -A '-*' -s -S \
@TOP@
        '1:command: _zoo_commands ""' \
        '*:: :->rest' && ret=0
    [[ $state == rest ]] || return ret
    zoo_workspace=${opt_args[-C]:-${opt_args[--workspace]:-$zoo_workspace}}
    curcontext=${curcontext%:*}-$words[1]:
    case $words[1] in
@COMMANDS@
    esac
    return ret
}

# Offer the commands, or those of the group $1.
_zoo_commands() {
    local -a commands
    case $1 in
@FIRST@
    esac
    _describe -V -t commands command commands
}

# Offer the values of the kind $1.
_zoo_value() {
    local kind=$1 value=$PREFIX item name word ret=1
    local -a reply open closed
    if [[ $value == *:* ]]; then
        name=${value%%:*}
        item=${value#*:}
        _zoo_words "$kind $name"
        if [[ $reply[1] != @* ]]; then
            item=${value##*[:,]}
            if [[ $item == *=* ]]; then
                _zoo_words "$kind $name ${item%%=*}"
                item=${item#*=}
            fi
        fi
    elif [[ $value == *=* ]]; then
        item=${value#*=}
        _zoo_words "$kind = ${value%%=*}"
    fi
    if (( ! $#reply )); then
        item=$value
        _zoo_words $kind
    fi
    compset -p $(( $#value - $#item ))
    for word in $reply; do
        case $word in
            @file)
                # Do not offer a run again as a folder.
                [[ $ret == 0 && $item == runs/* ]] || { _files && ret=0 }
                ;;
            @folder) _path_files -/ && ret=0 ;;
            @source) _zoo_sources && ret=0 ;;
            @run) _zoo_runs && ret=0 ;;
            *[=:] | *[=:]:*) open+=($word) ;;
            *) closed+=($word) ;;
        esac
    done
    (( ! $#open )) || _describe -V -t values $kind open -S '' && ret=0
    (( ! $#closed )) || _describe -V -t values $kind closed && ret=0
    return ret
}

# The folder of the workspace on the line.
_zoo_workspace() {
    REPLY=${(Q)${opt_args[-C]:-${opt_args[--workspace]:-$zoo_workspace}}}
    REPLY=${REPLY/#\~\//$HOME/}
}

_zoo_sources() {
    local line inside REPLY
    local -a names
    _zoo_workspace
    names=($REPLY/features/source=*(N/:t))
    names=(${${names#source=}:#@*})
    if [[ -r $REPLY/zoo.toml ]]; then
        for line in ${(f)"$(<$REPLY/zoo.toml)"}; do
            line=${line##[[:space:]]#}
            case $line in
                '[[source]]'*) inside=1 ;;
                '['*) inside= ;;
                name*=*[\"\']*[\"\']*)
                    [[ -n $inside ]] || continue
                    line=${line#*=}
                    line=${line#${line%%[\"\']*}}
                    names+=(${${line:1}%%${line[1]}*})
                    ;;
            esac
        done
    fi
    compadd -X source -a - names
}

_zoo_runs() {
    local REPLY
    local -a names
    _zoo_workspace
    names=($REPLY/runs/*(N/:t))
    [[ $PREFIX != runs/* ]] || compset -P runs/
    compadd -X run -a - names
}

_zoo_words() {
    case $1 in
@WORDS@
        *) reply=() ;;
    esac
}

if [[ $funcstack[1] == _zoo ]]; then
    _zoo "$@"
else
    compdef _zoo zoo
fi
"""


def render_script(program: Program) -> str:
    """The script: one `_arguments` a command, and the tables of values."""
    blocks = []
    for name in program.first_words():
        blocks += _group(program, name) if name in program.groups else _command(program, name, " " * 8)
    words = [
        line for kinds, offered in program.tables() for line in _case(" | ".join(map(_quoted, kinds)), "reply", offered)
    ]
    parts = {
        "@TOP@": [f"        {spec} \\" for spec in _specs(program.flags)],
        "@COMMANDS@": blocks,
        "@FIRST@": [
            line
            for group, offered in (("", program.first_words()), *((g, program.second_words(g)) for g in program.groups))
            for line in _case(_quoted(group), "commands", offered)
        ],
        "@WORDS@": words,
    }
    text = ENGINE
    for mark, lines in parts.items():
        text = text.replace(mark, "\n".join(lines))
    return text


def _group(program: Program, name: str) -> list[str]:
    """The branch of a group: its second words, then a branch for each."""
    inner = [line for word in program.second_words(name) for line in _command(program, f"{name} {word}", " " * 16)]
    return [
        f"        {name})",
        "            _arguments -C -A '-*' -s -S \\",
        *(f"                {spec} \\" for spec in _specs((HELP,))),
        f"                '1:command: _zoo_commands {name}' \\",
        "                '*:: :->second' && ret=0",
        "            [[ $state == second ]] || return ret",
        "            case $words[1] in",
        *inner,
        "            esac",
        "            ;;",
    ]


def _command(program: Program, name: str, indent: str) -> list[str]:
    command = next(command for command in program.commands if command.name == name)
    specs = _specs(command.flags)
    if command.argument:
        specs.append(_quoted(f"*:{command.argument}: _zoo_value {command.argument}"))
    return [
        f"{indent}{name.rpartition(' ')[2]})",
        f"{indent}    _arguments -s -S \\",
        *(f"{indent}        {spec} \\" for spec in specs[:-1]),
        f"{indent}        {specs[-1]} && ret=0",
        f"{indent}    ;;",
    ]


def _specs(flags: tuple[Flag, ...]) -> list[str]:
    """Each flag in the form of `_arguments`: `*--metric=[about it]:metric: action`, its spellings in braces."""
    specs = []
    for flag in flags:
        about = "".join("\\" + c if c in "[]:\\" else c for c in flag.help)
        value = f":{flag.kind}: _zoo_value {flag.kind}" if flag.kind else ""
        names = [name + (("=" if name.startswith("--") else "+") if flag.kind else "") for name in flag.names]
        if len(names) > 1:
            specs.append("'*'{" + ",".join(names) + "}" + _quoted(f"[{about}]{value}"))
        else:
            specs.append(_quoted(f"*{names[0]}[{about}]{value}"))
    return specs


def _case(pattern: str, array: str, words: Words) -> list[str]:
    """A branch that fills an array for `_describe`: each word with its colons escaped, then its description."""
    described = [word.replace(":", "\\:") + (f":{about}" if about else "") for word, about in words.items()]
    return [
        f"        {pattern})",
        f"            {array}=(",
        *(" " * 16 + _quoted(text) for text in described),
        "            )",
        "            ;;",
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
