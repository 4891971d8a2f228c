-- A tenant's requests are for its own name alone, also for the owner of the table, which the API is: a connection names the tenant first.
ALTER TABLE idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON idempotency
    USING (tenant_id = current_setting('ledgerline.tenant_id', true))
    WITH CHECK (tenant_id = current_setting('ledgerline.tenant_id', true));
-- Rows that are too old to count are taken away whosever they are, by who says that he does that. A day, as store/idempotency.rs has it.
CREATE POLICY look_for_old ON idempotency FOR SELECT
    USING (current_setting('ledgerline.purges', true) = 'yes' AND created_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - 86400000);
CREATE POLICY purge_old ON idempotency FOR DELETE
    USING (current_setting('ledgerline.purges', true) = 'yes' AND created_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - 86400000);
