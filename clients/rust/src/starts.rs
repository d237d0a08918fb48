//! Requests to start runs, and what became of many of them.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use serde::Serialize;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::Error;
use crate::error::{CallError, FieldError};
use crate::v1::start_run_request::Source;
use crate::v1::{self, StartRefusal, StartRunRequest, StartRunsRequest};
use crate::value::encode;

const MOST: usize = 1000;
const MOST_BYTES: usize = 3 * 1024 * 1024; // of the starts of one call, which leaves room below what gRPC takes

/// Says more about a start.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// Names the run; empty: the server makes an id.
    pub run_id: String,
    /// Makes a repeat of this start harmless; empty: the client makes one.
    pub request_id: String,
    /// For finding the run.
    pub labels: HashMap<String, String>,
    /// A YAML document that is run instead of a workflow the server knows, the name of which is what messages call it;
    /// empty: there is none.
    pub definition: String,
    /// The flow of the workflow whose steps are performed, or "all"; empty: the one that the workflow names.
    pub flow: String,
    /// Names of steps to skip whenever they are reached.
    pub skip_steps: Vec<String>,
    /// The step to begin with, those before it are skipped; empty: the first one.
    pub start_from: String,
    /// How long the run may take from its start, and again from each resume, before it fails; None: as long as the
    /// workflow says. Longer ones than a message can tell are the longest that it can.
    pub timeout: Option<Duration>,
}

/// One of many runs to start.
#[derive(Clone, Debug)]
pub struct NewRun(pub(crate) StartRunRequest);

impl NewRun {
    /// Returns a run of a workflow. Inputs are what is a JSON object.
    pub fn new(workflow: impl Into<String>, inputs: &impl Serialize, options: StartOptions) -> Result<Self, Error> {
        Ok(Self(StartRunRequest {
            source: Some(source(workflow.into(), options.definition)),
            run_id: options.run_id,
            inputs: Some(encode(inputs)?),
            labels: options.labels,
            request_id: id_or_new(options.request_id),
            flow: options.flow,
            skip_steps: options.skip_steps,
            start_from: options.start_from,
            timeout: options.timeout.map(to_duration),
        }))
    }
}

fn source(workflow: String, definition: String) -> Source {
    if definition.is_empty() {
        return Source::Workflow(workflow);
    }
    Source::Definition(v1::Definition { text: definition, name: workflow })
}

fn to_duration(time: Duration) -> prost_types::Duration {
    // The nanoseconds of a second fit for certain.
    let nanos = i32::try_from(time.subsec_nanos()).unwrap_or_default();
    prost_types::Duration { seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), nanos }
}

/// A run that was started, or was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub run_id: String,
    /// Whether this call made it.
    pub created: bool,
}

pub(crate) fn id_or_new(given: String) -> String {
    if given.is_empty() { Uuid::new_v4().to_string() } else { given }
}

/// Returns the requests that ask for these starts, in their order.
pub(crate) fn in_calls(runs: impl IntoIterator<Item = NewRun>) -> Result<Vec<StartRunsRequest>, Error> {
    let mut calls: Vec<StartRunsRequest> = Vec::new();
    let (mut count, mut room) = (0, 0);
    for NewRun(start) in runs {
        count += 1;
        let size = start.encoded_len();
        match calls.last_mut() {
            Some(last) if size <= room => last.starts.push(start),
            _ => {
                calls.push(StartRunsRequest { starts: vec![start] });
                room = MOST_BYTES;
            }
        }
        room = room.saturating_sub(size);
    }
    if count > MOST { Err(too_many(count)) } else { Ok(calls) }
}

fn too_many(count: usize) -> Error {
    Error::Call(Box::new(CallError {
        code: Code::InvalidArgument,
        reason: "INVALID_FIELD".into(),
        message: format!("{count} starts are more than one call takes"),
        hints: vec![format!("start at most {MOST} of them at a time")],
        fields: vec![FieldError { field: "starts".into(), description: format!("at most {MOST} of them") }],
        metadata: HashMap::new(),
    }))
}

/// Returns the run of an outcome, or why there is none.
pub(crate) fn outcome(told: v1::StartOutcome) -> Result<Started, Error> {
    match told.refusal {
        None => Ok(Started { run_id: told.run_id, created: told.created }),
        Some(refusal) => Err(refused(refusal)),
    }
}

/// Returns the error that `start` would have returned; of a very long answer without its details.
fn refused(told: StartRefusal) -> Error {
    let code = i32::try_from(told.code).map_or(Code::Unknown, Code::from_i32);
    let whole = Error::from(Status::with_details(code, told.message.clone(), told.status.into()));
    if whole.reason() == told.reason {
        return whole;
    }
    Error::Call(Box::new(CallError {
        code,
        reason: told.reason,
        message: told.message,
        hints: Vec::new(),
        fields: Vec::new(),
        metadata: HashMap::new(),
    }))
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn sized(size: usize) -> NewRun {
        NewRun(StartRunRequest { run_id: "r".repeat(size), ..Default::default() })
    }

    #[test]
    fn starts_are_asked_for_in_as_few_calls_as_there_is_room_for() {
        let half = MOST_BYTES / 2;
        for (sizes, counts) in [
            (vec![], vec![]),
            (vec![10, 20, 30], vec![3]),
            (vec![half, half, 10], vec![1, 2]), // their frames need some bytes as well
            (vec![10, 2 * MOST_BYTES, 10], vec![1, 1, 1]),
        ] {
            let calls = in_calls(sizes.iter().copied().map(sized)).unwrap();
            assert_eq!(calls.iter().map(|call| call.starts.len()).collect::<Vec<_>>(), counts);
            let asked: Vec<_> = calls.iter().flat_map(|call| &call.starts).map(|start| start.run_id.len()).collect();
            assert_eq!(asked, sizes);
        }
    }

    #[test]
    fn too_many_starts_are_refused() {
        assert_eq!(in_calls((0..1000).map(|_| sized(1))).unwrap().len(), 1);
        let error = in_calls((0..1001).map(|_| sized(1))).unwrap_err();
        assert_eq!(error.reason(), "INVALID_FIELD");
        assert!(error.to_string().contains("1001 starts"), "{error}");
    }

    #[test]
    fn a_refusal_is_the_error_that_start_returns() {
        let metadata = HashMap::from([("hints".to_owned(), "do this".to_owned())]);
        let mut details = ErrorDetails::with_error_info("INVALID_FIELD", "flujo", metadata);
        details.add_bad_request_violation("run_id", "no");
        let status = Status::with_error_details(Code::InvalidArgument, "an id", details).details().to_vec();
        for (status, hints) in [(status, 1), (vec![], 0), (vec![255], 0)] {
            let refusal = StartRefusal { code: 3, reason: "INVALID_FIELD".into(), message: "an id".into(), status };
            let refused = outcome(v1::StartOutcome { refusal: Some(refusal), ..Default::default() });
            let Err(Error::Call(told)) = refused else { panic!("{refused:?}") };
            assert_eq!((told.code, told.reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
            assert_eq!(told.message, "an id");
            assert_eq!((told.hints.len(), told.fields.len()), (hints, hints));
        }
        let told = v1::StartOutcome { run_id: "r".into(), created: true, refusal: None };
        assert_eq!(outcome(told).unwrap(), Started { run_id: "r".into(), created: true });
    }
}
