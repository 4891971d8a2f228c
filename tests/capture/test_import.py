"""`ledgerline import`: each row once, whatever ends it, and none passed over without a word."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import unittest

from capture_case import PROGRAM, ROOT, CaptureCase, kinds, wait
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_S = 120
PARTITIONS = 3


class ImportCase(CaptureCase):
    def arguments(self, *more, address=None):
        return ["import", address or self.import_address(), f"--table={self.table}", f"--mapping={self.mapping}", f"--log={self.log}", *more]

    def imported(self, *more, address=None):
        return json.loads(self.command(*self.arguments("--json", *more, address=address)))

    def ten_minutes_later(self):
        """Where a role finds the database for which it is ten minutes later than it is: its `now()` is not the server's."""
        role = f"{self.name}_later"
        self.sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'later' IN ROLE pg_read_all_stats")
        self.addCleanup(lambda: self.open_sql().execute(f"DROP OWNED BY {role}; DROP ROLE {role}"))
        self.sql.execute(f"GRANT USAGE ON SCHEMA {self.name} TO {role}; GRANT SELECT ON {self.table} TO {role}")
        self.sql.execute(f"CREATE FUNCTION {self.name}.now() RETURNS timestamptz STABLE LANGUAGE sql AS $$ SELECT pg_catalog.now() + interval '10 minutes' $$")
        self.sql.execute(f"ALTER ROLE {role} SET search_path = {self.name}, pg_catalog")
        address = self.import_address().replace(f"{self.sql.info.user}@", f"{role}@")
        os.environ["PGPASSWORD"] = "later"
        return address

    def refused(self, status, *arguments):
        """What a run says that ends with this status."""
        ended = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(ended.returncode, status, f"{arguments}: {ended.stdout}{ended.stderr}")
        return ended.stderr

    def start_import(self, *more, address=None):
        importing = subprocess.Popen([PROGRAM, *self.arguments("--json", *more, address=address)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.programs.append(importing)
        self.addCleanup(importing.stdout.close)
        self.addCleanup(importing.stderr.close)
        return importing

    def appended(self):
        """How many records there are in audit.captured."""
        consumer = Consumer({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"], "group.id": self.name})
        try:
            ends = [consumer.get_watermark_offsets(TopicPartition(f"{self.name}.audit.captured", partition), timeout=30) for partition in range(PARTITIONS)]
        finally:
            consumer.close()
        return sum(end for _, end in ends)

    def sealed(self, what, enough):
        """Leaves, once they are enough."""
        first = len(self.programs)
        program = self.start_program()
        leaves = self.wait_leaves(what, enough)
        program.send_signal(signal.SIGTERM)
        self.assertEqual(program.wait(60), 0, f"run-{first}.log")
        return leaves

    def write(self, at="now()", connection=None, tenant="acme"):
        insert = f"INSERT INTO {self.table} (tenant_id, actor_id, action, occurred_at) VALUES (%s, 'a', 'row', {at}) RETURNING id"
        (row,) = (connection or self.sql).execute(insert, [tenant]).fetchone()
        return row


class Runs(ImportCase):
    def test_an_import_that_is_killed_goes_on_where_it_was_and_each_row_is_sealed_once(self):
        self.insert(30_000)
        importing = self.start_import("--page-rows=20")
        wait("rows are appended", lambda: self.appended() > 0)
        importing.kill()
        self.assertEqual(importing.wait(30), -signal.SIGKILL)
        summary = self.imported()
        self.assertLess(summary["rows_before"], 30_000)
        self.assertGreater(summary["rows_before"], 0)
        self.assertEqual(summary["rows_before"] + summary["rows"], 30_000)
        leaves = self.sealed("every row is archived", lambda leaves: self.row_ids() <= set(self.row_entries(leaves)))
        self.verify()
        self.assert_each_row_once(leaves)

    def test_a_later_bound_of_time_does_not_pass_over_rows_with_smaller_keys(self):
        for day in (1, 20, 2, 21):
            self.write(f"'2026-01-{day:02} 00:00+00'")
        self.assertEqual(self.imported("--before=2026-01-10")["rows"], 2)
        self.assertEqual(self.imported("--before=2026-01-10T00:00:00Z")["rows"], 0)
        said = self.refused(2, *self.arguments("--before=2026-01-30"))
        self.assertIn("--before '2026-01-10 00:00:00+00'", said)
        self.assertIn("--again", self.refused(2, *self.arguments()))
        self.assertEqual(self.imported("--before=2026-01-30", "--again")["rows"], 4)

    def test_by_time_stops_before_a_transaction_that_still_runs_and_takes_its_rows_once_it_has_ended(self):
        self.write("now() - interval '1 hour'")
        address = self.ten_minutes_later()
        with self.open_sql() as other, other.transaction():
            late = self.write(connection=other)
            later = self.write()
            wait("the settled row is read", lambda: self.read_by_time(address))
            self.assertEqual(self.read_by_time(address), 1)
        self.assertLess(late, later)
        wait("all are read", lambda: self.read_by_time(address) == 3)
        leaves = self.sealed("every row is archived", lambda leaves: self.row_ids() <= set(self.row_entries(leaves)))
        self.assert_each_row_once(leaves)

    def test_by_time_is_refused_where_nobody_sees_since_when_a_transaction_runs(self):
        self.write("now() - interval '1 hour'")
        arguments = self.arguments("--by-time", "--dry-run", address=self.ten_minutes_later())
        with self.open_sql() as other:
            other.execute("SET track_activities = off")
            self.assertIn("track_activities", self.refused(2, *arguments))
        wait("the session has gone", lambda: subprocess.run([PROGRAM, *arguments], capture_output=True, timeout=PATIENCE_S).returncode == 0)
        self.sql.execute(f"REVOKE pg_read_all_stats FROM {self.name}_later")
        self.assertIn("GRANT pg_read_all_stats", self.refused(2, *arguments))

    def prepare(self, gid, write):
        """Leaves a transaction prepared that does what `write` does on its connection."""
        connection = self.open_sql()
        connection.execute("BEGIN")
        made = write(connection)
        self.addCleanup(self.roll_back_prepared, gid)
        return made, lambda: connection.execute(f"PREPARE TRANSACTION '{gid}'")

    def roll_back_prepared(self, gid):
        if self.open_sql().execute("SELECT FROM pg_prepared_xacts WHERE gid = %s", [gid]).fetchone() is not None:
            self.open_sql().execute(f"ROLLBACK PREPARED '{gid}'")

    def test_by_time_a_prepared_transaction_that_has_written_to_the_table_is_waited_for_and_no_other_is(self):
        self.write("now() - interval '1 hour'")
        address = self.ten_minutes_later()
        mine, others = f"{self.name}-mine", f"{self.name}-others"
        late, prepare = self.prepare(mine, lambda connection: self.write(connection=connection))
        # Before that is prepared, and behind it in time.
        later = self.write()
        self.assertLess(late, later)
        prepare()
        self.sql.execute(f"CREATE TABLE {self.name}.other (id bigint)")
        self.prepare(others, lambda connection: connection.execute(f"INSERT INTO {self.name}.other SELECT count(*) FROM {self.table}"))[1]()
        self.assertEqual(self.imported("--by-time", "--dry-run", "--before=2000-01-01", address=address)["rows"], 0)
        importing = self.start_import("--by-time", address=address)
        self.assertIn("waiting for 1 prepared transactions", importing.stderr.readline())
        self.sql.execute(f"COMMIT PREPARED '{mine}'")
        self.assertEqual(importing.wait(60), 0)
        wait("all are read", lambda: self.read_by_time(address) == 3)
        left = self.sql.execute("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s", [f"{self.name}-%"]).fetchall()
        self.assertEqual(left, [(others,)])
        leaves = self.sealed("every row is archived", lambda leaves: self.row_ids() <= set(self.row_entries(leaves)))
        self.assert_each_row_once(leaves)

    def test_by_time_a_later_bound_does_not_take_what_is_younger_than_five_minutes(self):
        self.write("now() - interval '1 hour'")
        self.write()
        self.assertEqual(self.imported("--by-time", "--before=2000-01-01", "--dry-run")["read_before"], "2000-01-01 00:00:00+00")
        for bound in (f"--before={self.sql.execute('SELECT now()').fetchone()[0].isoformat()}", "--before=2100-01-01"):
            summary = self.imported("--by-time", bound)
            self.assertEqual((summary["rows_before"] + summary["rows"], summary["younger"]), (1, 1))
            self.assertEqual(self.sql.execute("SELECT %s::timestamptz <= now() - interval '5 minutes'", [summary["read_before"]]).fetchone(), (True,))

    def test_by_time_a_column_that_does_not_say_its_zone_is_refused_and_as_a_timestamptz_loses_no_row(self):
        """A session behind UTC writes `now()` into a timestamp: it lies hours before each bound, before it is committed."""
        self.sql.execute(f"ALTER TABLE {self.table} ALTER COLUMN occurred_at DROP DEFAULT, ALTER COLUMN occurred_at TYPE timestamp, ADD COLUMN day date")
        self.sql.execute("SET TimeZone = 'America/Bogota'")
        self.write("now() - interval '1 hour'")
        with self.open_sql() as other:
            other.execute("SET TimeZone = 'America/Bogota'")
            for more in ((), ("--time-column=day",), ("--before=2100-01-01",)):
                said = self.refused(2, *self.arguments("--by-time", *more))
                self.assertIn("does not say in which time zone", said)
            self.assertEqual(self.appended(), 0)
            self.sql.execute(f"ALTER TABLE {self.table} ALTER COLUMN occurred_at TYPE timestamptz USING occurred_at AT TIME ZONE 'America/Bogota'")
            address = self.ten_minutes_later()
            with other.transaction():
                late = self.write(connection=other)
                later = self.write()
                wait("the settled row is read", lambda: self.read_by_time(address))
                self.assertEqual(self.read_by_time(address), 1)
            self.assertLess(late, later)
        wait("all are read", lambda: self.read_by_time(address) == 3)
        leaves = self.sealed("every row is archived", lambda leaves: self.row_ids() <= set(self.row_entries(leaves)))
        self.assert_each_row_once(leaves)

    def read_by_time(self, address):
        """Rows that all runs have read."""
        summary = self.imported("--by-time", address=address)
        return summary["rows_before"] + summary["rows"]

    def test_by_key_a_transaction_that_holds_a_smaller_key_is_waited_for(self):
        self.write()
        with self.open_sql() as other:
            with other.transaction():
                late = self.write(connection=other)
                later = self.write()
                importing = self.start_import()
                said = importing.stderr.readline()
                self.assertIn("waiting for 1 transactions", said)
            self.assertLess(late, later)
        self.assertEqual(importing.wait(60), 0)
        self.assertEqual(json.loads(importing.stdout.read())["rows"], 3)
        self.assertEqual(self.imported()["rows"], 0)

    def test_what_the_help_gives_as_examples_works(self):
        self.write("'2026-10-01'")
        # As wide as the terminal is: lines that go on are put together again.
        text = re.sub(r"\n {4}(?!ledgerline)(?=\S)", " ", self.command("import", "--help"))
        examples = re.findall(r"^ *ledgerline (import postgres://.*)$", text, re.MULTILINE)
        self.assertEqual(len(examples), 2)
        for example in examples:
            words = shlex.split(example.replace("postgres://reader@db/app", self.import_address()).replace("--table audit_logs", f"--table {self.table}"))
            ended = subprocess.run([PROGRAM, *words, f"--log={self.log}"], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
            self.assertEqual((ended.returncode, ended.stdout.split(":")[0]), (0, "1 rows"), f"{example}: {ended.stdout}{ended.stderr}")

    def test_by_time_the_summary_says_where_it_ended_and_what_it_left(self):
        self.write("now() - interval '1 hour'")
        self.write()
        self.write()
        summary = self.imported("--by-time", "--dry-run")
        self.assertEqual((summary["rows"], summary["younger"]), (1, 2))
        bound = self.sql.execute("SELECT %s::timestamptz <= now() - interval '5 minutes'", [summary["read_before"]])
        self.assertEqual(bound.fetchone(), (True,))
        self.assertRegex(self.command(*self.arguments("--by-time")), r"\nRead are the rows before 20\d\d-.*: 2 are younger")
        self.assertIsNone(self.imported("--dry-run")["read_before"])

    def test_a_mapping_of_another_table_is_refused_before_anything_is_read(self):
        self.insert(3)
        self.sql.execute(f"ALTER TABLE {self.table} RENAME COLUMN tenant_id TO customer")
        self.sql.execute(f"ALTER TABLE {self.table} RENAME COLUMN actor_type TO kind")
        said = self.refused(2, *self.arguments())
        self.assertIn(f"--mapping {self.mapping}: {self.table} does not have what no event is without: tenant_id (for tenant_id).", said)
        self.assertNotIn("actor_type", said)
        self.sql.execute(f"ALTER TABLE {self.table} RENAME COLUMN customer TO tenant_id")
        self.mapping.write_text(self.mapping.read_text().replace(self.topic, "app.public.orders"))
        ended = subprocess.run([PROGRAM, *self.arguments()], capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual((ended.returncode, ended.stdout.split(":")[0]), (0, "3 rows"), ended.stderr)
        self.assertIn("app.public.orders: none of these topics", ended.stderr)
        self.assertIn("actor_type (for actor.type)", ended.stderr)
        self.assertEqual(self.appended(), 3)

    def test_what_postgres_says_is_told_with_what_to_do_and_nothing_of_its_source(self):
        self.insert(1)
        role = f"{self.name}_reader"
        self.sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
        self.addCleanup(lambda: self.open_sql().execute(f"DROP OWNED BY {role}; DROP ROLE {role}"))
        self.sql.execute(f"GRANT USAGE ON SCHEMA {self.name} TO {role}")
        url, info = self.import_address(), self.sql.info
        os.environ["PGPASSWORD"] = "reader"
        said = self.refused(3, "import", url.replace(f"{info.user}@", f"{role}@"), *self.arguments_behind_the_address())
        self.assertRegex(said, r"ERROR: permission denied for table audit_logs \(SQLSTATE 42501\).*GRANT SELECT")
        self.assertNotRegex(said, r"at line|\.c\b")
        os.environ["PGPASSWORD"] = "wrong"
        said = self.refused(3, "import", url.replace(f"{info.user}@", f"{role}@"), *self.arguments_behind_the_address())
        self.assertRegex(said, r"FATAL: password authentication failed.*PGPASSWORD")

    def test_a_table_whose_rows_a_policy_would_hide_is_refused_and_not_read_in_part(self):
        self.write(tenant="acme")
        self.write(tenant="other")
        role = f"{self.name}_reader"
        self.sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
        self.addCleanup(lambda: self.open_sql().execute(f"DROP OWNED BY {role}; DROP ROLE {role}"))
        self.sql.execute(f"GRANT USAGE ON SCHEMA {self.name} TO {role}; GRANT SELECT ON {self.table} TO {role}")
        self.sql.execute(f"ALTER TABLE {self.table} ENABLE ROW LEVEL SECURITY; CREATE POLICY of_acme ON {self.table} USING (tenant_id = 'acme')")
        command = ["import", self.import_address().replace(f"{self.sql.info.user}@", f"{role}@"), "--json", *self.arguments_behind_the_address()[:-1]]
        os.environ["PGPASSWORD"] = "reader"
        said = self.refused(3, *command)
        self.assertRegex(said, r"row-level security policy.*SQLSTATE 42501.*BYPASSRLS")
        self.assertEqual(self.appended(), 0)
        self.sql.execute(f"ALTER ROLE {role} BYPASSRLS")
        self.assertEqual(json.loads(self.command(*command))["events"], 2)

    def arguments_behind_the_address(self):
        return [f"--table={self.table}", f"--mapping={self.mapping}", f"--log={self.log}", "--dry-run"]

    def test_an_address_of_another_kind_is_an_argument_that_is_wrong(self):
        for address in ("mysql://u@127.0.0.1/d", "127.0.0.1:5432"):
            said = self.refused(2, "import", address, *self.arguments_behind_the_address())
            self.assertIn("LEDGERLINE_IMPORT_URL", said)

    def test_a_log_is_made_by_an_import_that_appends_and_by_no_other(self):
        self.insert(3)
        path = self.directory / "new" / "ledger.db"
        path.parent.mkdir()
        arguments = ["import", self.import_address(), f"--mapping={self.mapping}", f"--log=sqlite:{path}", "--partitions=7"]
        self.refused(2, *arguments, f"--table={self.name}.nosuch")
        self.command(*arguments, f"--table={self.table}", "--dry-run")
        self.assertEqual(list(path.parent.iterdir()), [])
        self.command(*arguments, f"--table={self.table}")
        self.assertIn("must be 7", self.refused(2, *arguments[:-1], "--partitions=8", f"--table={self.table}"))

    def test_a_server_that_is_not_there_is_told_with_its_address(self):
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        address = f"postgres://nobody@127.0.0.1:{port}/none"
        said = self.refused(3, "import", address, *self.arguments_behind_the_address())
        self.assertIn(f"the database at 127.0.0.1:{port} cannot be reached", said)

    def test_a_time_column_that_is_no_time_is_an_argument_that_is_wrong(self):
        self.insert(1)
        for bound in ("--before=2026-01-01", "--by-time"):
            said = self.refused(2, *self.arguments(bound, "--time-column=action"))
            self.assertIn("--time-column: action", said)
            self.assertIn("is of type text", said)
        self.sql.execute(f"ALTER TABLE {self.table} ALTER COLUMN occurred_at DROP DEFAULT, ALTER COLUMN occurred_at TYPE text")
        self.assertIn("--mapping (its occurred_at): occurred_at", self.refused(2, *self.arguments("--by-time")))

    def test_a_bound_that_is_no_time_is_an_argument_that_is_wrong(self):
        self.assertIn("--before", self.refused(2, *self.arguments("--before=nonsense")))
        self.assertIn("--before", self.refused(2, *self.arguments("--before=nonsense", "--by-time")))


class Rows(ImportCase):
    COLUMNS = CaptureCase.COLUMNS.replace("occurred_at timestamptz NOT NULL", "occurred_at timestamptz")

    def test_a_row_that_no_log_takes_is_sealed_by_its_key_and_the_rest_goes_on(self):
        first = self.write()
        self.sql.execute(f"UPDATE {self.table} SET details = to_jsonb(repeat('x', 5 << 20))")
        self.write()
        summary = self.imported()
        self.assertEqual((summary["events"], summary["codes"]), (1, {"too_large": 1}))
        self.assertEqual(self.imported()["rows"], 0)
        self.sealed("both are archived", lambda leaves: {"entry": 1, "rejected too_large": 1}.items() <= kinds(leaves).items())
        self.assertEqual(self.refused_rows(), [{"id": first}])

    def test_large_rows_are_read_in_pages_that_memory_has_room_for(self):
        self.insert(40)
        self.sql.execute(f"UPDATE {self.table} SET details = to_jsonb(repeat('x', 900000))")
        self.assertEqual(self.imported("--page-rows=100000")["events"], 40)

    def test_rows_without_a_tenant_are_refused_and_told(self):
        row = self.write(tenant=None)
        self.write()
        summary = self.imported()
        self.assertEqual((summary["events"], summary["codes"]), (1, {"missing_member": 1}))
        self.sealed("both are archived", lambda leaves: {"entry": 1, "rejected missing_member": 1}.items() <= kinds(leaves).items())
        self.assertEqual([(refused["id"], refused["tenant_id"]) for refused in self.refused_rows()], [(row, None)])

    def test_more_rows_than_are_remembered_are_warned_of_before_any_is_read_where_they_are_captured_too(self):
        self.insert(100_001)
        admin = AdminClient({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        for topic in admin.create_topics([NewTopic(self.topic, 1, 1)]).values():
            topic.result(30)
        importing = self.start_import()
        self.assertRegex(importing.stderr.readline(), rf"more than 100000 rows of {self.table} are to be read.*captured, too \({self.topic}\).*--dedupe-entries-max")
        importing.kill()
        importing.wait(30)
        # Those that are to be read count, not those that are there.
        ended = subprocess.run([PROGRAM, *self.arguments("--again", "--before=2000-01-01")], capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_keys_of_refused_rows_are_told_where_they_are_asked_for_and_nowhere_else(self):
        self.sql.execute(f"ALTER TABLE {self.table} ALTER COLUMN id DROP IDENTITY")
        self.sql.execute(f"ALTER TABLE {self.table} ALTER COLUMN id TYPE text")
        self.sql.execute(f"INSERT INTO {self.table} (id, tenant_id, actor_id, action) VALUES ('ada@acme.example', 'acme', 'a', 'row'), ('eve@globex.example', NULL, 'a', 'row')")
        for more, has_key in (((), False), (("--show-keys",), True)):
            ended = subprocess.run([PROGRAM, *self.arguments("--dry-run", *more)], capture_output=True, text=True, timeout=PATIENCE_S)
            self.assertEqual(ended.returncode, 0, ended.stderr)
            self.assertRegex(ended.stdout, r"\n  page 1, row 2.*: tenant_id: none of /row/tenant_id .*\(missing_member\)\n")
            self.assertEqual("eve@globex.example" in ended.stdout, has_key)
            self.assertNotIn("globex", ended.stderr)
            self.assertNotIn("ada", ended.stdout)
        self.assertNotIn("globex", self.command(*self.arguments("--json")))

    def test_rows_without_a_time_are_told_where_rows_are_chosen_by_it(self):
        self.write("NULL")
        self.write("'2026-01-01'")
        summary = self.imported("--before=2026-02-01")
        self.assertEqual((summary["rows"], summary["without_time"]), (1, 1))
        said = self.command(*self.arguments("--by-time"))
        self.assertIn("1 rows have NULL for a time", said)

    def test_columns_that_are_excluded_are_in_no_event(self):
        self.insert(2)
        self.assertEqual(self.imported("--exclude=details,actor_type")["events"], 2)
        leaves = self.sealed("both are archived", lambda leaves: kinds(leaves).get("entry", 0) == 2)
        columns = [sorted(event["data"]) for leaf, event in leaves if leaf["kind"] == "entry"]
        self.assertEqual(columns, [["action", "actor_id", "id", "occurred_at", "tenant_id"]] * 2)
        self.assertIn("--exclude names id, of the primary key", self.refused(2, *self.arguments("--exclude=id,details")))
        self.assertIn("--exclude names missing: ", self.refused(2, *self.arguments("--exclude=missing,details")))
        everything = "--exclude=tenant_id,occurred_at,actor_type,actor_id,action,details"
        self.assertIn("does --exclude leave a column out?", self.refused(2, *self.arguments(everything)))


class RandomKeys(ImportCase):
    COLUMNS = CaptureCase.COLUMNS.replace("id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "id uuid PRIMARY KEY DEFAULT gen_random_uuid()")

    def test_a_key_that_does_not_grow_is_not_gone_on_from(self):
        self.insert(5)
        self.assertEqual(self.imported("--page-rows=2")["rows"], 5)
        self.insert(5, first=5)
        said = self.refused(2, *self.arguments())
        self.assertIn("--by-time", said)
        self.assertEqual(self.imported("--again")["rows"], 10)


class Unanswered(ImportCase):
    def test_a_server_that_does_not_answer_is_not_waited_for_without_end(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"postgres://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
            commands = (["import", address, "--table=t", f"--mapping={self.mapping}", f"--log={self.log}"], ["connectors", "lag", address])
            said = {}
            threads = [threading.Thread(target=lambda command=command: said.update({command[0]: self.refused(3, *command)})) for command in commands]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(sorted(said), ["connectors", "import"])
        for text in said.values():
            self.assertIn("no answer within 10 s", text)


if __name__ == "__main__":
    unittest.main()
