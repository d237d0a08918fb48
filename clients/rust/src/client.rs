//! The client.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_stream::try_stream;
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use crate::connection::{Connector, Options, Service, ShowToken};
use crate::error::Error;
use crate::follow::{Cursor, Messages, Outage, Path, followed};
use crate::starts::{NewRun, StartOptions, Started, id_or_new, in_calls, outcome};
use crate::v1::payload::Content;
use crate::v1::run_service_client::RunServiceClient;
use crate::v1::system_service_client::SystemServiceClient;
use crate::v1::{self, Event, Run, RunStatus, RunView};
use crate::value::{encode, word};

const WAIT_TIME: Duration = Duration::from_secs(20);
const PRUNE_TIME: Duration = Duration::from_secs(20);

type Connection = InterceptedService<Channel, ShowToken>;

/// A connection to one server. Clones share it.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connector: Connector,
    options: Options,
    connection: Mutex<(u64, Connection)>, // with a number that tells it from those before
}

/// Says how to resume.
#[derive(Clone, Debug, Default)]
pub struct ResumeOptions<Inputs = ()> {
    /// A step that is run again, with what follows on it; empty: only what failed.
    pub from_step: String,
    /// Merged over the recorded ones.
    pub inputs: Option<Inputs>,
    /// Steps that are run again, and no others.
    pub retry: Vec<String>,
    /// Makes a repeat harmless; empty: the client makes one.
    pub request_id: String,
}

/// Says how to fork.
#[derive(Clone, Debug, Default)]
pub struct ForkOptions<Inputs = ()> {
    /// Names the new run; empty: the server makes an id.
    pub new_run_id: String,
    /// A step that is left out, with what follows on it.
    pub from_step: String,
    /// Merged over those of the run.
    pub inputs: Option<Inputs>,
    /// Merged over those of the run.
    pub labels: HashMap<String, String>,
    /// Makes a repeat harmless; empty: the client makes one.
    pub request_id: String,
}

impl Client {
    /// Returns a client of the server at `unix:PATH` or `tcp://HOST:PORT`; it connects with the first call. To be called
    /// inside of tokio.
    pub fn new(address: &str, options: Options) -> Result<Self, Error> {
        let connector = Connector::new(address, &options)?;
        let connection = Mutex::new((0, connector.channel()));
        Ok(Self(Arc::new(Inner { connector, options, connection })))
    }

    /// The generated client of the whole contract, for what has no method here.
    #[must_use]
    pub fn service(&self) -> Service {
        RunServiceClient::new(self.connection().1)
    }

    fn connection(&self) -> (u64, Connection) {
        self.0.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a connection for lost, unless that was done already.
    fn give_up(&self, number: u64) {
        let mut connection = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.0 == number {
            *connection = (number + 1, self.0.connector.channel());
        }
    }

    /// Returns the answer of a call within the client's time.
    async fn within<A>(
        &self,
        more: Duration,
        call: impl Future<Output = Result<Response<A>, Status>>,
    ) -> Result<A, Error> {
        let answer = match self.0.options.call_timeout {
            None => call.await,
            Some(time) => tokio::time::timeout(time.saturating_add(more), call)
                .await
                .map_err(|_| Error::call(Code::DeadlineExceeded, "the call took too long"))?,
        };
        Ok(answer?.into_inner())
    }

    async fn call<A>(&self, call: impl Future<Output = Result<Response<A>, Status>>) -> Result<A, Error> {
        self.within(Duration::ZERO, call).await
    }

    /// Returns what the server is.
    pub async fn info(&self) -> Result<v1::GetSystemInfoResponse, Error> {
        let mut system = SystemServiceClient::new(self.connection().1);
        self.call(system.get_system_info(v1::GetSystemInfoRequest {})).await
    }

    /// Starts a run. Inputs are what is a JSON object. The same run id with the same inputs, or the same request id, is
    /// started once.
    pub async fn start(
        &self,
        workflow: impl Into<String>,
        inputs: &impl Serialize,
        options: StartOptions,
    ) -> Result<Started, Error> {
        let NewRun(request) = NewRun::new(workflow, inputs, options)?;
        let answer = self.call(self.service().start_run(request)).await?;
        Ok(Started { run_id: answer.run.unwrap_or_default().run_id, created: answer.created })
    }

    /// Starts at most 1000 runs, with as few calls as gRPC has room for. Returns what became of each, in their order: the run, or
    /// the error that `start` would have returned, which keeps no other from starting. An error of its own is of a call as a
    /// whole: repeat it with the same runs, whose request ids are theirs, and what was started is not started twice.
    pub async fn start_runs(
        &self,
        runs: impl IntoIterator<Item = NewRun>,
    ) -> Result<Vec<Result<Started, Error>>, Error> {
        let mut outcomes = Vec::new();
        for request in in_calls(runs)? {
            let answer = self.call(self.service().start_runs(request)).await?;
            outcomes.extend(answer.outcomes.into_iter().map(outcome));
        }
        Ok(outcomes)
    }

    /// Returns a run as it stands, without its details.
    pub async fn get(&self, run_id: impl Into<String>) -> Result<Run, Error> {
        let request = v1::GetRunRequest { run_id: run_id.into(), ..Default::default() };
        Ok(self.call(self.service().get_run(request)).await?.run.unwrap_or_default())
    }

    /// Returns a run with its details, as far as an answer has room for them.
    pub async fn inspect(&self, run_id: impl Into<String>) -> Result<Run, Error> {
        let request = v1::GetRunRequest { run_id: run_id.into(), view: RunView::Full.into() };
        Ok(self.call(self.service().get_run(request)).await?.run.unwrap_or_default())
    }

    /// Yields the runs that match, newest first, page after page.
    pub fn list(&self, filter: v1::RunFilter) -> impl Stream<Item = Result<Run, Error>> + Send + use<> {
        let client = self.clone();
        try_stream! {
            let mut request = v1::ListRunsRequest { filter: Some(filter), page_size: 1000, ..Default::default() };
            loop {
                let page = client.call(client.service().list_runs(request.clone())).await?;
                for run in page.runs {
                    yield run;
                }
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    return;
                }
            }
        }
    }

