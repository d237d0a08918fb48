//! A client of a flujo server, which runs workflows whose steps survive crashes: see [`Client`].
//!
//! A run lives in the server: it ends with no call, client or program. `follow`, `wait` and `result` go on when the
//! connection is lost or the server is restarted; every other call fails at once with an [`Error`], and may be repeated with
//! the same request id, with which it is carried out once.

mod client;
mod connection;
mod error;
mod follow;
mod starts;
mod value;

/// The messages and the generated client of the whole contract.
#[allow(clippy::all, clippy::pedantic, missing_docs, rustdoc::all)]
pub mod v1 {
    include!("generated/flujo.v1.rs");
}

pub use client::{Client, ForkOptions, ResumeOptions};
pub use connection::{Options, Service};
pub use error::{CallError, Error, FieldError};
pub use follow::Cursor;
pub use starts::{NewRun, StartOptions, Started};
pub use value::status_text;
