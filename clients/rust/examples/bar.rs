//! Starts a run, shows how far it is, also while the server is killed and started again, prints its result, lists the runs
//! of its workflow, and forgets those that have ended.
//!
//!     cargo run --example bar unix:.flujo/server.sock

use std::collections::HashMap;
use std::env;
use std::io::{Write, stdout};
use std::pin::pin;

use flujo_client::v1::{PruneRunsRequest, RunFilter, event::Fact};
use flujo_client::{Client, Cursor, Error, Options, StartOptions, status_text};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

#[tokio::main]
async fn main() {
    let Some(address) = env::args().nth(1) else {
        eprintln!("usage: bar ADDRESS");
        std::process::exit(2);
    };
    if let Err(error) = show(&address).await {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

async fn show(address: &str) -> Result<(), Error> {
    let token = env::var("FLUJO_TOKEN").ok();
    let authority = env::var_os("FLUJO_TLS_CA").map(Into::into);
    let client = Client::new(address, Options { token, authority, ..Options::default() })?;
    let labels = HashMap::from([("from".to_owned(), "rust".to_owned())]);
    let started =
        client.start("ten-parts", &json!({"pause": "1s"}), StartOptions { labels, ..Default::default() }).await?;
    let mut done = 0;
    let mut events = pin!(client.follow(&started.run_id, Cursor::default()));
    while let Some(event) = events.next().await {
        if matches!(event?.fact, Some(Fact::StepCompleted(step)) if step.step.starts_with("parts[")) {
            done += 1;
            print!("\r[{:<10}] {done} of 10", "#".repeat(done));
            stdout().flush().expect("there is somebody to read it");
        }
    }
    println!("\nresult: {}", client.result::<Value>(&started.run_id).await?);
    let ours = RunFilter { workflow: "ten-parts".into(), ..Default::default() };
    let mut runs = pin!(client.list(ours.clone()));
    while let Some(run) = runs.next().await {
        let run = run?;
        println!("{} {}", run.run_id, status_text(run.status));
    }
    let pruned = client.prune(PruneRunsRequest { filter: Some(ours), ..Default::default() }).await?;
    println!("forgotten: {}", pruned.total);
    Ok(())
}
