//! Times as the format writes them. Parsing and printing only: nothing here reads a clock.

use crate::clock::UnixMicros;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// `YYYY-MM-DDThh:mm:ss.ffffffZ`, 27 bytes.
pub fn write_sealed_at(at: UnixMicros, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(at.div_euclid(MICROS_PER_DAY));
    let micros = at.rem_euclid(MICROS_PER_DAY);
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    put_digits(&mut text[0..4], year);
    put_digits(&mut text[5..7], month);
    put_digits(&mut text[8..10], day);
    put_digits(&mut text[11..13], seconds / 3600);
    put_digits(&mut text[14..16], seconds / 60 % 60);
    put_digits(&mut text[17..19], seconds % 60);
    put_digits(&mut text[20..26], fraction);
    out.extend_from_slice(&text);
}

/// The inverse of [`write_sealed_at`]. Anything but that exact form is `None`.
#[must_use]
pub fn parse_sealed_at(bytes: &[u8]) -> Option<UnixMicros> {
    if bytes.len() != 27 || bytes[19] != b'.' || bytes[26] != b'Z' {
        return None;
    }
    // Second 60 is another spelling of the minute after it, which a sealer never writes.
    if bytes[17] == b'6' {
        return None;
    }
    let (days, second_of_day) = date_and_time(bytes)?;
    let fraction = digits(&bytes[20..26])?;
    Some(days * MICROS_PER_DAY + second_of_day * 1_000_000 + fraction)
}

/// Whether `text` is an `occurred_at` of docs/FORMAT.md section 1 (RFC 3339, capital T and Z, a real day).
#[must_use]
pub fn is_occurred_at(text: &str) -> bool {
    parse_occurred_at(text).is_some()
}

/// An RFC 3339 time as microseconds (a finer fraction is cut off). A leap second counts as the second after it.
#[must_use]
pub fn parse_occurred_at(text: &str) -> Option<UnixMicros> {
    let bytes = text.as_bytes();
    let (days, second_of_day) = date_and_time(bytes.get(..19)?)?;
    let mut rest = &bytes[19..];
    let mut micros = 0;
    if rest.first() == Some(&b'.') {
        let end = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&end) {
            return None;
        }
        for place in 0..6 {
            micros = micros * 10
                + if place < end {
                    i64::from(rest[1 + place] - b'0')
                } else {
                    0
                };
        }
        rest = &rest[1 + end..];
    }
    let offset_minutes = offset_minutes(rest)?;
    let utc_second = days * 86_400 + second_of_day - offset_minutes * 60;
    // Second 60 has been counted into the next minute: it must be the one after 23:59 UTC.
    if bytes[17] == b'6' && utc_second.rem_euclid(86_400) != 0 {
        return None;
    }
    Some(utc_second * 1_000_000 + micros)
}

/// The UTC day, `YYYY-MM-DD`.
#[must_use]
pub fn utc_day(at: UnixMicros) -> String {
    let mut text = Vec::with_capacity(27);
    write_sealed_at(at, &mut text);
    text.truncate(10);
    String::from_utf8_lossy(&text).into_owned()
}

/// `YYYY-MM-DDThh:mm:ss` as days since 1970 and seconds of the day; second 60 is allowed here.
fn date_and_time(bytes: &[u8]) -> Option<(i64, i64)> {
    if bytes[4] != b'-' || bytes[7] != b'-' || bytes[10] != b'T' || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let (year, month, day) = (
        digits(&bytes[0..4])?,
        digits(&bytes[5..7])?,
        digits(&bytes[8..10])?,
    );
    let (hour, minute, second) = (
        digits(&bytes[11..13])?,
        digits(&bytes[14..16])?,
        digits(&bytes[17..19])?,
    );
    let real_day = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    if !real_day || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((
        days_from_civil(year, month, day),
        hour * 3600 + minute * 60 + second,
    ))
}

fn offset_minutes(text: &[u8]) -> Option<i64> {
    match text {
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let total = hours * 60 + minutes;
            Some(if *sign == b'-' { -total } else { total })
        }
        _ => None,
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |sum, b| {
        b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0'))
    })
}

