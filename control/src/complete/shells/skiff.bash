# bash completion for skiff(1): asks the program itself.

_skiff() {
    local line=${COMP_LINE:0:COMP_POINT} cut='' candidate
    local -a typed
    # Not COMP_WORDS: bash takes the colon of a class, 1:10, for the end of a word.
    read -ra typed <<<"$line"
    [[ $line == *[[:space:]] ]] && typed+=('')
    local cur=${typed[-1]}
    # What is put in replaces only what stands behind the last of those colons and equals signs.
    [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && cut=${cur%"${cur##*:}"}
    [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]] && cut=${cur%"${cur##*=}"}

    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        if [[ $candidate == :files ]]; then
            compopt -o filenames
            while IFS= read -r candidate; do
                COMPREPLY+=("$candidate")
            done < <(compgen -f -- "${cur#"$cut"}")
        elif [[ -n $candidate ]]; then
            COMPREPLY+=("${candidate#"$cut"}")
        fi
    done < <("${COMP_WORDS[0]}" __complete -- "${typed[@]:1}" 2>/dev/null)
}

complete -F _skiff skiff
