-- The read model: what `ledger.entries` holds, in tables. Nothing here is truth; docs/READ_MODEL.md says how it is had anew.
--
-- Names are unqualified: the search path says which copy is meant, the one that is read (schema ledgerline) or the one that is being built beside it
-- (ledgerline_next). Swapping is a renaming of schemas.

-- Who reads: the API in a tenant's name, and in an auditor's. They own nothing and may write nothing. Roles belong to the whole server.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['ledgerline_reader', 'ledgerline_auditor'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            END IF;
        EXCEPTION
            -- Another database of this server makes it at the same moment.
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
        BEGIN
            IF NOT pg_has_role(current_user, name, 'MEMBER') THEN
                EXECUTE format('GRANT %I TO current_user', name);
            END IF;
        EXCEPTION
            WHEN unique_violation THEN NULL;
        END;
    END LOOP;
END
$$;

-- Where the index stage goes on, in the transaction that holds the rows up to there. Its row is the fence: who writes locks it, and finds it where he left it.
CREATE TABLE positions (
    partition integer PRIMARY KEY CHECK (partition >= 0),
    origin text NOT NULL,
    -- The reader's position in ledger.entries: offset, epoch, session, index.
    log_offset bigint NOT NULL,
    epoch bigint NOT NULL,
    session bytea NOT NULL,
    next_index bigint NOT NULL,
    -- The next offset of ledger.checkpoints.
    checkpoints_offset bigint NOT NULL DEFAULT 0,
    -- sealed_at of the last row, in microseconds since 1970.
    sealed_at bigint NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT now()
);

-- One row a leaf of every kind. An entry has all columns. `leaf` and `canonical_event_json` are the bytes that were hashed, everything else follows from them.
CREATE TABLE leaves (
    -- The month of sealed_at, UTC: what rows are kept and let go by.
    month date NOT NULL,
    partition integer NOT NULL,
    leaf_index bigint NOT NULL,
    -- Microseconds since 1970, as a leaf has it.
    sealed_at bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    leaf bytea NOT NULL,
    tenant_id text COLLATE "C",
    sequence bigint,
    entry_hash bytea,
    event_id text COLLATE "C",
    -- Microseconds since 1970, rounded down; what was sent stands in the event.
    occurred_at bigint,
    action text COLLATE "C",
    actor_type text COLLATE "C",
    actor_id text COLLATE "C",
    canonical_event_json bytea,
    PRIMARY KEY (partition, leaf_index, month),
    CHECK ((kind = 'entry') = (sequence IS NOT NULL AND tenant_id IS NOT NULL AND entry_hash IS NOT NULL AND canonical_event_json IS NOT NULL))
) PARTITION BY RANGE (month);


CREATE UNIQUE INDEX leaves_sequence ON leaves (tenant_id, sequence, month) WHERE kind = 'entry';
CREATE INDEX leaves_event_id ON leaves (tenant_id, event_id) WHERE kind = 'entry';
CREATE INDEX leaves_action ON leaves (tenant_id, action, sequence) WHERE kind = 'entry';
CREATE INDEX leaves_actor ON leaves (tenant_id, actor_id, sequence) WHERE kind = 'entry';
CREATE INDEX leaves_occurred_at ON leaves (tenant_id, occurred_at) WHERE kind = 'entry';

-- What an entry is about, one row a target: `targets[].id`.
CREATE TABLE targets (
    month date NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    target_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (tenant_id, target_id, sequence, month)
) PARTITION BY RANGE (month);

-- Which sequences of a tenant, and which leaves of a partition, stand in which month: a look-up by number opens one month's table and no other.
CREATE TABLE tenant_months (
    tenant_id text COLLATE "C" NOT NULL,
    month date NOT NULL,
    partition integer NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    -- The hash of the last entry: of the newest month it is the tenant's head.
    last_hash bytea NOT NULL,
    PRIMARY KEY (tenant_id, month)
);

CREATE TABLE partition_months (
    partition integer NOT NULL,
    month date NOT NULL,
    first_index bigint NOT NULL,
    last_index bigint NOT NULL,
    PRIMARY KEY (partition, month)
);

-- Hash tiles by https://c2sp.org/tlog-tiles. The last tile of a level grows: a narrower one is the beginning of it.
CREATE TABLE tiles (
    partition integer NOT NULL,
    level smallint NOT NULL,
    tile_index bigint NOT NULL,
    hashes bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0),
    PRIMARY KEY (partition, level, tile_index)
);
-- Hashes do not compress.
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- Signed notes as ledger.checkpoints has them, the newest of each partition.
CREATE TABLE checkpoints (
    partition integer NOT NULL,
    size bigint NOT NULL,
    note bytea NOT NULL,
    PRIMARY KEY (partition, size)
);

-- A tenant's rows are for its own name alone, also for the owner of the tables: who writes does so to the months' tables, which nobody else may touch.
ALTER TABLE leaves ENABLE ROW LEVEL SECURITY;
ALTER TABLE leaves FORCE ROW LEVEL SECURITY;
ALTER TABLE targets ENABLE ROW LEVEL SECURITY;
ALTER TABLE targets FORCE ROW LEVEL SECURITY;
ALTER TABLE tenant_months ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_months FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON leaves FOR SELECT TO ledgerline_reader USING (tenant_id = current_setting('ledgerline.tenant_id', true));
CREATE POLICY own ON targets FOR SELECT TO ledgerline_reader USING (tenant_id = current_setting('ledgerline.tenant_id', true));
CREATE POLICY own ON tenant_months FOR SELECT TO ledgerline_reader USING (tenant_id = current_setting('ledgerline.tenant_id', true));
CREATE POLICY every ON leaves FOR SELECT TO ledgerline_auditor USING (true);
CREATE POLICY every ON targets FOR SELECT TO ledgerline_auditor USING (true);
CREATE POLICY every ON tenant_months FOR SELECT TO ledgerline_auditor USING (true);
-- The index stage, which owns it, writes this one itself: it has no tables of months.
CREATE POLICY writer ON tenant_months TO CURRENT_USER USING (true) WITH CHECK (true);

GRANT SELECT ON positions, leaves, targets, tenant_months, partition_months, tiles, checkpoints TO ledgerline_reader, ledgerline_auditor;
