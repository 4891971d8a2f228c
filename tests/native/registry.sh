# One schema registry (Apicurio), which answers as Confluent's does too. It keeps everything in memory. Sourced by tests/stack.

registry=$stack/registry
registry_port=${LEDGERLINE_STACK_REGISTRY_PORT:-19181}
registry_word=-Dledgerline.stack=$registry

registry_about() { printf 'HTTP'; }
registry_pid() { pid_of registry "$registry_word"; }

registry_up() {
    if registry_pid >/dev/null; then
        wait_until registry "$registry_word" 180 registry_ready
        [ "$(<"$registry/port")" = "$registry_port" ] ||
            fail "registry runs on port $(<"$registry/port"), not $registry_port: tests/stack down registry, then up"
        already registry
        return
    fi
    mkdir -p "$registry/tmp"
    ports_are_free LEDGERLINE_STACK_REGISTRY_PORT "$registry_port"
    need java default-jre-headless
    registry_has_jars || need mvn maven
    step "registry: jars" registry_jars
    step "registry: server on 127.0.0.1:$registry_port" registry_start
}

registry_has_jars() { cmp -s "$native/registry/pom.xml" "$registry/lib/pom.xml"; }

registry_jars() {
    ! registry_has_jars || return 0
    collect registry "$registry/archive"
    rm -rf "${registry:?}/lib" "$registry/lib.new" && mkdir "$registry/lib.new"
    tar -xzf "$registry"/archive/*.tar.gz -C "$registry/lib.new"
    cp "$native/registry/pom.xml" "$registry/lib.new/pom.xml"
    rm -rf "$registry/archive" && mv "$registry/lib.new" "$registry/lib"
}

registry_start() {
    printf '%s\n' "$registry_port" >"$registry/port"
    # It says in its log what it cannot reach outside; nothing there is needed.
    start registry "$registry_word" java "$registry_word" -Xms64m -Xmx384m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError \
        -Djava.io.tmpdir="$registry/tmp" -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$registry_port" \
        -jar "$registry"/lib/apicurio-registry-app-*-runner.jar
    wait_until registry "$registry_word" 180 registry_ready
}

registry_ready() { answers "$(<"$registry/port")" /apis/ccompat/v7/subjects; }

registry_down() { stop registry "$registry_word"; }

registry_env() {
    local port
    port=$(<"$registry/port")
    export_line LEDGERLINE_STACK_REGISTRY_URL "http://127.0.0.1:$port/apis/ccompat/v7"
    export_line LEDGERLINE_STACK_REGISTRY_APICURIO_URL "http://127.0.0.1:$port/apis/registry/v2"
    export_line LEDGERLINE_STACK_REGISTRY_PID "$(registry_pid)"
}
