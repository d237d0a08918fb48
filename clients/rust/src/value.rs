//! Values as JSON text, and words for enums.

use serde::Serialize;

use crate::Error;
use crate::v1::{Payload, RunStatus, payload};

/// Returns a value as a payload.
pub(crate) fn encode(value: &impl Serialize) -> Result<Payload, Error> {
    let text = serde_json::to_string(value).map_err(Error::Json)?;
    Ok(Payload { content: Some(payload::Content::Json(text)), ..Payload::default() })
}

/// Returns a status as flujo says it everywhere: "completed". One of a newer server is "unknown (42)".
#[must_use]
pub fn status_text(status: i32) -> String {
    word(RunStatus::try_from(status).ok().map(|known| known.as_str_name()), status, "RUN_STATUS_")
}

/// Returns the name of an enum's value as a word.
pub(crate) fn word(name: Option<&str>, number: i32, prefix: &str) -> String {
    match name.and_then(|name| name.strip_prefix(prefix)) {
        Some(short) if number != 0 => short.to_lowercase(),
        _ => format!("unknown ({number})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_text_keep_what_they_are() {
        for text in ["18446744073709551615", "[-9223372036854775808,0.1]", r#"{"<é\u0000>":null}"#] {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(encode(&value).unwrap().content, Some(payload::Content::Json(text.into())));
        }
    }

    #[test]
    fn a_status_of_a_newer_server_is_shown_as_unknown() {
        assert_eq!(status_text(RunStatus::Completed.into()), "completed");
        assert_eq!(status_text(42), "unknown (42)");
        assert_eq!(status_text(0), "unknown (0)");
    }
}
