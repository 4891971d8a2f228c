-- What connectors/audit-logs.json and connectors/outbox.json need in a database. It may be run again: it changes only what is not so.
--
--   LEDGERLINE_POSTGRES_PASSWORD=.. psql "$DATABASE_URL" -f connectors/postgres.sql
--
-- Run it in the database that is captured, as a superuser: on PostgreSQL 15 nobody else may make a role that replicates, or change one. Names of tables and
-- columns are yours to change; change them in the connectors' `table.include.list` too.
\set ON_ERROR_STOP on
-- From the environment: on the command line everybody on the machine could read it.
\getenv password LEDGERLINE_POSTGRES_PASSWORD
\if :{?password}
\else
    \warn 'LEDGERLINE_POSTGRES_PASSWORD is not set: set it to the password that the connectors are to have'
    DO $$ BEGIN RAISE EXCEPTION 'nothing was changed'; END $$;
\endif

-- The server -------------------------------------------------------------------------------------------------------------------

-- These are the server's own settings, in postgresql.conf or your provider's console; the first two need a restart. This only looks.
DO $$
DECLARE
    used int := (SELECT count(*) FROM pg_replication_slots);
    slots int := current_setting('max_replication_slots')::int;
BEGIN
    IF current_setting('wal_level') <> 'logical' THEN
        RAISE EXCEPTION 'wal_level is %: set it to logical, and restart PostgreSQL', current_setting('wal_level');
    END IF;
    IF slots - used < 2 AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name IN ('ledgerline_audit_logs', 'ledgerline_outbox')) THEN
        RAISE WARNING 'of % replication slots % are used: each connector takes one, so raise max_replication_slots and max_wal_senders', slots, used;
    END IF;
    -- A slot keeps the log until its connector has read it. Without a limit, a connector that is forgotten fills the disk and PostgreSQL
    -- stops. With one, a slot that falls behind further is lost: `ledgerline connectors lag` says so, and what the connector has not read is missing
    -- from the capture until a new snapshot. Set it to what the longest outage of Connect that you mean to survive writes.
    IF current_setting('max_slot_wal_keep_size') = '-1' THEN
        RAISE WARNING 'max_slot_wal_keep_size is not set: a connector that does not run lets the log fill the disk';
    END IF;
END
$$;

-- The tables -------------------------------------------------------------------------------------------------------------------

-- Where they are missing. A table that you have already needs a primary key, which becomes the key of the records.
CREATE TABLE IF NOT EXISTS public.audit_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    actor_type text NOT NULL DEFAULT 'user',
    actor_id text NOT NULL,
    action text NOT NULL,
    target text,
    details jsonb
);

