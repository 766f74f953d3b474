"""The completion script for fish 3.1 and later."""

from zoo_cli.commands.completions.description import HELP, Flag, Program, Words

ENGINE = r"""# fish completion for zoo. Written by `zoo completion fish`; change the program, not this file.

# The command on the line, as far as it is typed: "", "rank", "evaluate", "evaluate flips".
function __zoo_command
    set -l words (commandline -opc)
    set -l command
    set -l waiting 0
    for word in $words[2..-1]
        if test $waiting = 1
            set waiting 0
            continue
        end
        switch $word
            case -C --workspace
                set waiting 1
            case '-*'
            case '*'
                set command $command $word
                if not contains -- "$command" @GROUPS@
                    break
                end
        end
    end
    echo "$command"
end

function __zoo_at
    set -l command (__zoo_command)
    test "$argv" = "$command"
end

function __zoo_workspace
    set -l words (commandline -opc)
    set -l folder $ZOO_WORKSPACE
    set -l waiting 0
    for word in $words[2..-1]
        if test $waiting = 1
            set folder $word
            set waiting 0
            continue
        end
        switch $word
            case -C --workspace
                set waiting 1
            case '--workspace=*'
                set folder (string replace -- --workspace= '' $word)
            case '-C?*'
                set folder (string sub -s 3 -- $word)
        end
    end
    test -n "$folder"; or set folder .
    string replace -r -- '^~/' $HOME/ "$folder"
end

# The values of a kind, one a line; a description may follow after a tab.
function __zoo_value
    set -l kind "$argv"
    set -l value (string replace -r -- '^--[^=]*=' '' (commandline -ct))
    set -l item $value
    set -l offered
    if string match -q -- '*:*' $value
        set -l name (string split -m1 -- : $value)[1]
        set item (string split -m1 -- : $value)[2]
        set offered (__zoo_words "$kind $name")
        if not string match -q -- '@*' $offered[1]
            set item (string replace -r -- '.*[:,]' '' $value)
            if string match -q -- '*=*' $item
                set -l parts (string split -m1 -- = $item)
                set offered (__zoo_words "$kind $name $parts[1]")
                set item $parts[2]
            end
        end
    else if string match -q -- '*=*' $value
        set -l parts (string split -m1 -- = $value)
        set offered (__zoo_words "$kind = $parts[1]")
        set item $parts[2]
    end
    if test (count $offered) = 0
        set item $value
        set offered (__zoo_words $kind)
    end
    set -l head (string sub -l (math (string length -- "$value") - (string length -- "$item")) -- "$value")
    for word in $offered
        switch $word
            case '@source*'
                __zoo_sources
            case '@run*'
                __zoo_runs $item
            case '@file*' '@folder*'
                # Without a prefix fish completes paths itself.
                test -n "$head"; and __zoo_paths $head $item $word
            case '*'
                echo "$head$word"
        end
    end
end

function __zoo_paths -a head item kind
    set -l start (string unescape -- "$item")
    set -l base ''
    string match -q -- '~/*' "$start"; and set base $HOME/
    for path in (string replace -- '~/' "$base" "$start" | string collect)*
        set -l shown $path
        test -n "$base"; and set shown (string replace -- "$base" '~/' $path)
        if test -d $path
            echo $head$shown/
        else if not string match -q -- '@folder*' $kind
            echo $head$shown
        end
    end
end

function __zoo_sources
    set -l workspace (__zoo_workspace)
    for path in $workspace/features/source=*/
        string match -rg -- 'source=([^@].*)/$' $path
    end
    if test -r $workspace/zoo.toml
        set -l inside 0
        while read -l line
            if string match -qr -- '^\s*\[\[source\]\]' $line
                set inside 1
            else if string match -qr -- '^\s*\[' $line
                set inside 0
            else if test $inside = 1
                string replace -rf -- '^\s*name\s*=\s*(["\'])(.*?)\1.*' '$2' $line
            end
        end <$workspace/zoo.toml
    end
end

function __zoo_runs -a item
    set -l workspace (__zoo_workspace)
    set -l prefix
    string match -q -- 'runs/*' "$item"; and set prefix runs/
    for path in $workspace/runs/*/
        echo "$prefix"(string replace -r -- '.*/([^/]*)/$' '$1' $path)
    end
end

function __zoo_words
    switch "$argv"
@WORDS@
    end
end

complete -c zoo -f
@COMPLETE@
"""


def render_script(program: Program) -> str:
    """The script: one `complete` a flag, and the tables of values."""
    lines = [
        f"complete -c zoo -n __zoo_at {_names(flag)}{_value(flag)} -d {_quoted(flag.help)}" for flag in program.flags
    ]
    lines += _firsts("__zoo_at", program.first_words())
    for group in program.groups:
        lines += _firsts(f"__zoo_at {group}", program.second_words(group))
        lines.append(_flag(HELP, group))
    for command in program.commands:
        lines += [_flag(flag, command.name) for flag in command.flags]
        if command.argument:
            files = " -F" if _is_path(program.words.get(command.argument, {})) else ""
            offer = _quoted(f"(__zoo_value {command.argument})")
            lines.append(f"complete -c zoo -n '__zoo_at {command.name}'{files} -k -a {offer}")
    words = [line for kinds, offered in program.tables() for line in _branch(kinds, offered)]
    parts = {
        "@GROUPS@": [" ".join(map(_quoted, program.groups)) or "''"],
        "@WORDS@": words,
        "@COMPLETE@": lines,
    }
    text = ENGINE
    for mark, content in parts.items():
        text = text.replace(mark, "\n".join(content))
    return text


def _flag(flag: Flag, command: str) -> str:
    return f"complete -c zoo -n '__zoo_at {command}' {_names(flag)}{_value(flag)} -d {_quoted(flag.help)}"


def _firsts(condition: str, words: Words) -> list[str]:
    return [f"complete -c zoo -n {_quoted(condition)} -a {word} -d {_quoted(about)}" for word, about in words.items()]


def _names(flag: Flag) -> str:
    return " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)


def _value(flag: Flag) -> str:
    if not flag.kind:
        return ""
    if flag.kind in ("file", "folder"):
        return " -r -F" if flag.kind == "file" else " -x -a '(__fish_complete_directories)'"
    return f" -x -k -a {_quoted(f'(__zoo_value {flag.kind})')}"


def _is_path(words: Words) -> bool:
    return "@file" in words or "@folder" in words


def _branch(kinds: tuple[str, ...], words: Words) -> list[str]:
    """One case of the table: words and their descriptions with a tab between."""
    pairs = [f"{_quoted(word)} {_quoted(about)}" for word, about in words.items()]
    if any(words.values()):
        body = [r"            printf '%s\t%s\n' " + pairs[0], *(" " * 16 + pair for pair in pairs[1:])]
        lines = [line + " \\" for line in body[:-1]] + body[-1:]
    else:
        lines = [r"            printf '%s\n' " + " ".join(map(_quoted, words))]
    return [f"        case {' '.join(map(_quoted, kinds))}", *lines]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
