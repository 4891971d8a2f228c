//! `COPY .. FROM STDIN (FORMAT binary)`: the fastest way into a table. The format: <https://www.postgresql.org/docs/15/sql-copy.html>, "Binary Format".
//!
//! Not a client of the protocol: it makes the bytes that sqlx sends.

use sqlx::PgConnection;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// 2000-01-01, from which Postgres counts days, in days since 1970.
const POSTGRES_EPOCH_DAYS: i32 = 10_957;

/// Rows, encoded as they come.
#[derive(Debug)]
pub struct CopyRows {
    bytes: Vec<u8>,
    rows: u64,
}

impl Default for CopyRows {
    fn default() -> Self {
        let mut bytes = SIGNATURE.to_vec();
        // No flags, no extension.
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes, rows: 0 }
    }
}

impl CopyRows {
    /// Begins a row of so many columns; that many values MUST follow.
    pub fn row(&mut self, columns: i16) -> &mut Self {
        self.rows += 1;
        self.bytes.extend_from_slice(&columns.to_be_bytes());
        self
    }

    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        // A value is at most an event or a tile: far below 2 GiB.
        self.bytes.extend_from_slice(&(value.len() as i32).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    pub fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    pub fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    /// Bytes, or text as its bytes.
    pub fn optional(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    pub fn optional_int8(&mut self, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.int8(value),
            None => self.null(),
        }
    }

    pub fn int4(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub fn int8(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A day, in days since 1970.
    pub fn date(&mut self, days: i32) -> &mut Self {
        self.int4(days - POSTGRES_EPOCH_DAYS)
    }

    /// Sends them. `statement` is the `COPY`.
    ///
    /// # Errors
    /// What the server says; none of the rows is in the table then.
    pub async fn send(mut self, connection: &mut PgConnection, statement: &str) -> Result<u64, sqlx::Error> {
        if self.rows == 0 {
            return Ok(0);
        }
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut copy = connection.copy_in_raw(statement).await?;
        if let Err(error) = copy.send(self.bytes).await {
            // Otherwise the connection would wait for more.
            drop(copy.abort("not sent").await);
            return Err(error);
        }
        copy.finish().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_its_columns_each_with_its_length() {
        let mut rows = CopyRows::default();
        rows.row(4)
            .int4(7)
            .null()
            .text("ab")
            .date(POSTGRES_EPOCH_DAYS + 1);
        let due = [
            &b"PGCOPY\n\xff\r\n\0"[..],
            &[0; 8],
            &[0, 4],
            &[0, 0, 0, 4, 0, 0, 0, 7],
            &[255, 255, 255, 255],
            &[0, 0, 0, 2, b'a', b'b'],
            &[0, 0, 0, 4, 0, 0, 0, 1],
        ];
        assert_eq!(rows.bytes, due.concat());
    }
}
