//! What each metric means, as `/metrics` says it. Those of Kafka's client are in [`crate::log::kafka::statistics`].

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

type Described = (&'static str, Unit, &'static str);

const COUNTERS: [Described; 33] = [
    (
        "ledgerline_api_key_lookups_total",
        Unit::Count,
        "Ids of issued keys that the database was asked for, by outcome: found, absent, away (it did not say)",
    ),
    (
        "ledgerline_api_acts_total",
        Unit::Count,
        "What was done to keys and tenants, on its way into the ledger, by outcome: appended, later (the log did not take it)",
    ),
    (
        "ledgerline_api_rate_limited_total",
        Unit::Count,
        "Requests that were answered 429 rate_limited, by class of routes",
    ),
    (
        "ledgerline_api_rate_uncounted_total",
        Unit::Count,
        "Requests that were let in uncounted, since there was no room for another token bucket",
    ),
    (
        "ledgerline_api_network_refused_total",
        Unit::Count,
        "Requests whose key may not be used from where they came, by reason: outside its networks, or its allowlist, or the address behind a trusted proxy, cannot be read",
    ),
    (
        "ledgerline_api_network_failed_open_total",
        Unit::Count,
        "Requests that IP_ALLOWLIST_FAIL_OPEN let in, by what could not be read: the allowlist, or the address behind a trusted proxy",
    ),
    (
        "ledgerline_api_refused_connections_total",
        Unit::Count,
        "Connections that were closed at once, since their address had its share of those without a known key",
    ),
    (
        "ledgerline_api_requests_total",
        Unit::Count,
        "Requests of the API that were answered, by route and status",
    ),
    (
        "ledgerline_api_submitted_records_total",
        Unit::Count,
        "Events of POST /v1/events, by outcome: accepted, refused, later (nothing was written), unknown",
    ),
    (
        "ledgerline_sealed_records_total",
        Unit::Count,
        "Records sealed, by kind of leaf",
    ),
    (
        "ledgerline_rejected_records_total",
        Unit::Count,
        "Inputs rejected, by code",
    ),
    (
        "ledgerline_captured_records_total",
        Unit::Count,
        "Records of captured topics that were worked on, by outcome: event, or one of which nothing is to be sealed (tombstone, heartbeat, transaction)",
    ),
    (
        "ledgerline_capture_refused_total",
        Unit::Count,
        "Records of captured topics that are no event by their mapping, and are sealed as rejected, by code",
    ),
    (
        "ledgerline_dead_letters_total",
        Unit::Count,
        "Letters written to ledger.dead-letters, by code",
    ),
    (
        "ledgerline_checkpoints_signed_total",
        Unit::Count,
        "Checkpoints signed and stored in the log",
    ),
    (
        "ledgerline_kms_requests_total",
        Unit::Count,
        "Requests to KMS, each attempt, by operation and outcome: ok, throttled, disabled, denied, missing, unfit, unreachable",
    ),
    (
        "ledgerline_wrong_signatures_total",
        Unit::Count,
        "Signatures that KMS gave and that were not by the key asked for; nothing of them is published",
    ),
    (
        "ledgerline_archived_objects_total",
        Unit::Count,
        "Objects created in the archive",
    ),
    (
        "ledgerline_archived_bytes_total",
        Unit::Bytes,
        "Bytes of objects created in the archive",
    ),
    (
        "ledgerline_twin_failures_total",
        Unit::Count,
        "Segments that have no Parquet twin although --archive-parquet is set, by reason",
    ),
    (
        "ledgerline_s3_requests_total",
        Unit::Count,
        "Calls of the archiver to S3, by operation and outcome: ok, absent, exists, later (not done now), unknown (no answer, or a broken one), refused",
    ),
    (
        "ledgerline_archive_forks_total",
        Unit::Count,
        "Archive objects that exist with other content",
    ),
    (
        "ledgerline_scrubbed_objects_total",
        Unit::Count,
        "Versions of the archive's objects whose names and locks were looked at again",
    ),
    (
        "ledgerline_scrubbed_bytes_total",
        Unit::Bytes,
        "Stored bytes of the archive that were verified again",
    ),
    (
        "ledgerline_read_model_checked_rows_total",
        Unit::Count,
        "Rows of the read model that were held against their leaves",
    ),
    (
        "ledgerline_scrub_retries_total",
        Unit::Count,
        "Steps of the scrub that failed and are tried again",
    ),
    (
        "ledgerline_stage_retries_total",
        Unit::Count,
        "Steps that failed and are tried again, by stage",
    ),
    (
        "ledgerline_skipped_records_total",
        Unit::Count,
        "Records that the acceptance rule skips, by reason",
    ),
    (
        "ledgerline_commit_failures_total",
        Unit::Count,
        "Positions that the log did not take as a hint for lag tools",
    ),
    (
        "ledgerline_source_deleted_offsets_total",
        Unit::Count,
        "Offsets of sources that were deleted before they were sealed, by topic and partition",
    ),
    (
        "ledgerline_fences_total",
        Unit::Count,
        "Sessions that this instance began as the owner of a partition, by partition",
    ),
    (
        "ledgerline_schema_registry_requests_total",
        Unit::Count,
        "Questions to the schema registry, by outcome",
    ),
    (
        "ledgerline_verification_failures_total",
        Unit::Count,
        "What the log holds and is wrong, by stage and partition",
    ),
];

