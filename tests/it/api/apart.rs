//! Requests with an Idempotency-Key are a tenant's own: by a user of the database that is bound by its policies, as an application's is.

use crate::index::Database;
use ledgerline::store::idempotency::{Begun, Idempotency, Request};
use ledgerline::store::{self, Role, schema};
use sqlx::{Executor as _, Row as _};
use std::time::Duration;

const BODY: [u8; 32] = [7; 32];

const fn request<'r>(tenant: &'r str, key: &'r str) -> Request<'r> {
    Request {
        tenant,
        key,
        body_sha256: &BODY,
    }
}

#[test]
fn a_request_is_seen_in_its_tenant_s_name_alone_also_by_the_owner_of_the_table() {
    let database = Database::new();
    let options = database.as_application();
    let (store, pool) = {
        let _inside = database.runtime.enter();
        let store = Idempotency::new(&options, Duration::from_mins(1));
        (store, store::pool(&options, schema::API_SCHEMA, Role::Owner, 1))
    };
    database.runtime.block_on(async {
        for (tenant, key) in [
            ("acme", "old"),
            ("acme", "new"),
            ("globex", "old"),
            ("globex", "new"),
        ] {
            let begun = store.begin(request(tenant, key), [1; 16], [2; 16]).await.unwrap();
            assert!(matches!(begun, Begun::Ours(_)), "{begun:?}");
            let again = store.begin(request(tenant, key), [3; 16], [4; 16]).await.unwrap();
            assert!(matches!(again, Begun::InFlight { .. }), "{again:?}");
            store.done(request(tenant, key), [2; 16]).await.unwrap();
            let done = store.begin(request(tenant, key), [3; 16], [4; 16]).await.unwrap();
            assert!(matches!(done, Begun::Done(_)), "{done:?}");
        }
    });
    let seen = |name: &'static str, value: &'static str, sql: &'static str| {
        database.runtime.block_on(async {
            let mut transaction = pool.begin().await.unwrap();
            sqlx::query("SELECT set_config($1, $2, true)")
                .bind(name)
                .bind(value)
                .execute(&mut *transaction)
                .await
                .unwrap();
            let row = sqlx::query(sql).fetch_one(&mut *transaction).await.unwrap();
            row.get::<i64, _>(0)
        })
    };
    let count = "SELECT count(*) FROM idempotency";
    for (tenant, due) in [("acme", 2), ("globex", 2), ("initech", 0), ("", 0)] {
        assert_eq!(seen("ledgerline.tenant_id", tenant, count), due, "{tenant}");
    }
    let others = "WITH changed AS (UPDATE idempotency SET done = false WHERE tenant_id = 'globex' RETURNING 1) SELECT count(*) FROM changed";
    assert_eq!(seen("ledgerline.tenant_id", "acme", others), 0);
    assert_eq!(seen("ledgerline.tenant_id", "globex", others), 2);
    let foreign = "SELECT set_config('ledgerline.tenant_id', 'acme', false); INSERT INTO idempotency SELECT 'globex', 'x', '', seed, 0, '', 0 FROM idempotency";
    let refused = database.runtime.block_on(pool.execute(foreign)).unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");

    // Who purges sees the old ones, of whichever tenant, and nothing else.
    assert_eq!(seen("ledgerline.purges", "yes", count), 0);
    database
        .execute("UPDATE ledgerline_api.idempotency SET created_ms = created_ms - 86400001 WHERE key = 'old'")
        .unwrap();
    assert_eq!(seen("ledgerline.purges", "yes", count), 2);
    database.runtime.block_on(store.purge()).unwrap();
    assert_eq!(
        database.number("SELECT count(*) FROM ledgerline_api.idempotency WHERE key = 'new'"),
        2
    );
    assert_eq!(
        database.number("SELECT count(*) FROM ledgerline_api.idempotency"),
        2
    );
}
