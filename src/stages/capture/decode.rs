//! Keys and values that come as Avro, framed with the id of their schema as Confluent's and Apicurio's converters frame them: to JSON, with schemas of a registry.

use super::avro::ValueSchema;
use crate::formats::HeldUp;
use crate::formats::registry::{Answer, Registry};
use crate::ledger::canonical::Refusal;
use crate::ledger::leaf::RejectCode;
use crate::log::Record;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What begins a frame; no JSON does.
const MAGIC: u8 = 0;
const FRAME_BYTES: usize = 5;

/// Key and value as JSON, or why they are not to be had.
pub type Decoded<'r> = Result<(Cow<'r, [u8]>, Cow<'r, [u8]>), Refusal>;

/// Decodes records in order, up to the first that cannot be now; says why there.
pub async fn decode_all<'r>(
    registry: Option<&Registry<ValueSchema>>,
    records: &'r [Record],
) -> (Vec<Decoded<'r>>, Option<HeldUp>) {
    let mut ids: Vec<u32> = Vec::new();
    for record in records.iter().filter(|record| !record.value.is_empty()) {
        for (id, _) in [&record.key, &record.value]
            .into_iter()
            .filter_map(|bytes| frame(bytes))
        {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    let answers = match registry {
        Some(registry) if !ids.is_empty() => registry.look_up(&ids).await,
        Some(_) | None => BTreeMap::new(),
    };
    let mut decoded = Vec::with_capacity(records.len());
    for record in records {
        match decode(record, &answers, registry.is_some()) {
            Ok(one) => decoded.push(one),
            Err(held_up) => return (decoded, Some(held_up)),
        }
    }
    (decoded, None)
}

fn decode<'r>(
    record: &'r Record,
    answers: &BTreeMap<u32, Answer<ValueSchema>>,
    has_registry: bool,
) -> Result<Decoded<'r>, HeldUp> {
    // A tombstone tells of nothing, whatever its key.
    if record.value.is_empty() {
        return Ok(Ok((Cow::Borrowed(&record.key), Cow::Borrowed(&record.value))));
    }
    let key = part("key", &record.key, answers, has_registry)?;
    let value = part("value", &record.value, answers, has_registry)?;
    Ok(key.and_then(|key| Ok((key, value?))))
}

fn part<'r>(
    what: &str,
    bytes: &'r [u8],
    answers: &BTreeMap<u32, Answer<ValueSchema>>,
    has_registry: bool,
) -> Result<Result<Cow<'r, [u8]>, Refusal>, HeldUp> {
    let Some((id, datum)) = frame(bytes) else {
        return Ok(Ok(Cow::Borrowed(bytes)));
    };
    Ok(match answers.get(&id) {
        Some(Answer::Schema(schema)) => schema.json(datum).map(Cow::Owned).map_err(|error| {
            Refusal::new(
                RejectCode::InvalidAvro,
                format!("the {what} (schema {id}): {error}"),
            )
        }),
        Some(Answer::Refused(why)) => {
            let detail = format!("the schema {id} of the record's {what}: {why}");
            Err(Refusal::new(RejectCode::UnknownSchema, detail))
        }
        Some(Answer::Waits(what)) => return Err(HeldUp::Waits { what: what.clone() }),
        None if has_registry => return Err(HeldUp::NextBatch),
        None => return Err(HeldUp::NoRegistry { schema: id }),
    })
}

/// The id of the schema, and the datum behind it.
fn frame(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (frame, datum) = bytes.split_at_checked(FRAME_BYTES)?;
    let [MAGIC, id @ ..] = frame else { return None };
    Some((u32::from_be_bytes(id.try_into().ok()?), datum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn record(key: &[u8], value: &[u8]) -> Record {
        Record {
            offset: 0,
            timestamp_ms: 0,
            key: key.to_vec(),
            value: value.to_vec(),
            headers: Vec::new(),
        }
    }

    fn answers() -> BTreeMap<u32, Answer<ValueSchema>> {
        let schema = ValueSchema::parse("\"long\"").unwrap();
        BTreeMap::from([
            (7, Answer::Schema(Arc::new(schema))),
            (8, Answer::Refused("there is none".into())),
            (9, Answer::Waits("no answer".to_owned())),
        ])
    }

    #[test]
    fn what_is_framed_is_decoded_and_all_else_stays() {
        let (framed, plain) = (record(b"{}", &[0, 0, 0, 0, 7, 14]), record(b"", b"{\"op\":1}"));
        let (key, value) = decode(&framed, &answers(), true).unwrap().unwrap();
        assert_eq!((key.as_ref(), value.as_ref()), (&b"{}"[..], &b"7"[..]));
        let (_, value) = decode(&plain, &answers(), true).unwrap().unwrap();
        assert_eq!(value.as_ref(), plain.value);
        // A tombstone's key is not asked for.
        assert!(
            decode(&record(&[0, 0, 0, 0, 9, 14], b""), &answers(), true)
                .unwrap()
                .is_ok()
        );
    }

    #[test]
    fn what_cannot_be_decoded_is_refused_or_held_up_and_never_passed_over() {
        let of = |id: u8, datum: &[u8], has_registry| {
            let value = [&[0, 0, 0, 0, id], datum].concat();
            let record = record(b"", &value);
            decode(&record, &answers(), has_registry)
                .map(|decoded| decoded.map(drop).map_err(|refusal| refusal.code))
        };
        assert_eq!(of(7, &[14, 0], true), Ok(Err(RejectCode::InvalidAvro)));
        assert_eq!(of(7, &[], true), Ok(Err(RejectCode::InvalidAvro)));
        assert_eq!(of(8, &[14], true), Ok(Err(RejectCode::UnknownSchema)));
        assert_eq!(
            of(9, &[14], true),
            Err(HeldUp::Waits {
                what: "no answer".to_owned()
            })
        );
        assert_eq!(of(1, &[14], true), Err(HeldUp::NextBatch));
        assert_eq!(of(1, &[14], false), Err(HeldUp::NoRegistry { schema: 1 }));
    }
}
