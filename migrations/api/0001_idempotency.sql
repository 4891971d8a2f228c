-- Requests of POST /v1/events that have an Idempotency-Key. No part of the read model: it cannot be had anew, and `index rebuild` does not touch it.
--
-- Names are unqualified: the search path is ledgerline_api. Times are milliseconds since 1970 by this server's clock, whichever instance asks.
CREATE TABLE idempotency (
    tenant_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    body_sha256 bytea NOT NULL,
    -- Event ids that were not sent are made of these two, so that they are the same when the request comes again.
    seed bytea NOT NULL CHECK (octet_length(seed) = 16),
    created_ms bigint NOT NULL,
    -- Who works on it, and until when others leave it to him.
    attempt bytea NOT NULL,
    held_until_ms bigint NOT NULL,
    -- The log has the events.
    done boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_created ON idempotency (created_ms);
