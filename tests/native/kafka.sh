# One Kafka broker. Sourced by tests/stack.

kafka=$stack/kafka
kafka_port=${LEDGERLINE_STACK_KAFKA_PORT:-19092}
kafka_word=-Dledgerline.stack=$kafka
kafka_user=ledgerline
# The ports in the order in which they follow on the first.
kafka_listeners=(PLAINTEXT CONTROLLER SASL_PLAINTEXT SASL_SSL SSL PROXIED)
# PROXIED names the port behind the last as its address: a test's own proxy listens there, or nobody.
kafka_proxy_port=$((kafka_port + ${#kafka_listeners[@]}))

kafka_about() { printf 'first of %s ports' "${#kafka_listeners[@]}"; }
kafka_pid() { pid_of kafka "$kafka_word"; }

kafka_up() {
    if kafka_pid >/dev/null; then
        # Another `up` may have been killed between the start and here.
        wait_until kafka "$kafka_word" 120 kafka_ready
        [ "$(<"$kafka/port")" = "$kafka_port" ] ||
            fail "kafka runs on port $(<"$kafka/port"), not $kafka_port: tests/stack down kafka, then up"
        already kafka
        return
    fi
    mkdir -p "$kafka/tmp"
    local i ports=()
    for i in "${!kafka_listeners[@]}"; do ports+=($((kafka_port + i))); done
    ports_are_free LEDGERLINE_STACK_KAFKA_PORT "${ports[@]}"
    need java default-jre-headless
    need openssl openssl
    kafka_has_jars || need mvn maven
    step "kafka: jars" kafka_jars
    step "kafka: certificates" kafka_certificates
    step "kafka: configuration" kafka_configure
    step "kafka: data directory" kafka_format
    step "kafka: broker on 127.0.0.1:$kafka_port" kafka_start
}

# Jars of another pom are not ours any more.
kafka_has_jars() { cmp -s "$native/kafka/pom.xml" "$kafka/lib/pom.xml"; }

kafka_jars() {
    ! kafka_has_jars || return 0
    collect kafka "$kafka/lib.new"
    cp "$native/kafka/pom.xml" "$kafka/lib.new/pom.xml"
    rm -rf "${kafka:?}/lib" && mv "$kafka/lib.new" "$kafka/lib"
}

kafka_certificates() {
    [ ! -e "$kafka/tls/made" ] || return 0
    rm -rf "$kafka/tls" && mkdir -m 700 "$kafka/tls"
    (cd "$kafka/tls" && kafka_make_certificates) >"$kafka/tls.log" 2>&1 ||
        fail_with_log "openssl made no certificates" "$kafka/tls.log" "see what it says above"
}

kafka_make_certificates() {
    local config=$native/kafka/tls.cnf
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -config "$config" -extensions ca -keyout ca.key -out ca.pem &&
        kafka_certificate broker 127.0.0.1 && kafka_certificate client "$kafka_user" &&
        cat broker.key broker.crt >broker.pem && touch made
}

# kafka_certificate KIND COMMON_NAME
kafka_certificate() {
    openssl req -new -newkey rsa:2048 -nodes -config "$config" -subj "/CN=$2" -keyout "$1.key" -out "$1.csr" &&
        openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 \
            -extfile "$config" -extensions "$1" -out "$1.crt"
}

kafka_configure() {
    local text i
    [ -s "$kafka/password" ] || (umask 077 && random_hex >"$kafka/password")
    text=$(<"$native/kafka/server.properties.in")
    for i in "${!kafka_listeners[@]}"; do
        text=${text//"@PORT_${kafka_listeners[i]}@"/"$((kafka_port + i))"}
    done
    text=${text//@PORT_PROXY@/"$kafka_proxy_port"}
    text=${text//@DIR@/"$kafka"}
    text=${text//@USERNAME@/"$kafka_user"}
    text=${text//@PASSWORD@/"$(<"$kafka/password")"}
    (umask 077 && printf '%s\n' "$text" >"$kafka/server.properties")
    printf '%s\n' "$kafka_port" >"$kafka/port"
}

# A format that was cut short leaves no "formatted", and is begun again.
kafka_format() {
    [ ! -e "$kafka/data/formatted" ] || return 0
    rm -rf "$kafka/data"
    local id user
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
    user="[name=$kafka_user,password=$(<"$kafka/password")]"
    kafka_java -Xmx128m kafka.tools.StorageTool format --cluster-id "A${id:1}" --config "$kafka/server.properties" \
        --add-scram "SCRAM-SHA-256=$user" --add-scram "SCRAM-SHA-512=$user" >"$kafka/format.log" 2>&1 ||
        fail_with_log "the data directory could not be formatted" "$kafka/format.log" "tests/stack reset kafka, then up"
    touch "$kafka/data/formatted"
}

kafka_java() {
    java -Dlog4j2.configurationFile="$native/kafka/log4j2.yaml" -Djava.io.tmpdir="$kafka/tmp" -XX:+UseSerialGC -cp "$kafka/lib/*" "$@"
}

kafka_start() {
    start kafka "$kafka_word" java "$kafka_word" -Xms128m -Xmx512m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError \
        -Dlog4j2.configurationFile="$native/kafka/log4j2.yaml" -Djava.io.tmpdir="$kafka/tmp" \
        -cp "$kafka/lib/*" kafka.Kafka "$kafka/server.properties"
    wait_until kafka "$kafka_word" 120 kafka_ready
}

kafka_ready() {
    grep -q 'Kafka Server started' "$kafka/log" 2>/dev/null && listens "$(<"$kafka/port")"
}

kafka_down() { stop kafka "$kafka_word"; }

kafka_env() {
    local port
    port=$(<"$kafka/port")
    export_line LEDGERLINE_TEST_KAFKA "127.0.0.1:$port"
    export_line LEDGERLINE_TEST_KAFKA_SASL_PLAINTEXT "127.0.0.1:$((port + 2))"
    export_line LEDGERLINE_TEST_KAFKA_SASL_SSL "127.0.0.1:$((port + 3))"
    export_line LEDGERLINE_TEST_KAFKA_SSL "127.0.0.1:$((port + 4))"
    export_line LEDGERLINE_TEST_KAFKA_PROXIED "127.0.0.1:$((port + 5))"
    export_line LEDGERLINE_TEST_KAFKA_PROXY "127.0.0.1:$((port + ${#kafka_listeners[@]}))"
    export_line LEDGERLINE_TEST_KAFKA_USERNAME "$kafka_user"
    export_line LEDGERLINE_TEST_KAFKA_PASSWORD "$(<"$kafka/password")"
    export_line LEDGERLINE_TEST_KAFKA_CA "$kafka/tls/ca.pem"
    export_line LEDGERLINE_TEST_KAFKA_CERTIFICATE "$kafka/tls/client.crt"
    export_line LEDGERLINE_TEST_KAFKA_KEY "$kafka/tls/client.key"
    export_line LEDGERLINE_TEST_KAFKA_PID "$(kafka_pid)"
}
