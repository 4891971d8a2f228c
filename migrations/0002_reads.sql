-- What the reads of the API ask for, and nothing had an index for.

-- An index over years of rows takes longer than a statement may.
SET LOCAL statement_timeout = 0;

-- The few leaves that declare keys, among all leaves of a partition.
CREATE INDEX leaves_keys ON leaves (partition, leaf_index) WHERE kind IN ('genesis', 'key');

-- From which sequence to which the entries of a time lie, without their rows. The one before goes last: until then everybody reads.
CREATE INDEX leaves_occurred ON leaves (tenant_id, occurred_at) INCLUDE (sequence, month) WHERE kind = 'entry';
DROP INDEX leaves_occurred_at;
