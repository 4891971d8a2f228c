"""Where docker-compose.yml and the native stack are not the same, and why. All else of the two is equal, in both directions: a setting that only one of them has
fails, and so does one that is named here and differs no more.
"""

PLACE = "where something is, or what it is called there"
LOGIN = "clients that log in, or speak TLS: the network of the containers has neither"
SMALL = "memory and disk of a machine that runs all tests; nothing is decided by it"
SOON = "so that a test which kills a broker or a member need not wait; a container is not killed for a test"

VERSIONS = {
    "postgres": "Debian's archive has one minor version of 15, the newest, so that no older one can be installed on purpose, and the image is given out on days of its own: the major version and the release of Debian are compared",
    "prometheus": "Debian has one version for each of its releases, which it builds anew (2.42.0+ds): on the release of the images it is compared whole; on another the package cannot be of that version, and the major one is compared, by which rules and configuration are read",
    "kms": "LocalStack's image and its package are numbered otherwise, and no image is to be had without a login that is of the package's number: both are pinned, and PINNED says which two go together",
}
# Versions that are pinned on both sides and are not equal: the image's, the package's. Who alters one looks at the other.
PINNED = {"kms": ("4.12.0", "2026.3.0")}
# Services of one that the other has not.
SERVICES = {
    "connectors": "gives the worker its connectors; each test gives it its own",
    "topics": "`ledgerline topics apply`, which each test calls itself",
    "archive": "makes bucket, user and key, which the scripts of the native stack do; tests/capture runs its program against the native servers",
    "ledgerline": "is what is tested",
}
BROKER = {
    "controller.quorum.voters": PLACE,
    "listeners": PLACE,
    "advertised.listeners": PLACE,
    "listener.security.protocol.map": PLACE,
    "log.dirs": PLACE,
    "sasl.enabled.mechanisms": LOGIN,
    "listener.name.sasl_plaintext.plain.sasl.jaas.config": LOGIN,
    "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": LOGIN,
    "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": LOGIN,
    "listener.name.sasl_ssl.plain.sasl.jaas.config": LOGIN,
    "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": LOGIN,
    "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": LOGIN,
    "ssl.keystore.type": LOGIN,
    "ssl.keystore.location": LOGIN,
    "ssl.truststore.type": LOGIN,
    "ssl.truststore.location": LOGIN,
    "listener.name.ssl.ssl.client.auth": LOGIN,
    "listener.name.sasl_ssl.ssl.client.auth": LOGIN,
    "offsets.topic.num.partitions": SMALL,
    "transaction.state.log.num.partitions": SMALL,
    "share.coordinator.state.topic.num.partitions": SMALL,
    "log.cleaner.dedupe.buffer.size": SMALL,
    "group.min.session.timeout.ms": SOON,
    "group.consumer.min.session.timeout.ms": SOON,
    "group.consumer.min.heartbeat.interval.ms": SOON,
    "broker.heartbeat.interval.ms": SOON,
    "broker.session.timeout.ms": SOON,
}
WORKER = dict.fromkeys(
    (
        "bootstrap.servers",
        "listeners",
        "rest.advertised.host.name",
        "rest.advertised.port",
        "plugin.path",
        "group.id",
        "config.storage.topic",
        "offset.storage.topic",
        "status.storage.topic",
    ),
    PLACE,
)
POSTGRES = {
    "listen_addresses": PLACE,
    "port": PLACE,
    "unix_socket_directories": PLACE,
    "fsync": "a killed process loses nothing by it, only a machine without power would: that is one that somebody may keep data on",
    "full_page_writes": "as fsync",
    "shared_buffers": SMALL,
    "max_connections": SMALL,
    "timezone": "UTC in the image too, by its environment",
    "log_timezone": "as timezone",
    "log_line_prefix": "how its log looks",
    "lc_messages": "as what language its log is in",
    "datestyle": "Debezium and `import` set what they read in themselves, each in its session",
    "intervalstyle": "as datestyle",
}
# Of initdb.
DATABASE = {"--auth": "within its container everybody is trusted by the image, and logs in from elsewhere"}
JAVA = {"-XX:+UseSerialGC": "the scripts of the images choose another collector, and two are refused"}
STORE = {
    "--port": PLACE,
    "--iam-cache-disable": "a test changes what a user may do from one request to the next",
    "--quiet": "how its log looks",
}
KEYS = {
    "GATEWAY_LISTEN": PLACE,
    "FILESYSTEM_ROOT": PLACE,
    "SERVICES": "some tests ask LocalStack's S3 too, of which versitygw has no like; that both start KMS is compared",
    "EAGER_SERVICE_LOADING": "so that the first test does not wait for it",
    "GATEWAY_SERVER": "the image has its own",
    "SKIP_SSL_CERT_DOWNLOAD": "a package talks to nobody; what the image may fetch is its user's to say",
    "DNS_ADDRESS": "as SKIP_SSL_CERT_DOWNLOAD",
}
PROMETHEUS = {
    "--storage.tsdb.path": PLACE,
    "--config.file": PLACE,
    "--web.listen-address": PLACE,
    "--storage.tsdb.retention.time": SMALL,
    "--web.enable-lifecycle": "a test may have it read its rules again",
    "scrape_interval": "a test does not wait for five seconds",
    "evaluation_interval": "as scrape_interval",
    "file_sd_configs": "a test puts its targets into a file",
    "static_configs": "the one target of the containers has a name",
}