const GAUGES: [Described; 18] = [
    (
        "ledgerline_api_waited_records",
        Unit::Count,
        "Events whose senders wait for them to be sealed or signed",
    ),
    (
        "ledgerline_api_admitted_requests",
        Unit::Count,
        "Requests of the API with a known key that are under way",
    ),
    (
        "ledgerline_api_unknown_connections",
        Unit::Count,
        "Connections of the API none of whose requests had a known key yet",
    ),
    (
        "ledgerline_api_export_bytes",
        Unit::Bytes,
        "Memory that is reserved for exports, as long as they go on",
    ),
    (
        "ledgerline_api_reserved_bytes",
        Unit::Bytes,
        "Memory that is reserved for bodies and their events, four times their size, until their append has ended, and for answers until they are taken",
    ),
    (
        "ledgerline_stage_index",
        Unit::Count,
        "Index that a stage has reached, by stage and partition; of capture, the records that it captured since it began",
    ),
    (
        "ledgerline_stopped_partitions",
        Unit::Count,
        "Partitions that a stage will not go on with, by stage",
    ),
    (
        "ledgerline_unsigned_age_seconds",
        Unit::Seconds,
        "How long the oldest unsigned leaf has waited, by partition",
    ),
    (
        "ledgerline_unarchived_age_seconds",
        Unit::Seconds,
        "How long the oldest leaf that is not archived has waited, by partition",
    ),
    (
        "ledgerline_refused_holds",
        Unit::Count,
        "Holds, or ends of holds, that the archive refuses and that are tried again while archiving goes on, by partition",
    ),
    (
        "ledgerline_source_lag_records",
        Unit::Count,
        "Input that waits to be sealed, by topic and partition",
    ),
    (
        "ledgerline_stopped_sources",
        Unit::Count,
        "1 where a source is not sealed, or a captured topic not captured, until a person has looked, by topic and partition",
    ),
    (
        "ledgerline_read_model_findings",
        Unit::Count,
        "Rows and tiles of the read model that are not what the ledger says, by partition: of the last whole pass, or of the one under way where that has found more",
    ),
    (
        "ledgerline_scrub_findings",
        Unit::Count,
        "What is not as it must be in the archive, by kind and partition: of the last whole pass, or of the one under way where that has found more",
    ),
    (
        "ledgerline_scrub_completed_timestamp_seconds",
        Unit::Seconds,
        "When the archive was last scrubbed whole, or since when it was to be, by partition",
    ),
    (
        "ledgerline_scrub_interval_seconds",
        Unit::Seconds,
        "How often the archive is to be scrubbed",
    ),
    (
        "ledgerline_ledger_partitions",
        Unit::Count,
        "Partitions of the ledger, as its genesis has it",
    ),
    (
        "ledgerline_log_retention_seconds",
        Unit::Seconds,
        "How long the log keeps the records of a topic, by topic",
    ),
];

const HISTOGRAMS: [Described; 2] = [
    (
        "ledgerline_sealed_to_signed_seconds",
        Unit::Seconds,
        "How long the oldest leaf of a checkpoint had waited when it was stored",
    ),
    (
        "ledgerline_api_request_duration_seconds",
        Unit::Seconds,
        "From a request's head to the head of its answer, by route",
    ),
];

/// Gives every metric its description.
pub(super) fn describe() {
    for (name, unit, text) in COUNTERS {
        describe_counter!(name, unit, text);
    }
    for (name, unit, text) in GAUGES {
        describe_gauge!(name, unit, text);
    }
    for (name, unit, text) in HISTOGRAMS {
        describe_histogram!(name, unit, text);
    }
    crate::log::kafka::statistics::describe();
}
