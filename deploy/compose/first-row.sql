-- Run when the database is made, after its tables: a row that is sealed by the time that `docker compose up --wait` is done.
INSERT INTO public.audit_logs (tenant_id, actor_id, action, target)
SELECT 'first', 'compose', 'stack.started', 'docker-compose.yml' WHERE NOT EXISTS (SELECT FROM public.audit_logs);
