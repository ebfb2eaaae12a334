//! Values of settings as people write them. An error says what to write
//! instead; whoever asks adds the setting's name.

use std::error::Error;
use std::ffi::OsString;
use std::time::Duration;

/// Seconds in a range, with or without a fraction.
///
/// # Errors
///
/// If it is no number, or none of the range.
pub fn seconds(text: &str, least: f64, most: f64, example: &str) -> Result<Duration, String> {
    let remedy = || format!("give seconds from {least} to {most}, such as {example}");
    let seconds: f64 = text.trim().parse().map_err(|_| remedy())?;
    // A range also keeps NaN and infinity out.
    if (least..=most).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(remedy())
    }
}

/// A whole number in a range.
///
/// # Errors
///
/// If it is none, or none of the range.
pub fn count<const LEAST: u32, const MOST: u32>(text: &str) -> Result<u32, String> {
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|number| (LEAST..=MOST).contains(number));
    number.ok_or_else(|| format!("give a whole number from {LEAST} to {MOST}"))
}

/// Bytes as a whole number with a unit of 1,024 or none: `512M`, `2GiB`.
/// `least` is in MiB.
///
/// # Errors
///
/// If it is none, less than `least` MiB, or more than any machine has.
pub fn bytes(text: &str, least: u64) -> Result<u64, String> {
    let remedy = || format!("give at least {least}M, such as 512M or 2G");
    let text = text.trim().to_ascii_uppercase();
    let text = text.trim_end_matches('B').trim_end_matches('I');
    let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(remedy()),
    };
    let number: u64 = digits.parse().map_err(|_| remedy())?;
    let bytes = number.checked_mul(1 << shift);
    bytes
        .filter(|bytes| (least << 20..1 << 50).contains(bytes))
        .ok_or_else(remedy)
}

/// Whether a command line has this flag, with its value behind `=` or not.
pub fn is_flag_given(flag: &str, args: &[OsString]) -> bool {
    let mut texts = args.iter().filter_map(|given| given.to_str());
    texts.any(|given| {
        let rest = given
            .strip_prefix("--")
            .and_then(|given| given.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// What is said behind a wrong value: why it is wrong, or what there is to
/// choose from.
pub fn remedy(why: Option<&dyn Error>, choices: &[String]) -> String {
    match why {
        Some(why) => format!(": {why}"),
        None if choices.is_empty() => String::new(),
        None => format!(": give one of {}", choices.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_finite_and_within_their_range() {
        let seconds = |text| seconds(text, 0.5, 3_600.0, "10");
        assert_eq!(seconds(" 0.5 "), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("3600"), Ok(Duration::from_secs(3_600)));
        for bad in ["", "soon", "0", "-1", "NaN", "inf", "1e99", "3601"] {
            let remedy = seconds(bad).unwrap_err();
            assert_eq!(remedy, "give seconds from 0.5 to 3600, such as 10", "{bad}");
        }
    }

    #[test]
    fn a_flag_is_not_one_whose_name_begins_so() {
        let is_given = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            is_flag_given("queue", &args)
        };
        assert!(is_given(&["serve", "--queue", "5"]) && is_given(&["--queue=5"]));
        assert!(!is_given(&["--queue-seconds", "5"]) && !is_given(&["queue"]) && !is_given(&[]));
    }

    #[test]
    fn a_count_is_whole_and_within_its_range() {
        assert_eq!(count::<1, 8>(" 8 "), Ok(8));
        for bad in ["", "0", "9", "-1", "1.5", "one", "4294967297"] {
            let remedy = count::<1, 8>(bad).unwrap_err();
            assert_eq!(remedy, "give a whole number from 1 to 8", "{bad}");
        }
    }

    #[test]
    fn memory_is_a_number_with_a_unit() {
        assert_eq!(bytes("512M", 16), Ok(512 << 20));
        assert_eq!(bytes("2GiB", 16), Ok(2 << 30));
        assert_eq!(bytes(" 33554432 ", 16), Ok(32 << 20));
        assert_eq!(bytes("1m", 1), Ok(1 << 20));
        for bad in [
            "",
            "M",
            "512",
            "15M",
            "1023K",
            "-1G",
            "1.5G",
            "1MM",
            "1P",
            "99999999999T",
            "512 M",
            "many",
        ] {
            let remedy = bytes(bad, 16).unwrap_err();
            assert_eq!(remedy, "give at least 16M, such as 512M or 2G", "{bad}");
        }
    }
}
