"""The completion script for bash 4.4 and later. It needs no other package."""

import shlex
from collections.abc import Iterator

from zoo_cli.commands.completions.description import HELP, Program

ENGINE = r"""# bash completion for zoo. Written by `zoo completion bash`; change the program, not this file.

_zoo_table() {
    case $1 in
@TABLE@
        *) REPLY= ;;
    esac
}

_zoo() {
    local - IFS=$' \t\n' REPLY= failglob=
    set +o noglob +o nounset +o errexit
    if shopt -q failglob; then
        failglob=1
        shopt -u failglob
    fi
    COMPREPLY=()
    _zoo_complete "$2"
    [[ -z $failglob ]] || shopt -s failglob
}

_zoo_complete() {
    # readline also splits at = and :. Join what the user sees as one word.
    local -a words=() offered=()
    local rest=${COMP_LINE:0:COMP_POINT} gap piece i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        gap=${rest%%[![:space:]]*}
        rest=${rest:${#gap}}
        piece=${COMP_WORDS[i]:0:${#rest}}
        rest=${rest:${#piece}}
        if [[ -n $gap || $i == 0 ]]; then
            words+=("$piece")
        else
            words[${#words[@]} - 1]+=$piece
        fi
    done

    local command= workspace=${ZOO_WORKSPACE:-.} waiting= ended= typed=${words[${#words[@]} - 1]} word
    for word in "${words[@]:1:${#words[@]} - 2}"; do
        _zoo_bare "$word"
        word=$REPLY
        if [[ -n $waiting ]]; then
            [[ $waiting != -C && $waiting != --workspace ]] || workspace=$word
            waiting=
        elif [[ -z $ended && $word == -?* ]]; then
            case $word in
                --) ended=1 ;;
                --workspace=*) workspace=${word#*=} ;;
                --*=*) ;;
                -C?*) workspace=${word#-C} ;;
                *)
                    _zoo_table "kind $command $word"
                    [[ -z $REPLY ]] || waiting=$word
                    ;;
            esac
        else
            _zoo_table "commands $command"
            [[ -z $REPLY ]] || command+=${command:+ }$word
        fi
    done
    [[ $workspace != '~/'* ]] || workspace=$HOME/${workspace#'~/'}

    _zoo_bare "$typed"
    local full=$REPLY head= value=$REPLY files= kind=
    if [[ -n $waiting ]]; then
        _zoo_table "kind $command $waiting"
        kind=$REPLY
    elif [[ -z $ended && $full == --*=* ]]; then
        head=${full%%=*}=
        value=${full#*=}
        _zoo_table "kind $command ${head%=}"
        kind=$REPLY
    elif [[ -z $ended && $full == -* ]]; then
        _zoo_table "flags $command"
        _zoo_offer $REPLY
    else
        _zoo_table "commands $command"
        if [[ -n $REPLY ]]; then
            _zoo_offer $REPLY
        else
            _zoo_table "argument $command"
            kind=$REPLY
        fi
    fi
    [[ -z $kind ]] || _zoo_value "$kind"
    ((${#offered[@]})) || return 0

    # readline keeps what stands before the part that it takes for the word, which must not be repeated.
    _zoo_bare "$1"
    local keep=${full%"$REPLY"} open=1
    if [[ -n $files ]]; then compopt -o filenames; else compopt -o nosort; fi
    for word in "${offered[@]}"; do
        [[ $word == *[=:,/] ]] || open=
        word=${word#"$keep"}
        # Where readline sees a folder itself, it ends the word correctly, within quotes too.
        [[ -z $files || $word != */ || ! -d $word ]] || word=${word%/}
        [[ -n $files || $typed == [\'\"]* || $word != *[!a-zA-Z0-9_.,:=/%@+-]* ]] || printf -v word %q "$word"
        COMPREPLY+=("$word")
    done
    [[ -z $open ]] || compopt -o nospace
}

# Add those of the words $@ that begin with $value; $head stands before the value in the user's word.
_zoo_offer() {
    local word
    for word; do
        [[ $word != "$value"* ]] || offered+=("$head$word")
    done
}

# Add the values of the kind $1.
_zoo_value() {
    local item=$value name word
    REPLY=
    if [[ $value == *:* ]]; then
        name=${value%%:*}
        item=${value#*:}
        _zoo_table "words $1 $name"
        if [[ $REPLY != @* ]]; then
            item=${value##*[:,]}
            if [[ $item == *=* ]]; then
                _zoo_table "words $1 $name ${item%%=*}"
                item=${item#*=}
            fi
        fi
    elif [[ $value == *=* ]]; then
        item=${value#*=}
        _zoo_table "words $1 = ${value%%=*}"
    fi
    if [[ -z $REPLY ]]; then
        item=$value
        _zoo_table "words $1"
    fi
    head+=${value%"$item"}
    value=$item
    for word in $REPLY; do
        case $word in
            @file) [[ $REPLY == @run* && $value == runs/* && ${#offered[@]} != 0 ]] || _zoo_paths ;;
            @folder) _zoo_paths folders ;;
            @source) _zoo_sources ;;
            @run) _zoo_runs ;;
            *) _zoo_offer "$word" ;;
        esac
    done
}

# Add files, or only folders if $1 is set.
_zoo_paths() {
    local folders=$1 path start=$value base=
    files=1
    if [[ $value == *'$'* ]]; then
        # bash itself completes after a variable.
        if [[ -n $folders ]]; then compopt -o dirnames; else compopt -o default; fi
        return
    fi
    if [[ $value == '~/'* ]]; then
        base=$HOME/
        start=${value#'~/'}
    fi
    for path in "$base$start"*; do
        if [[ -d $path ]]; then
            path+=/
        elif [[ -n $folders || ! -e $path ]]; then
            continue
        fi
        path=${path#"$base"}
        [[ -z $base ]] || path='~/'$path
        offered+=("$head$path")
    done
}

_zoo_sources() {
    local path line inside= name stored=/
    for path in "$workspace"/features/source=*/; do
        path=${path%/}
        name=${path##*/source=}
        [[ -d $path && $name != @* ]] || continue
        stored+=$name/
        _zoo_offer "$name"
    done
    [[ -r $workspace/zoo.toml ]] || return 0
    while IFS= read -r line || [[ -n $line ]]; do
        line=${line#"${line%%[![:space:]]*}"}
        case $line in
            '[[source]]'*) inside=1 ;;
            '['*) inside= ;;
            name*=*[\"\']*[\"\']*)
                [[ -n $inside ]] || continue
                line=${line#*=}
                line=${line#"${line%%[\"\']*}"}
                name=${line:1}
                name=${name%%"${line:0:1}"*}
                [[ $stored == */"$name"/* ]] || _zoo_offer "$name"
                ;;
        esac
    done <"$workspace/zoo.toml"
}

_zoo_runs() {
    local path prefix=
    [[ $value != runs/* ]] || prefix=runs/
    for path in "$workspace"/runs/*/; do
        path=${path%/}
        [[ ! -d $path ]] || _zoo_offer "$prefix${path##*/}"
    done
}

# REPLY: the word $1 without its quotes and backslashes.
_zoo_bare() {
    REPLY=$1
    [[ $1 == *[\\\'\"]* ]] || return 0
    local i char quote=
    REPLY=
    for ((i = 0; i < ${#1}; i++)); do
        char=${1:i:1}
        if [[ $char == "$quote" ]]; then
            quote=
        elif [[ -z $quote && $char == [\'\"] ]]; then
            quote=$char
        elif [[ $char == \\ && $quote != \' ]]; then
            ((++i))
            REPLY+=${1:i:1}
        else
            REPLY+=$char
        fi
    done
}

complete -F _zoo zoo
"""


