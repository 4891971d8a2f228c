# One S3 server (versitygw), built by Go from its module; it enforces Object Lock, conditional writes and bucket policies. Sourced by tests/stack.
#
# It has a root and an ordinary user, who may do nothing until a bucket's policy says so. Its data are plain files.

s3=$stack/s3
s3_port=${LEDGERLINE_STACK_S3_PORT:-19195}
s3_version=v1.8.0
# On its command line, and nothing but this directory's stack has it.
s3_word=$s3/data/objects
s3_bucket=ledgerline

s3_about() { printf 'HTTP'; }
s3_pid() { pid_of s3 "$s3_word"; }

s3_up() {
    if s3_pid >/dev/null; then
        wait_until s3 "$s3_word" 60 s3_ready
        [ "$(<"$s3/port")" = "$s3_port" ] ||
            fail "s3 runs on port $(<"$s3/port"), not $s3_port: tests/stack down s3, then up"
        already s3
        return
    fi
    mkdir -p "$s3/bin"
    ports_are_free LEDGERLINE_STACK_S3_PORT "$s3_port"
    s3_has_program || need go golang-go
    step "s3: versitygw $s3_version" s3_program
    step "s3: keys" s3_keys
    step "s3: server on 127.0.0.1:$s3_port" s3_start
    step "s3: user and bucket" s3_fill
}

s3_has_program() { [ -x "$s3/bin/versitygw" ] && [ "$(cat "$s3/bin/version" 2>/dev/null)" = "$s3_version" ]; }

# Minutes, the first time: what Go has compiled stays in its own cache.
s3_program() {
    ! s3_has_program || return 0
    GOBIN=$s3/bin GOFLAGS=-trimpath go install "github.com/versity/versitygw/cmd/versitygw@$s3_version" >"$s3/go.log" 2>&1 ||
        fail_with_log "versitygw could not be built" "$s3/go.log" "see that Go is 1.25 or newer and reaches its module proxy, then run this again"
    printf '%s\n' "$s3_version" >"$s3/bin/version"
}

s3_keys() {
    local name
    for name in root user; do
        [ -s "$s3/$name.secret" ] || (umask 077 && random_hex >"$s3/$name.secret")
    done
}

# Identities are read anew at each request: a test may change them. No --keep-alive: it takes the rest of a body that it has refused for the next request.
s3_start() {
    mkdir -p "$s3/data/objects" "$s3/data/versions" "$s3/data/iam"
    printf '%s\n' "$s3_port" >"$s3/port"
    ROOT_ACCESS_KEY=root ROOT_SECRET_KEY=$(<"$s3/root.secret") start s3 "$s3_word" "$s3/bin/versitygw" --port "127.0.0.1:$s3_port" \
        --iam-dir "$s3/data/iam" --iam-cache-disable --health /health --quiet posix --versioning-dir "$s3/data/versions" "$s3_word"
    wait_until s3 "$s3_word" 60 s3_ready
}

s3_ready() { answers "$(<"$s3/port")" /health; }

# The ordinary user, and a bucket with Object Lock in which it may do what an archiver must, and no more.
s3_fill() {
    local log=$s3/fill.log
    grep -q '"ledgerline"' "$s3/data/iam/users.json" 2>/dev/null ||
        "$s3/bin/versitygw" admin --access root --secret "$(<"$s3/root.secret")" --endpoint-url "http://127.0.0.1:$s3_port" \
            create-user --access ledgerline --secret "$(<"$s3/user.secret")" --role user >"$log" 2>&1 ||
        fail_with_log "the user could not be made" "$log" "tests/stack reset s3, then up"
    LEDGERLINE_S3_SECRET=$(<"$s3/root.secret") python3 "$native/s3/make_bucket.py" "http://127.0.0.1:$s3_port" root "$s3_bucket" ledgerline >"$log" 2>&1 ||
        fail_with_log "the bucket could not be made" "$log" "tests/stack reset s3, then up"
}

s3_down() { stop s3 "$s3_word"; }

s3_env() {
    export_line LEDGERLINE_TEST_S3 "http://127.0.0.1:$(<"$s3/port")"
    export_line LEDGERLINE_TEST_S3_ROOT_SECRET "$(<"$s3/root.secret")"
    export_line LEDGERLINE_TEST_S3_USER_SECRET "$(<"$s3/user.secret")"
    export_line LEDGERLINE_TEST_S3_BUCKET "$s3_bucket"
    export_line LEDGERLINE_TEST_S3_PID "$(s3_pid)"
}
