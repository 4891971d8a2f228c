# One worker of Kafka Connect, with Debezium's connector for PostgreSQL. Sourced by tests/stack.

connect=$stack/connect
connect_port=${LEDGERLINE_STACK_CONNECT_PORT:-19183}
connect_word=-Dledgerline.stack=$connect
connect_user=ledgerline_connect
# Or "disabled", to see what a worker sends again: a connector's own exactly.once.support only says what it asks of its worker.
connect_exactly_once=${LEDGERLINE_STACK_CONNECT_EXACTLY_ONCE:-enabled}

connect_about() { printf 'HTTP'; }
connect_pid() { pid_of connect "$connect_word"; }

connect_up() {
    if connect_pid >/dev/null; then
        wait_until connect "$connect_word" 180 connect_ready
        [ "$(<"$connect/port")" = "$connect_port" ] ||
            fail "connect runs on port $(<"$connect/port"), not $connect_port: tests/stack down connect, then up"
        already connect
        return
    fi
    # It keeps what it knows in Kafka, and does not start without. It brings jars of Kafka's too.
    if ! kafka_pid >/dev/null || ! kafka_ready; then kafka_up; fi
    mkdir -p "$connect/tmp" "$connect/data"
    ports_are_free LEDGERLINE_STACK_CONNECT_PORT "$connect_port"
    connect_has_plugins || need mvn maven
    step "connect: plugins" connect_plugins
    step "connect: configuration" connect_configure
    step "connect: worker on 127.0.0.1:$connect_port" connect_start
}

connect_has_plugins() { cmp -s "$native/connect/pom.xml" "$connect/plugins/pom.xml"; }

# A directory each: the connector out of its archive, and the converter, whose classes the worker finds at once (service_load)
# only by a list, which its jars do not have and Kafka's tool makes.
connect_plugins() {
    ! connect_has_plugins || return 0
    rm -rf "$connect/plugins" "$connect/plugins.new"
    collect connect "$connect/plugins.new/converter"
    tar -xzf "$connect"/plugins.new/converter/*.tar.gz -C "$connect/plugins.new"
    rm "$connect"/plugins.new/converter/*.tar.gz
    kafka_java -Xmx256m org.apache.kafka.tools.ConnectPluginPath sync-manifests --plugin-location "$connect/plugins.new/converter" \
        >"$connect/manifests.log" 2>&1 ||
        fail_with_log "the plugins could not be listed" "$connect/manifests.log" "see what it says above"
    cp "$native/connect/pom.xml" "$connect/plugins.new/pom.xml"
    mv "$connect/plugins.new" "$connect/plugins"
}

connect_configure() {
    local text
    # Its group and topics bear this name, so that a worker whose data was reset knows nothing of the connectors before.
    [ -s "$connect/data/name" ] || printf 'connect-%s\n' "$(random_hex)" >"$connect/data/name"
    [ -s "$connect/password" ] || (umask 077 && random_hex >"$connect/password")
    text=$(<"$native/connect/worker.properties.in")
    text=${text//@PORT@/"$connect_port"}
    text=${text//@DIR@/"$connect"}
    text=${text//@NAME@/"$(<"$connect/data/name")"}
    text=${text/exactly.once.source.support=enabled/"exactly.once.source.support=$connect_exactly_once"}
    text=${text//@KAFKA@/"127.0.0.1:$(<"$kafka/port")"}
    printf '%s\n' "$text" >"$connect/worker.properties"
    printf '%s\n' "$connect_port" >"$connect/port"
}

# What connectors may name as ${env:..}, which keeps the password out of their configuration and off the command line.
connect_start() {
    local database_port=$postgres_port
    # Where it is up already, it may have been given another.
    ! postgres_pid >/dev/null || database_port=$(<"$postgres/port")
    (
        export LEDGERLINE_POSTGRES_HOST=127.0.0.1 LEDGERLINE_POSTGRES_PORT=$database_port
        export LEDGERLINE_POSTGRES_SSLMODE=disable LEDGERLINE_POSTGRES_DATABASE=$postgres_database LEDGERLINE_POSTGRES_USER=$connect_user
        LEDGERLINE_POSTGRES_PASSWORD=$(<"$connect/password")
        export LEDGERLINE_POSTGRES_PASSWORD
        start connect "$connect_word" java "$connect_word" -Xms128m -Xmx512m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError \
            -Dlog4j2.configurationFile="$native/kafka/log4j2.yaml" -Djava.io.tmpdir="$connect/tmp" \
            -cp "$kafka/lib/*" org.apache.kafka.connect.cli.ConnectDistributed "$connect/worker.properties"
    )
    wait_until connect "$connect_word" 180 connect_ready
}

# It answers so when it has read its topics and joined its group: from then on it takes connectors.
connect_ready() { answers "$(<"$connect/port")" /health; }

connect_down() { stop connect "$connect_word"; }

connect_env() {
    export_line LEDGERLINE_STACK_CONNECT_URL "http://127.0.0.1:$(<"$connect/port")"
    # The role that it expects in the database: connectors/postgres.sql makes it.
    export_line LEDGERLINE_STACK_CONNECT_USERNAME "$connect_user"
    export_line LEDGERLINE_STACK_CONNECT_PASSWORD "$(<"$connect/password")"
    export_line LEDGERLINE_STACK_CONNECT_PID "$(connect_pid)"
}
