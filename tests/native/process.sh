# Processes that outlive the command that started them. Sourced by tests/stack.
#
# A process is known by a pid file and by a word on its command line that only this directory's stack has: a pid that another
# process got since is never taken for ours, and so never stopped. A zombie has no command line, so it counts as gone.

# pid_of NAME WORD: prints the pid if that process runs and is ours.
pid_of() {
    local pid
    [ -s "$stack/$1/pid" ] || return 1
    pid=$(<"$stack/$1/pid")
    [ -r "/proc/$pid/cmdline" ] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -xF -e "$2" >/dev/null || return 1
    printf '%s' "$pid"
}

# start NAME WORD COMMAND..: in a session of its own, so that ^C at the terminal does not reach it; the log of the start before is kept.
start() {
    local dir=$stack/$1 name=$1 word=$2
    shift 2
    rm -f "$dir/pid"
    [ ! -e "$dir/log" ] || mv -f "$dir/log" "$dir/log.before"
    # It writes its pid itself: whatever happens to this script, `down` finds it. The lock (9) must not live on in it.
    # shellcheck disable=SC2016
    setsid bash -c 'printf "%s\n" "$$" >"$0" && exec "$@"' "$dir/pid" "$@" >"$dir/log" 2>&1 </dev/null 9>&- &
    while kill -0 "$!" 2>/dev/null && ! pid_of "$name" "$word" >/dev/null; do sleep 0.01; done
}

# wait_until NAME WORD SECONDS TEST..: until TEST succeeds. Fails when the process ends before, or after that time.
wait_until() {
    local name=$1 word=$2 end=$((SECONDS + $3))
    shift 3
    until "$@"; do
        # Looked at twice: while a process becomes another program, it has no command line for a moment.
        pid_of "$name" "$word" >/dev/null || { sleep 1 && pid_of "$name" "$word" >/dev/null; } ||
            fail_with_log "$name ended while it was starting" "$stack/$name/log" "remove its cause, or start afresh with: tests/stack reset $name"
        if [ "$SECONDS" -ge "$end" ]; then
            stop "$name" "$word"
            fail_with_log "$name was not ready in time and was stopped" "$stack/$name/log" "run this again; if it stays, tests/stack reset $name"
        fi
        sleep 0.1
    done
}

# stop NAME WORD: asks, then insists. CONT first: a test may have left it stopped.
stop() {
    local pid end=$((SECONDS + 30))
    pid=$(pid_of "$1" "$2") || return 0
    kill -TERM "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true
    while pid_of "$1" "$2" >/dev/null; do
        if [ "$SECONDS" -ge "$end" ]; then
            printf '  %s did not end in 30 s: killed\n' "$1"
            kill -KILL "$pid" 2>/dev/null || true
            end=$((SECONDS + 30))
        fi
        sleep 0.1
    done
}

listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# answers PORT PATH: an HTTP server there says 200.
answers() {
    local line
    line=$(exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" &&
        printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3 && timeout 5 head -n 1 <&3) || return 1
    [[ $line == HTTP/1.?' 200'* ]]
}

# ports_are_free VARIABLE PORT..: VARIABLE is what moves them. A process that was just killed gives its ports up a moment after
# its command line is gone, so a taken port is looked at again for some seconds.
ports_are_free() {
    local variable=$1 port end=$((SECONDS + 5))
    shift
    for port in "$@"; do
        while listens "$port"; do
            [ "$SECONDS" -lt "$end" ] ||
                fail "port $port of 127.0.0.1 is taken by another program$(holder "$port"): stop that, or set $variable to another port"
            sleep 0.1
        done
    done
}

holder() {
    command -v ss >/dev/null && ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:((\("[^"]*",pid=[0-9]*\).*/ (\1)/p' | head -1
    return 0
}
