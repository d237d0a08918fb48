//! What calls fail with.

use std::collections::HashMap;
use std::fmt;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::v1::Run;
use crate::value::status_text;

/// What goes wrong.
#[derive(Debug)]
pub enum Error {
    /// A call has failed.
    Call(Box<CallError>),
    /// A run of which the result was wanted has not completed.
    Run(Box<Run>),
    /// A run that was waited for ought to run, and no live process runs it.
    Interrupted(Box<Run>),
    /// A value is no JSON, or not of the type that was wanted.
    Json(serde_json::Error),
    /// An address is none, or credentials must not be sent there.
    Address(String),
}

/// What a call has failed with.
#[derive(Debug)]
pub struct CallError {
    /// The code of gRPC.
    pub code: Code,
    /// What is wrong, as the contract lists it: `RUN_NOT_FOUND`. Empty for what no server said.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// What may help, a command each.
    pub hints: Vec<String>,
    /// The fields of the request that are wrong.
    pub fields: Vec<FieldError>,
    /// The values that the message mentions.
    pub metadata: HashMap<String, String>,
}

/// What is wrong with a field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Its path in the request.
    pub field: String,
    /// What is wrong.
    pub description: String,
}

impl Error {
    pub(crate) fn call(code: Code, message: impl Into<String>) -> Self {
        Self::Call(Box::new(CallError {
            code,
            reason: String::new(),
            message: message.into(),
            hints: Vec::new(),
            fields: Vec::new(),
            metadata: HashMap::new(),
        }))
    }

    /// Returns what is wrong with a call, as the contract lists it; "" for other errors.
    #[must_use]
    pub fn reason(&self) -> &str {
        if let Self::Call(error) = self { &error.reason } else { "" }
    }

    /// Whether a call that follows a run may go on later: no server answers, it is closing or busy, or the connection broke,
    /// for which tonic has several codes.
    pub(crate) fn is_gone(&self) -> bool {
        let Self::Call(error) = self else { return false };
        match error.reason.as_str() {
            "SERVER_STOPPING" | "TOO_MANY_CALLS" => true,
            "" => matches!(error.code, Code::Unavailable | Code::DeadlineExceeded),
            _ => false,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == "flujo");
        let metadata = info.map(|info| info.metadata.clone()).unwrap_or_default();
        let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        let broke = info.is_none() && matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled);
        Self::Call(Box::new(CallError {
            // What flujo answers with these codes has a reason; tonic takes them for connections that broke.
            code: if broke { Code::Unavailable } else { status.code() },
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: message(&status),
            hints: metadata.get("hints").map(|all| all.split('\n').map(str::to_owned).collect()).unwrap_or_default(),
            fields: violations
                .into_iter()
                .map(|each| FieldError { field: each.field, description: each.description })
                .collect(),
            metadata,
        }))
    }
}

/// Returns what a status says, or what has caused it: tonic itself often says no more than "transport error".
fn message(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let (true, Some(error)) = (text.is_empty() || text == "transport error", source) {
        text = error.to_string();
        source = error.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => {
                write!(to, "{}", error.message)?;
                error.hints.iter().try_for_each(|hint| write!(to, "\n  {hint}"))
            }
            Self::Run(run) => {
                write!(to, "the run {} is {}", run.run_id, status_text(run.status))?;
                run.error.iter().try_for_each(|error| write!(to, ": {}: {}", error.r#type, error.message))
            }
            Self::Interrupted(run) => {
                write!(to, "no live process runs {}; resume it, or start a server that knows its workflow", run.run_id)
            }
            Self::Json(error) => write!(to, "{error}"),
            Self::Address(why) => write!(to, "{why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Json(error) = self { Some(error) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn an_error_tells_what_the_server_said() {
        let metadata = HashMap::from([("hints".to_owned(), "do this\ndo that".to_owned())]);
        let mut details = ErrorDetails::with_error_info("INVALID_FIELD", "flujo", metadata);
        details.add_bad_request_violation("name", "no");
        let error = Error::from(Status::with_error_details(Code::InvalidArgument, "a name", details));
        assert_eq!(error.to_string(), "a name\n  do this\n  do that");
        assert_eq!(error.reason(), "INVALID_FIELD");
        let Error::Call(told) = &error else { panic!("{error:?}") };
        assert_eq!(told.fields, [FieldError { field: "name".into(), description: "no".into() }]);
        assert!(!error.is_gone());
    }

    #[test]
    fn codes_without_a_reason_are_lost_connections() {
        for code in [Code::Unknown, Code::Internal, Code::Cancelled, Code::Unavailable] {
            let error = Error::from(Status::new(code, "transport error"));
            assert!(error.is_gone(), "{code:?}");
        }
        assert!(!Error::from(Status::not_found("no such run")).is_gone());
    }
}
