# One Prometheus, from the Debian package, unpacked and started by hand. Sourced by tests/stack.

prometheus=$stack/prometheus
prometheus_port=${LEDGERLINE_STACK_PROMETHEUS_PORT:-19190}
prometheus_word=--storage.tsdb.path=$prometheus/data

prometheus_about() { printf 'HTTP'; }
prometheus_pid() { pid_of prometheus "$prometheus_word"; }

prometheus_up() {
    if prometheus_pid >/dev/null; then
        wait_until prometheus "$prometheus_word" 60 prometheus_ready
        [ "$(<"$prometheus/port")" = "$prometheus_port" ] ||
            fail "prometheus runs on port $(<"$prometheus/port"), not $prometheus_port: tests/stack down prometheus, then up"
        already prometheus
        return
    fi
    mkdir -p "$prometheus/targets"
    ports_are_free LEDGERLINE_STACK_PROMETHEUS_PORT "$prometheus_port"
    step "prometheus: package" prometheus_package
    step "prometheus: configuration" prometheus_configure
    step "prometheus: server on 127.0.0.1:$prometheus_port" prometheus_start
}

# Prefers an installed one. `tests/stack env` names promtool, which is in the same place.
prometheus_bin() {
    if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
        dirname "$(command -v prometheus)"
    else
        printf '%s' "$prometheus/package/usr/bin"
    fi
}

prometheus_package() {
    [ -x "$(prometheus_bin)/promtool" ] && return
    mkdir -p "$prometheus"
    unpack prometheus "$prometheus/package"
}

prometheus_configure() {
    local text
    text=$(<"$native/prometheus/prometheus.yml.in")
    text=${text//@ROOT@/"$root"}
    text=${text//@DIR@/"$prometheus"}
    printf '%s\n' "$text" >"$prometheus/prometheus.yml"
    printf '%s\n' "$prometheus_port" >"$prometheus/port"
}

prometheus_start() {
    start prometheus "$prometheus_word" "$(prometheus_bin)/prometheus" "$prometheus_word" --storage.tsdb.retention.time=1d --web.enable-lifecycle \
        --config.file="$prometheus/prometheus.yml" --web.listen-address="127.0.0.1:$prometheus_port"
    wait_until prometheus "$prometheus_word" 60 prometheus_ready
}

prometheus_ready() {
    grep -q 'Server is ready to receive web requests' "$prometheus/log" 2>/dev/null && listens "$(<"$prometheus/port")"
}

prometheus_down() { stop prometheus "$prometheus_word"; }

prometheus_env() {
    export_line LEDGERLINE_TEST_PROMETHEUS "127.0.0.1:$(<"$prometheus/port")"
    export_line LEDGERLINE_TEST_PROMETHEUS_TARGETS "$prometheus/targets"
    export_line LEDGERLINE_TEST_PROMTOOL "$(prometheus_bin)/promtool"
}
