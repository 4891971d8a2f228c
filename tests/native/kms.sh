# KMS and S3 as LocalStack serves them, both on one port, from its Python package. It keeps everything in memory, asks nobody for leave
# (IAM is not enforced) and has no Ed25519 keys. Sourced by tests/stack.

kms=$stack/kms
kms_port=${LEDGERLINE_STACK_KMS_PORT:-19166}
kms_word=$kms/venv/bin/python

kms_about() { printf 'HTTP'; }
kms_pid() { pid_of kms "$kms_word"; }

kms_up() {
    if kms_pid >/dev/null; then
        wait_until kms "$kms_word" 180 kms_ready
        [ "$(<"$kms/port")" = "$kms_port" ] ||
            fail "kms runs on port $(<"$kms/port"), not $kms_port: tests/stack down kms, then up"
        already kms
        return
    fi
    mkdir -p "$kms/data"
    ports_are_free LEDGERLINE_STACK_KMS_PORT "$kms_port"
    step "kms: Python packages" kms_packages
    step "kms: server on 127.0.0.1:$kms_port" kms_start
}

kms_is_python() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 13))' >/dev/null 2>&1; }

# Prints a Python 3.13: that of the PATH, or one that pyenv has, or Debian's where Debian has one.
kms_python() {
    local found
    for found in python3.13 python3 "$(pyenv prefix 3.13 2>/dev/null || true)/bin/python3.13"; do
        if kms_is_python "$found"; then
            printf '%s' "$found"
            return
        fi
    done
    return 1
}

kms_packages() {
    local wanted=$native/kms/requirements.txt python
    ! cmp -s "$wanted" "$kms/venv/installed.txt" || return 0
    if ! python=$(kms_python); then
        if as_root apt-get update -q >/dev/null 2>&1 && apt-cache show python3.13-venv >/dev/null 2>&1; then
            install_package python3.13 python3.13-venv
        fi
        python=$(kms_python) ||
            fail "kms needs Python 3.13, and neither the PATH nor pyenv nor apt-get has it: install it (pyenv install 3.13), then run this again"
    fi
    rm -rf "$kms/venv"
    "$python" -m venv "$kms/venv" >"$kms/pip.log" 2>&1 &&
        "$kms_word" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" >>"$kms/pip.log" 2>&1 ||
        fail_with_log "the Python packages of kms could not be installed" "$kms/pip.log" "see that pip reaches its index, then run this again"
    cp "$wanted" "$kms/venv/installed.txt"
}

kms_start() {
    printf '%s\n' "$kms_port" >"$kms/port"
    # No usage report, no certificate to download, no name server of its own: it talks to nobody. Its other gateway server listens on all addresses.
    start kms "$kms_word" env GATEWAY_LISTEN="127.0.0.1:$kms_port" SERVICES=s3,kms STRICT_SERVICE_LOADING=1 EAGER_SERVICE_LOADING=1 GATEWAY_SERVER=hypercorn \
        DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 DNS_ADDRESS=0 FILESYSTEM_ROOT="$kms/data" \
        "$kms_word" -m localstack.runtime.main
    wait_until kms "$kms_word" 180 kms_ready
}

kms_ready() { answers "$(<"$kms/port")" /_localstack/health; }

kms_down() { stop kms "$kms_word"; }

kms_env() {
    export_line LEDGERLINE_STACK_KMS_URL "http://127.0.0.1:$(<"$kms/port")"
    export_line LEDGERLINE_STACK_KMS_PID "$(kms_pid)"
}