-- An event is inserted in the transaction that does what it tells of: both are there, or neither. The row may be deleted at once, in the
-- same transaction too, since the connector reads the log and not the table.
CREATE TABLE IF NOT EXISTS public.outbox_events (
    -- Becomes the header `id`, by which a consumer knows a repeat.
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- What the event is of, and which of these: an order, its number.
    aggregatetype text NOT NULL,
    -- Becomes the record's key: what has one key stays in order. For a chain of each tenant, put the tenant here.
    aggregateid text NOT NULL,
    type text NOT NULL,
    -- Becomes the record's value, as PostgreSQL prints it. NULL would become a record without a value, and an event without data.
    payload jsonb NOT NULL,
    -- These become headers. Whose event it is, and who did it:
    tenant_id text NOT NULL,
    actor_type text NOT NULL DEFAULT 'user',
    actor_id text NOT NULL,
    -- By what it can be found in other systems' logs and traces (W3C trace context).
    correlation_id text,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What PostgreSQL writes to its log of the OLD row at an UPDATE or DELETE:
--   DEFAULT  its primary key. An UPDATE then has no `before`. The `before` of a DELETE has the key and, in columns that may not be NULL,
--            made-up values ('' or the column's default). And what an UPDATE leaves alone of a long value (over 2 kB, stored apart: TOAST) is not
--            in `after` either, but the text __debezium_unavailable_value in its place.
--   FULL     the whole row: `before` is true, and `after` is whole. It costs log at UPDATE and DELETE only, not at INSERT.
-- Audit rows are inserted, and what is done to them later is just what an auditor asks for.
-- Of a partitioned table each partition has an identity of its own, and the table's is not theirs: so all of them are set. A partition that is made later has
-- DEFAULT: set it in the transaction that makes it (ALTER TABLE .. REPLICA IDENTITY FULL), or run this file again before a row in it is changed or deleted.
-- `ledgerline connectors lag` names those that are not FULL.
SELECT format('ALTER TABLE %s REPLICA IDENTITY FULL', oid::regclass)
FROM pg_class
WHERE oid IN (SELECT 'public.audit_logs'::regclass UNION SELECT relid FROM pg_partition_tree('public.audit_logs'))
  AND relkind IN ('r', 'p') AND relreplident <> 'f'
ORDER BY oid \gexec

-- The role ---------------------------------------------------------------------------------------------------------------------

SELECT 'CREATE ROLE ledgerline_connect' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ledgerline_connect') \gexec

-- REPLICATION is what reading a slot takes, and it is more than it seems: such a role may also copy the whole cluster, if pg_hba.conf has a
-- line for it with the database `replication`. Give it none, only one with this database:
--   hostssl  <database>  ledgerline_connect  <network of the workers>  scram-sha-256
ALTER ROLE ledgerline_connect LOGIN REPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
-- Sent as it is: with log_statement = ddl or all the server's log has it. Then set it with psql's \password instead, and take this line out.
ALTER ROLE ledgerline_connect PASSWORD :'password';

-- It reads the tables once, for the snapshot, and afterwards only the log. It writes to no table: its heartbeat is a message in the log, by pg_logical_emit_message,
-- which every role may call unless that was taken from PUBLIC (below).
-- Where a table has row security, the snapshot sees only rows that its policies show this role.
SELECT format('GRANT CONNECT ON DATABASE %I TO ledgerline_connect', current_database()) \gexec
GRANT USAGE ON SCHEMA public TO ledgerline_connect;
GRANT SELECT ON public.audit_logs, public.outbox_events TO ledgerline_connect;

-- Where it was taken from PUBLIC. Up to PostgreSQL 16 the function is pg_logical_emit_message(boolean, text, text), from 17 on (boolean, text, text, boolean); that of
-- bytea is not called. Mostly only a superuser may grant it.
DO $$
DECLARE
    emit regprocedure;
BEGIN
    FOR emit IN SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = 'pg_logical_emit_message' AND proargtypes[2] = 'text'::regtype
          AND NOT has_function_privilege('ledgerline_connect', oid, 'EXECUTE')
    LOOP
        BEGIN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO ledgerline_connect', emit);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'the connectors'' heartbeat will fail: have a superuser GRANT EXECUTE ON FUNCTION % TO ledgerline_connect', emit;
        END;
    END LOOP;
END
$$;

-- The publications -------------------------------------------------------------------------------------------------------------

-- Made here, so that the connectors' role need not own the tables (publication.autocreate.mode=disabled). One each: a slot
-- then decodes only what its connector takes.
-- Rows of a partitioned table come under the name of the table, not of its partitions (publish_via_partition_root). Set before a table is looked for: without it
-- pg_publication_tables has the partitions in its place.
SELECT 'CREATE PUBLICATION ledgerline_audit_logs' WHERE NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'ledgerline_audit_logs') \gexec
-- All that can be done to a row, and TRUNCATE.
ALTER PUBLICATION ledgerline_audit_logs SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);
SELECT 'ALTER PUBLICATION ledgerline_audit_logs ADD TABLE public.audit_logs'
WHERE NOT EXISTS (SELECT FROM pg_publication_tables WHERE pubname = 'ledgerline_audit_logs' AND (schemaname, tablename) = ('public', 'audit_logs')) \gexec

SELECT 'CREATE PUBLICATION ledgerline_outbox' WHERE NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'ledgerline_outbox') \gexec
-- Only new rows are events. That they are deleted is housekeeping.
ALTER PUBLICATION ledgerline_outbox SET (publish = 'insert', publish_via_partition_root = true);
SELECT 'ALTER PUBLICATION ledgerline_outbox ADD TABLE public.outbox_events'
WHERE NOT EXISTS (SELECT FROM pg_publication_tables WHERE pubname = 'ledgerline_outbox' AND (schemaname, tablename) = ('public', 'outbox_events')) \gexec