    /// Yields the events of a run behind a cursor, stored or new, each once and in order, until the run is final and everything
    /// has come. Goes on over lost connections and restarts of the server, behind the last event that was handled. To drop it
    /// ends the call.
    pub fn follow(&self, run_id: &str, from: Cursor) -> impl Stream<Item = Result<Event, Error>> + Send + use<> {
        let run_id = run_id.to_owned();
        let client = self.clone();
        let connect = move || {
            let (number, connection) = client.connection();
            WatchPath { client: client.clone(), number, connection, run_id: run_id.clone() }
        };
        followed(connect, from, self.0.options.reconnect)
    }

    /// Returns a run with its details once it has ended or is paused; goes on as `follow` does.
    pub async fn wait(&self, run_id: impl Into<String>) -> Result<Run, Error> {
        let request = v1::WaitRunRequest {
            run_id: run_id.into(),
            max_wait: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
            view: RunView::Full.into(),
        };
        let mut outage = Outage::new(self.0.options.reconnect);
        loop {
            let (number, connection) = self.connection();
            let mut service = RunServiceClient::new(connection);
            match self.within(WAIT_TIME, service.wait_run(request.clone())).await {
                Ok(answer) => {
                    let run = answer.run.unwrap_or_default();
                    if answer.reached {
                        return Ok(run);
                    }
                    if run.interrupted {
                        return Err(Error::Interrupted(Box::new(run)));
                    }
                    outage.over();
                }
                Err(error) if error.is_gone() => {
                    if matches!(&error, Error::Call(call) if call.code == Code::DeadlineExceeded) {
                        self.give_up(number);
                    }
                    outage.wait(error).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a run and returns its output. Returns [`Error::Run`] for a run that has not completed.
    pub async fn result<T: DeserializeOwned>(&self, run_id: impl Into<String>) -> Result<T, Error> {
        let mut run = self.wait(run_id).await?;
        if run.status() != RunStatus::Completed {
            return Err(Error::Run(Box::new(run)));
        }
        let output = run.details.take().and_then(|details| details.output);
        let text = self.text(&run, output.as_ref()).await?;
        serde_json::from_str(&text).map_err(Error::Json)
    }

    /// Returns the JSON text of a value that came with a run, or with an event of it. A large one is read from the server.
    pub async fn text(&self, run: &Run, value: Option<&v1::Payload>) -> Result<String, Error> {
        let reference = match value.and_then(|value| value.content.as_ref()) {
            None => return Ok("null".to_owned()),
            Some(Content::Json(text)) => return Ok(text.clone()),
            Some(Content::Reference(reference)) => reference,
        };
        let request = v1::ReadPayloadRequest {
            run_id: run.run_id.clone(),
            uid: run.uid.clone(),
            seq: reference.seq,
            part: reference.part,
        };
        let mut pieces = self.service().read_payload(request).await?.into_inner();
        let mut text = Vec::new();
        while let Some(piece) = pieces.message().await? {
            text.extend_from_slice(&piece.chunk);
        }
        String::from_utf8(text).map_err(|_| Error::call(Code::DataLoss, "a value is no UTF-8"))
    }

    /// Sends a signal; with the same request id, empty for a new one, it arrives once. Returns "recorded", "posted" or
    /// "stored".
    pub async fn signal(
        &self,
        run_id: impl Into<String>,
        name: impl Into<String>,
        payload: &impl Serialize,
        request_id: impl Into<String>,
    ) -> Result<String, Error> {
        let request = v1::SignalRunRequest {
            run_id: run_id.into(),
            name: name.into(),
            payload: Some(encode(payload)?),
            request_id: id_or_new(request_id.into()),
            ..Default::default()
        };
        let outcome = self.call(self.service().signal_run(request)).await?.outcome;
        let known = v1::SignalOutcome::try_from(outcome).ok();
        Ok(word(known.map(|known| known.as_str_name()), outcome, "SIGNAL_OUTCOME_"))
    }

    /// Asks a run to stop. Returns "requested", "cancelled" or "`already_finished`".
    pub async fn cancel(&self, run_id: impl Into<String>, reason: impl Into<String>) -> Result<String, Error> {
        let request = v1::CancelRunRequest {
            run_id: run_id.into(),
            reason: reason.into(),
            request_id: id_or_new(String::new()),
            ..Default::default()
        };
        let outcome = self.call(self.service().cancel_run(request)).await?.outcome;
        let known = v1::CancelOutcome::try_from(outcome).ok();
        Ok(word(known.map(|known| known.as_str_name()), outcome, "CANCEL_OUTCOME_"))
    }

    /// Asks a run to pause. Returns "requested", "paused" or "`already_paused`".
    pub async fn pause(&self, run_id: impl Into<String>, reason: impl Into<String>) -> Result<String, Error> {
        let request = v1::PauseRunRequest {
            run_id: run_id.into(),
            reason: reason.into(),
            request_id: id_or_new(String::new()),
            ..Default::default()
        };
        let outcome = self.call(self.service().pause_run(request)).await?.outcome;
        let known = v1::PauseOutcome::try_from(outcome).ok();
        Ok(word(known.map(|known| known.as_str_name()), outcome, "PAUSE_OUTCOME_"))
    }

    /// Takes up a run that is failed, paused, cancelled or interrupted.
    pub async fn resume<Inputs: Serialize>(
        &self,
        run_id: impl Into<String>,
        options: ResumeOptions<Inputs>,
    ) -> Result<Run, Error> {
        let request = v1::ResumeRunRequest {
            run_id: run_id.into(),
            from_step: options.from_step,
            inputs: options.inputs.as_ref().map(encode).transpose()?,
            retry: options.retry,
            request_id: id_or_new(options.request_id),
            ..Default::default()
        };
        Ok(self.call(self.service().resume_run(request)).await?.run.unwrap_or_default())
    }

    /// Runs a step of a run again, and goes on from there.
    pub async fn retry(&self, run_id: impl Into<String>, step: impl Into<String>) -> Result<Run, Error> {
        let options = ResumeOptions::<()> { retry: vec![step.into()], ..Default::default() };
        self.resume(run_id, options).await
    }

    /// Starts a run with the history of another one.
    pub async fn fork<Inputs: Serialize>(
        &self,
        run_id: impl Into<String>,
        options: ForkOptions<Inputs>,
    ) -> Result<Started, Error> {
        let request = v1::ForkRunRequest {
            run_id: run_id.into(),
            from_step: options.from_step,
            new_run_id: options.new_run_id,
            inputs: options.inputs.as_ref().map(encode).transpose()?,
            labels: options.labels,
            request_id: id_or_new(options.request_id),
            ..Default::default()
        };
        let answer = self.call(self.service().fork_run(request)).await?;
        Ok(Started { run_id: answer.run.unwrap_or_default().run_id, created: answer.created })
    }

    /// Forgets runs that have settled, or says which would go. Call it again while the answer has `more`.
    pub async fn prune(&self, request: v1::PruneRunsRequest) -> Result<v1::PruneRunsResponse, Error> {
        self.within(PRUNE_TIME, self.service().prune_runs(request)).await
    }
}

/// The way to the events of a run over one connection.
struct WatchPath {
    client: Client,
    number: u64,
    connection: Connection,
    run_id: String,
}

impl Path for WatchPath {
    type Messages = Streaming<v1::WatchRunResponse>;

    async fn watch(&self, at: &Cursor) -> Result<Self::Messages, Error> {
        let request = v1::WatchRunRequest {
            run_id: self.run_id.clone(),
            after_seq: at.seq,
            uid: at.uid.clone(),
            store_id: at.store_id.clone(),
            ..Default::default()
        };
        Ok(RunServiceClient::new(self.connection.clone()).watch_run(request).await?.into_inner())
    }

    fn give_up(&self) {
        self.client.give_up(self.number);
    }
}

impl Messages for Streaming<v1::WatchRunResponse> {
    async fn next(&mut self) -> Result<Option<v1::WatchRunResponse>, Error> {
        Ok(self.message().await?)
    }
}
