# One PostgreSQL, its data and configuration of its own, from the Debian package. Sourced by tests/stack.

postgres=$stack/postgres
postgres_port=${LEDGERLINE_STACK_POSTGRES_PORT:-19132}
# A parameter that means nothing to PostgreSQL, so that its command line names this stack.
postgres_word=ledgerline.stack=$postgres
postgres_database=ledgerline

postgres_about() { printf 'SQL'; }
postgres_pid() { pid_of postgres "$postgres_word"; }

postgres_up() {
    if postgres_pid >/dev/null; then
        wait_until postgres "$postgres_word" 120 postgres_ready
        [ "$(<"$postgres/port")" = "$postgres_port" ] ||
            fail "postgres runs on port $(<"$postgres/port"), not $postgres_port: tests/stack down postgres, then up"
        already postgres
        return
    fi
    mkdir -p "$postgres"
    ports_are_free LEDGERLINE_STACK_POSTGRES_PORT "$postgres_port"
    # The package makes a cluster of its own too; it is not touched.
    postgres_bin >/dev/null || install_package "$postgres_programs/postgres" postgresql-15
    postgres_bin >/dev/null || fail "$postgres_programs has no initdb, postgres, psql and pg_isready: install postgresql-15"
    step "postgres: data directory" postgres_make
    step "postgres: configuration" postgres_configure
    step "postgres: server on 127.0.0.1:$postgres_port" postgres_start
}

# Version 15, whatever else is installed: the connectors are tried with it. Debian has it off the path.
postgres_programs=/usr/lib/postgresql/15/bin
postgres_bin() {
    local name
    for name in initdb postgres psql pg_isready; do [ -x "$postgres_programs/$name" ] || return 1; done
    printf '%s' "$postgres_programs"
}

# PostgreSQL refuses to run as root. Its package has a user for it.
postgres_as() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups --reset-env -- "$@")
    else
        "$@"
    fi
}

# Where that user may not go, a home directory say, the data lies elsewhere, and `data` is a link to it.
postgres_data() { readlink -f "$postgres/data"; }

# One that was cut short leaves no "made", and is begun again.
postgres_make() {
    [ ! -e "$postgres/made" ] || [ ! -e "$postgres/data/PG_VERSION" ] || return 0
    rm -rf "$postgres/made" "$(readlink -m "$postgres/data")" "$postgres/data"
    if postgres_as test -x "$postgres"; then
        mkdir -m 700 "$postgres/data"
    else
        ln -s "$(mktemp -d /var/tmp/ledgerline-postgres.XXXXXX)" "$postgres/data"
    fi
    [ "$(id -u)" -ne 0 ] || chown postgres: "$(postgres_data)"
    [ -s "$postgres/password" ] || (umask 077 && random_hex >"$postgres/password")
    postgres_init >"$postgres/init.log" 2>&1 ||
        fail_with_log "the data directory could not be made" "$postgres/init.log" "tests/stack reset postgres, then up"
    touch "$postgres/made"
}

# initdb reads the password out of a file that its own user can read.
postgres_init() {
    local password status=0
    password=$(mktemp /var/tmp/ledgerline-postgres.XXXXXX)
    cat "$postgres/password" >"$password"
    [ "$(id -u)" -ne 0 ] || chown postgres: "$password"
    postgres_as "$postgres_programs/initdb" --pgdata="$(postgres_data)" --username=postgres --pwfile="$password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 || status=$?
    rm -f "$password"
    return $status
}

# Again at each start: a change of the file or of the port counts from then on.
postgres_configure() {
    local text
    text=$(<"$native/postgres/postgresql.conf.in")
    text=${text//@PORT@/"$postgres_port"}
    printf '%s\n' "$text" >"$(postgres_data)/postgresql.conf"
    printf '%s\n' "$postgres_port" >"$postgres/port"
}

postgres_start() {
    local as=()
    postgres_await_children
    # Not postgres_as: the pid that is kept must be the server's.
    [ "$(id -u)" -ne 0 ] || as=(env --chdir=/ setpriv --reuid=postgres --regid=postgres --init-groups --reset-env --)
    start postgres "$postgres_word" "${as[@]}" "$postgres_programs/postgres" -D "$(postgres_data)" -c "$postgres_word"
    wait_until postgres "$postgres_word" 120 postgres_ready
    postgres_has_database || postgres_sql "CREATE DATABASE $postgres_database" >/dev/null
}

# Of a server that was killed, processes live on for a moment, and a new one refuses to start beside them. When they are gone, the file that
# names the killed one is in the way as long as nobody has reaped it: PostgreSQL takes a zombie for a server.
postgres_await_children() {
    local data end=$((SECONDS + 30)) last=$((SECONDS + 40)) pids
    data=$(postgres_data)
    while pids=$(postgres_processes_in "$data") && [ -n "$pids" ]; do
        # shellcheck disable=SC2086
        [ "$SECONDS" -lt "$end" ] || kill -KILL $pids 2>/dev/null || true
        [ "$SECONDS" -lt "$last" ] || fail "processes of a PostgreSQL that was killed do not end: ${pids//$'\n'/ }"
        sleep 0.1
    done
    rm -f "$data/postmaster.pid"
}

# All its processes work in its data directory. That some end while this looks is no failure.
postgres_processes_in() {
    { find /proc -maxdepth 2 -name cwd -lname "$1" -printf '%h\n' 2>/dev/null || true; } | sed 's|^/proc/||'
}

postgres_sql() {
    PGPASSWORD=$(<"$postgres/password") "$postgres_programs/psql" --no-psqlrc --quiet --tuples-only --no-align \
        --host=127.0.0.1 --port="$(<"$postgres/port")" --username=postgres --dbname=postgres --command="$1"
}

postgres_has_database() { [ -n "$(postgres_sql "SELECT 1 FROM pg_database WHERE datname = '$postgres_database'")" ]; }

postgres_ready() {
    "$postgres_programs/pg_isready" --quiet --host=127.0.0.1 --port="$(<"$postgres/port")"
}

# At TERM it would wait until every client has left; at INT it ends their sessions.
postgres_down() {
    local pid
    pid=$(postgres_pid) || return 0
    kill -INT "$pid" 2>/dev/null || true
    stop postgres "$postgres_word"
}

postgres_env() {
    local port
    port=$(<"$postgres/port")
    export_line LEDGERLINE_STACK_POSTGRES_URL "postgresql://postgres:$(<"$postgres/password")@127.0.0.1:$port/$postgres_database"
    export_line LEDGERLINE_STACK_POSTGRES_BIN "$postgres_programs"
    export_line LEDGERLINE_STACK_POSTGRES_PID "$(postgres_pid)"
}
