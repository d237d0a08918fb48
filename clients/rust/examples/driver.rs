//! The driver of the client for Rust: commands in, answers out, as clients/conformance/README.md says.

use std::collections::HashMap;
use std::error::Error as AnyError;
use std::io::{Write, stdin, stdout};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flujo_client::v1::watch_run_response::Content;
use flujo_client::v1::{PruneRunsRequest, RunFilter, RunStatus, WatchRunRequest};
use flujo_client::{
    Client, Cursor, Error, ForkOptions, NewRun, Options, ResumeOptions, StartOptions, Started, status_text,
};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio_stream::StreamExt;

type Answer = Result<Value, Box<dyn AnyError + Send + Sync>>;

fn say(line: &Value) {
    let mut out = stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the script reads");
}

fn told(error: &(dyn AnyError + Send + Sync + 'static)) -> Value {
    let Some(Error::Call(call)) = error.downcast_ref::<Error>() else {
        return json!({"message": error.to_string()});
    };
    let mut code = String::new();
    for letter in format!("{:?}", call.code).chars() {
        if letter.is_uppercase() && !code.is_empty() {
            code.push('_');
        }
        code.extend(letter.to_uppercase());
    }
    let fields: Vec<_> = call.fields.iter().map(|each| &each.field).collect();
    json!({"code": code, "reason": call.reason, "message": call.message, "fields": fields, "hints": call.hints})
}

/// The parts of a command.
struct Given(Value);

impl Given {
    fn text(&self, name: &str) -> String {
        self.0[name].as_str().unwrap_or_default().to_owned()
    }

    fn value(&self, name: &str) -> Result<Option<Value>, serde_json::Error> {
        self.0[name].as_str().map(serde_json::from_str).transpose()
    }

    fn texts(&self, name: &str) -> Vec<String> {
        serde_json::from_value(self.0[name].clone()).unwrap_or_default()
    }
}

fn open(given: &Given) -> Result<Client, Error> {
    let path = |name| given.0[name].as_str().map(Into::into);
    let mut options = Options {
        token: given.0["token"].as_str().map(Into::into),
        authority: path("ca"),
        certificate: path("certificate").zip(path("key")),
        ..Options::default()
    };
    match &given.0["call_seconds"] {
        Value::Number(seconds) => options.call_timeout = seconds.as_f64().map(Duration::from_secs_f64),
        Value::String(_) => options.call_timeout = None,
        _ => {}
    }
    Client::new(&given.text("address"), options)
}

async fn perform(client: &Client, given: &Given) -> Answer {
    let run_id = given.text("run_id");
    let inputs = given.value("inputs")?;
    Ok(match given.text("do").as_str() {
        "start" => {
            let inputs = inputs.unwrap_or_else(|| json!({}));
            started(&client.start(given.text("workflow"), &inputs, start_options(given)).await?)
        }
        "starts" => starts(client, given).await?,
        "get" => {
            let run = client.get(run_id).await?;
            json!({"status": status_text(run.status), "seq": run.seq.to_string()})
        }
        "list" => {
            let filter = RunFilter { id_prefix: given.text("id_prefix"), ..Default::default() };
            let runs: Vec<_> = client.list(filter).collect::<Result<_, _>>().await?;
            json!({"run_ids": runs.into_iter().map(|run| run.run_id).collect::<Vec<_>>()})
        }
        "wait" => {
            let run = client.wait(&run_id).await?;
            let mut answer = json!({"status": status_text(run.status)});
            if run.status() == RunStatus::Completed {
                answer["output"] = client.result::<Value>(&run_id).await?.to_string().into();
            }
            answer
        }
        "follow" => follow(client, &run_id, &given.text("leave_at")).await?,
        "follows" => follows(client, given.texts("run_ids")).await?,
        "time" => timed(client, &run_id, given.0["bare"] == true).await?,
        "signal" => {
            let payload = given.value("payload")?;
            json!({"outcome": client.signal(run_id, given.text("name"), &payload, given.text("request_id")).await?})
        }
        "cancel" => json!({"outcome": client.cancel(run_id, "").await?}),
        "pause" => json!({"outcome": client.pause(run_id, "").await?}),
        "resume" => {
            let options = ResumeOptions { inputs, ..Default::default() };
            json!({"run_id": client.resume(run_id, options).await?.run_id})
        }
        "retry" => json!({"run_id": client.retry(run_id, given.text("step")).await?.run_id}),
        "fork" => {
            let options = ForkOptions { inputs, new_run_id: given.text("new_run_id"), ..Default::default() };
            started(&client.fork(run_id, options).await?)
        }
        "prune" => {
            let name = |name: &String| RunStatus::from_str_name(&format!("RUN_STATUS_{}", name.to_uppercase()));
            let statuses = given.texts("statuses").iter().filter_map(name).map(Into::into).collect();
            let filter = RunFilter { id_prefix: given.text("id_prefix"), statuses, ..Default::default() };
            let dry_run = given.0["dry_run"].as_bool().unwrap_or_default();
            let request = PruneRunsRequest { filter: Some(filter), dry_run, ..Default::default() };
            json!({"total": client.prune(request).await?.total})
        }
        other => return Err(format!("no command {other:?}").into()),
    })
}

fn start_options(given: &Given) -> StartOptions {
    let labels = serde_json::from_value(given.0["labels"].clone()).unwrap_or_default();
    StartOptions {
        run_id: given.text("run_id"),
        request_id: given.text("request_id"),
        labels,
        definition: given.text("definition"),
        flow: given.text("flow"),
        skip_steps: given.texts("skip_steps"),
        start_from: given.text("start_from"),
        timeout: given.0["timeout"].as_f64().map(Duration::from_secs_f64),
    }
}

async fn starts(client: &Client, given: &Given) -> Answer {
    let mut runs = Vec::new();
    for each in given.0["starts"].as_array().ok_or("no starts")? {
        let each = Given(each.clone());
        let inputs = each.value("inputs")?.unwrap_or_else(|| json!({}));
        runs.push(NewRun::new(each.text("workflow"), &inputs, start_options(&each))?);
    }
    let outcomes = client.start_runs(runs).await?.into_iter().map(|outcome| match outcome {
        Ok(run) => started(&run),
        Err(error) => json!({"error": told(&error)}),
    });
    Ok(json!({"outcomes": outcomes.collect::<Vec<_>>()}))
}

fn started(run: &Started) -> Value {
    json!({"run_id": run.run_id, "created": run.created})
}

async fn follow(client: &Client, run_id: &str, leave_at: &str) -> Answer {
    {
        let mut events = pin!(client.follow(run_id, Cursor::default()));
        while let Some(event) = events.next().await {
            let event = event?;
            let seq = event.seq.to_string();
            say(&json!({"event": {"seq": seq, "type": event.r#type}}));
            if seq == leave_at {
                return Ok(json!({"left": true}));
            }
        }
    }
    Ok(json!({"status": status_text(client.get(run_id).await?.status)}))
}

async fn timed(client: &Client, run_id: &str, bare: bool) -> Answer {
    let (began, mut count) = (Instant::now(), 0);
    if bare {
        let request = WatchRunRequest { run_id: run_id.to_owned(), ..Default::default() };
        let mut messages = client.service().watch_run(request).await?.into_inner();
        while let Some(message) = messages.message().await? {
            if let Some(Content::Events(batch)) = message.content {
                count += batch.events.len();
            }
        }
    } else {
        let mut events = pin!(client.follow(run_id, Cursor::default()));
        while let Some(event) = events.next().await {
            event?;
            count += 1;
        }
    }
    Ok(json!({"seconds": began.elapsed().as_secs_f64(), "events": count}))
}

async fn follows(client: &Client, run_ids: Vec<String>) -> Answer {
    let begun = Arc::new(Barrier::new(run_ids.len() + 1));
    let mut tasks = Vec::new();
    let open = run_ids.len();
    for run_id in run_ids {
        let (client, begun) = (client.clone(), begun.clone());
        tasks.push(tokio::spawn(async move {
            let mut events = pin!(client.follow(&run_id, Cursor::default()));
            let mut count = 0;
            while let Some(event) = events.next().await {
                event?;
                count += 1;
                if count == 1 {
                    begun.wait().await;
                }
            }
            Ok::<_, Error>(count)
        }));
    }
    begun.wait().await;
    say(&json!({"event": {"open": open}}));
    let mut counts: Vec<u32> = Vec::new();
    for task in tasks {
        counts.push(task.await??);
    }
    Ok(json!({"events": counts}))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn AnyError>> {
    let mut clients: HashMap<String, Client> = HashMap::new();
    for line in stdin().lines() {
        let given = Given(serde_json::from_str(&line?)?);
        let name = given.0["client"].as_str().unwrap_or("main").to_owned();
        let answer: Answer = if given.text("do") == "open" {
            open(&given).map(|client| drop(clients.insert(name, client))).map(|()| json!({})).map_err(Into::into)
        } else {
            perform(clients.get(&name).ok_or("no such client")?, &given).await
        };
        say(&match answer {
            Ok(answer) => json!({"ok": answer}),
            Err(error) => json!({"error": told(error.as_ref())}),
        });
    }
    Ok(())
}