def render_script(program: Program) -> str:
    """The script: the tables of this program, and the engine that reads them."""
    rows = [f"        {key}) REPLY={_quoted(' '.join(words))} ;;" for key, words in _table(program)]
    return ENGINE.replace("@TABLE@", "\n".join(rows))


def _table(program: Program) -> Iterator[tuple[str, list[str]]]:
    """The rows: a shell pattern, and the words that it stands for."""
    yield _quoted("commands "), list(program.first_words())
    for group in program.groups:
        yield _quoted(f"commands {group}"), list(program.second_words(group))
    yield _quoted("flags "), [name for flag in program.flags for name in flag.names]
    for group in program.groups:
        yield _quoted(f"flags {group}"), list(HELP.names)
    for command in program.commands:
        yield _quoted(f"flags {command.name}"), [name for flag in command.flags for name in flag.names]
    for command in program.commands:
        if command.argument:
            yield _quoted(f"argument {command.name}"), [command.argument]
    yield from _kinds(program)
    for kinds, words in program.tables():
        yield " | ".join(_quoted(f"words {kind}") for kind in kinds), list(words)


def _kinds(program: Program) -> Iterator[tuple[str, list[str]]]:
    """The kind of each flag that takes a value; if it differs among commands, by command and flag."""
    by_flag: dict[str, dict[str, str]] = {}
    for command, flags in (("", program.flags), *((command.name, command.flags) for command in program.commands)):
        for flag in flags:
            for name in flag.names:
                by_flag.setdefault(name, {})[command] = flag.kind
    patterns: dict[str, list[str]] = {}
    for name, kinds in by_flag.items():
        if len(set(kinds.values())) == 1:
            patterns.setdefault(next(iter(kinds.values())), []).append("'kind '*" + _quoted(f" {name}"))
            continue
        for command, kind in kinds.items():
            patterns.setdefault(kind, []).append(_quoted(f"kind {command} {name}"))
    for kind, alternatives in patterns.items():
        if kind:
            yield " | ".join(alternatives), [kind]


def _quoted(text: str) -> str:
    return shlex.quote(text) if text else "''"
