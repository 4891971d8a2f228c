-- Keys of the API that `ledgerline keys-api` issues, and what holds for all keys of a tenant. No part of the read model: none of it can be had anew, and
-- `index rebuild` does not touch it.
--
-- Names are unqualified: the search path is ledgerline_keys. Times are milliseconds since 1970 by this server's clock, whichever instance asks.
--
-- What is kept of a key is its HMAC-SHA256 under a pepper that is not in this database: who has read the table can neither use a key nor try whether one is right.
CREATE TABLE api_key (
    -- The part of the key that is no secret, and by which it is found.
    id text COLLATE "C" PRIMARY KEY,
    -- NULL: the key is no tenant's.
    tenant_id text COLLATE "C",
    scopes text[] NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    pepper_version integer NOT NULL,
    -- Networks that it may be used from. NULL: from everywhere.
    networks text[],
    -- Limits of its own, as BURST:PER_SECOND. NULL: its tenant's.
    limit_default text,
    limit_writes text,
    limit_webhooks text,
    created_ms bigint NOT NULL,
    -- For how long a key lives that is made; one that is made in its place lives as long.
    lives_ms bigint,
    -- From then on it is none. Rotation sets it to the overlap's end.
    expires_ms bigint,
    revoked_ms bigint,
    rotated_from text COLLATE "C" REFERENCES api_key (id),
    -- Within two minutes.
    last_used_ms bigint,
    -- When anything of it was altered that a request must know of; NULL since it was made. Instances look again and again for what changed lately.
    changed_ms bigint
);
CREATE INDEX api_key_tenant ON api_key (tenant_id, created_ms);
CREATE INDEX api_key_changed ON api_key (changed_ms) WHERE changed_ms IS NOT NULL;

CREATE TABLE tenant (
    id text COLLATE "C" PRIMARY KEY,
    -- Networks that its issued keys may be used from. NULL: from everywhere.
    networks text[],
    changed_ms bigint NOT NULL
);

-- What was done here, on its way into the ledger of the tenant that it concerns: written with the deed in one transaction, appended to the log by an instance
-- that serves the API, and then taken away. It is an event whole, so that appending it twice seals it once.
CREATE TABLE act (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL,
    event text NOT NULL,
    -- Until then others leave it to whoever took it.
    held_until_ms bigint NOT NULL DEFAULT 0
);
