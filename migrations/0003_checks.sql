-- What the checks of the rows ask for, what outlives a month, and an index for a filter that had none. Readers go on while it is made: no statement here asks for more than
-- that nobody writes.

-- An index over years of rows takes longer than a statement may.
SET LOCAL statement_timeout = 0;

-- The leaves that declare keys, also of months that were let go of: without them nobody here could say whose signature a checkpoint has.
CREATE TABLE key_leaves (
    partition integer NOT NULL,
    leaf_index bigint NOT NULL,
    leaf bytea NOT NULL,
    PRIMARY KEY (partition, leaf_index)
);
GRANT SELECT ON key_leaves TO ledgerline_auditor;

-- An actor's type alone, in order of sequence.
CREATE INDEX leaves_actor_type ON leaves (tenant_id, actor_type, sequence) WHERE kind = 'entry';
-- The targets of an entry, for whoever holds them against its event.
CREATE INDEX targets_sequence ON targets (tenant_id, sequence);

-- From every month's own table, also from one that was detached and is still there; the owner sees nothing through `leaves`. Behind the indexes, whose making keeps writers
-- away. The index leaves_keys is asked for here, and by nothing else from now on: it holds a few rows, and to drop it would keep readers away.
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT oid::regclass FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname ~ '^leaves_[0-9]{4}_[0-9]{2}$'
    LOOP
        EXECUTE format(
            'INSERT INTO key_leaves SELECT partition, leaf_index, leaf FROM %s WHERE kind IN (''genesis'', ''key'') ON CONFLICT DO NOTHING', part);
    END LOOP;
END
$$;