fn put_digits(place: &mut [u8], mut value: i64) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (the well-known era arithmetic: years begin in March).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_at_survives_printing_and_parsing_over_four_centuries() {
        for day in (-150_000..150_000).step_by(37) {
            let at = day * MICROS_PER_DAY + 86_399_999_999;
            let mut text = Vec::new();
            write_sealed_at(at, &mut text);
            assert_eq!(parse_sealed_at(&text), Some(at));
        }
        assert_eq!(utc_day(1_795_374_000_000_000), "2026-11-22");
        for other in [
            "2026-11-22T10:00:60.000000Z",
            "2026-11-22T23:59:60.000000Z",
            "2026-11-22T24:00:00.000000Z",
            "2026-11-22T10:00:00.00000Z",
            "2026-11-22T10:00:00.000000z",
            "2026-11-22 10:00:00.000000Z",
            "",
        ] {
            assert_eq!(parse_sealed_at(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn occurred_at_takes_rfc_3339_and_nothing_beside_it() {
        for good in [
            "2026-11-22T10:00:00Z",
            "2024-02-29T23:59:59.123456789+05:30",
            "1999-12-31T23:59:60Z",
            "1999-12-31T18:59:60-05:00",
            "0000-01-01T00:00:00-00:00",
        ] {
            assert!(is_occurred_at(good), "{good}");
        }
        for bad in [
            "2026-11-22t10:00:00Z",
            "2026-11-22T10:00:00z",
            "2026-11-22 10:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:00:60Z",
            "2026-11-22T10:00:00",
            "2026-11-22T10:00:00.Z",
            "2026-11-22T10:00:00.1234567890Z",
            "2026-11-22T10:00:00+0530",
            "2026-11-22T10:00:00+24:00",
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-22T10:00:00Zé",
        ] {
            assert!(!is_occurred_at(bad), "{bad}");
        }
    }

    #[test]
    fn an_occurred_at_has_its_value() {
        const DAY: i64 = 1_795_305_600;
        for (text, seconds, micros) in [
            ("2026-11-22T00:00:00Z", DAY, 0),
            ("2026-11-22T10:59:59Z", DAY + 39_599, 0),
            ("2026-11-22T00:00:00.5Z", DAY, 500_000),
            ("2026-11-22T00:00:00.000001Z", DAY, 1),
            ("2026-11-22T00:00:00.123456789Z", DAY, 123_456),
            ("2026-11-22T00:00:00+23:59", DAY - 86_340, 0),
            ("2026-11-22T00:00:00-01:30", DAY + 5_400, 0),
            ("2026-11-21T23:59:60Z", DAY, 0),
            ("2026-11-22T05:29:60+05:30", DAY, 0),
            ("1970-01-01T00:00:00Z", 0, 0),
            ("1969-12-31T23:59:59Z", -1, 0),
        ] {
            assert_eq!(
                parse_occurred_at(text),
                Some(seconds * 1_000_000 + micros),
                "{text}"
            );
        }
    }

    #[test]
    fn every_month_ends_on_its_last_day_and_every_field_has_its_range() {
        for (good, bad) in [
            ("2026-01-31", "2026-01-32"),
            ("2026-02-28", "2026-02-29"),
            ("2024-02-29", "2024-02-30"),
            ("2000-02-29", "2000-02-30"),
            ("1900-02-28", "1900-02-29"),
            ("2026-04-30", "2026-04-31"),
            ("2026-06-30", "2026-06-31"),
            ("2026-09-30", "2026-09-31"),
            ("2026-11-30", "2026-11-31"),
            ("2026-12-31", "2026-12-00"),
        ] {
            assert!(is_occurred_at(&format!("{good}T00:00:00Z")), "{good}");
            assert!(!is_occurred_at(&format!("{bad}T00:00:00Z")), "{bad}");
        }
        for bad in [
            "T23:60:00Z",
            "T23:59:61Z",
            "T00:00:00+00:60",
            "T00:00:00+24:00",
            "T00:00:00?00:00",
        ] {
            assert!(!is_occurred_at(&format!("2026-11-22{bad}")), "{bad}");
        }
    }

    #[test]
    fn a_sealed_at_has_each_of_its_separators() {
        let good = "2026-11-22T10:00:00.000000Z";
        assert!(parse_sealed_at(good.as_bytes()).is_some());
        for (at, _) in good.char_indices().filter(|(_, c)| !c.is_ascii_digit()) {
            for other in ["/", "0", "9"] {
                let mut bad = good.to_owned();
                bad.replace_range(at..=at, other);
                assert_eq!(parse_sealed_at(bad.as_bytes()), None, "{bad}");
            }
        }
        for (at, _) in good.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
            for other in ["/", ":"] {
                let mut bad = good.to_owned();
                bad.replace_range(at..=at, other);
                assert_eq!(parse_sealed_at(bad.as_bytes()), None, "{bad}");
            }
        }
    }

    #[test]
    fn the_days_around_leap_days_are_those_of_the_calendar() {
        for (days, day) in [
            (-135_140, "1600-01-01"),
            (-135_082, "1600-02-28"),
            (-135_081, "1600-02-29"),
            (-135_080, "1600-03-01"),
            (-134_775, "1600-12-31"),
            (-25_567, "1900-01-01"),
            (-25_509, "1900-02-28"),
            (-25_508, "1900-03-01"),
            (-25_203, "1900-12-31"),
            (10_957, "2000-01-01"),
            (11_015, "2000-02-28"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (11_322, "2000-12-31"),
            (47_482, "2100-01-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
            (47_846, "2100-12-31"),
            (157_054, "2400-01-01"),
            (157_112, "2400-02-28"),
            (157_113, "2400-02-29"),
            (157_114, "2400-03-01"),
            (157_419, "2400-12-31"),
        ] {
            assert_eq!(utc_day(days * MICROS_PER_DAY), day);
            assert_eq!(utc_day((days + 1) * MICROS_PER_DAY - 1), day);
            let text = format!("{day}T00:00:00.000000Z");
            assert_eq!(parse_sealed_at(text.as_bytes()), Some(days * MICROS_PER_DAY));
        }
    }
}
