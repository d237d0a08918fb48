//! Follow a run over streams that break.

use std::time::Duration;

use async_stream::try_stream;
use futures_core::Stream;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use crate::Error;
use crate::v1::watch_run_response::Content;
use crate::v1::{Event, WatchRunResponse};

/// A place in the events of a run: behind the event `seq` of the run with this `uid`, which tells it from another run of the
/// same id, in the store with this `store_id`, which tells it from the store of before a backup took its place. The default
/// is before the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Number of the last event that is not wanted any more.
    pub seq: u64,
    /// `uid` of the run that has this event.
    pub uid: String,
    /// `store_id` of the store that has this run.
    pub store_id: String,
}

/// After so long without anything, unless the server says how often it brings a sign of life.
const SILENCE: Duration = Duration::from_secs(45);
const SILENT_BOOKMARKS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection, as a follow sees it.
pub(crate) trait Path {
    /// A stream over it; to drop it ends the call, here and on the server.
    type Messages: Messages;
    /// Opens a stream.
    async fn watch(&self, at: &Cursor) -> Result<Self::Messages, Error>;
    /// Leaves the connection, for all calls of the client.
    fn give_up(&self);
}

/// What comes over a stream.
pub(crate) trait Messages {
    /// Returns the next message, none at the end.
    async fn next(&mut self) -> Result<Option<WatchRunResponse>, Error>;
}

/// Counts how long a server has been gone, from when that is first noticed.
pub(crate) struct Outage {
    longest: Duration,
    since: Option<Instant>,
    pause: Duration,
}

impl Outage {
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, since: None, pause: Duration::ZERO }
    }

    /// Says that the server has answered.
    pub(crate) fn over(&mut self) {
        (self.since, self.pause) = (None, Duration::ZERO);
    }

    /// Waits before the next try, longer each time; returns the error once the time is up.
    pub(crate) async fn wait(&mut self, error: Error) -> Result<(), Error> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = self.longest.saturating_sub(since.elapsed());
        if left.is_zero() {
            return Err(error);
        }
        self.pause = (2 * self.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        sleep(self.pause.min(left)).await;
        Ok(())
    }
}

/// Why a stream has ended.
enum Ended {
    Silent,
    Broke(Error),
}

/// Yields the events behind a cursor until the end message; goes on after streams that break, behind the last event that was
/// handled, which is when the next one is asked for.
pub(crate) fn followed<P: Path>(
    connect: impl Fn() -> P,
    from: Cursor,
    reconnect: Duration,
) -> impl Stream<Item = Result<Event, Error>> {
    try_stream! {
        let mut at = from;
        let mut silence = SILENCE;
        let mut outage = Outage::new(reconnect);
        loop {
            let path = connect();
            let mut messages = None;
            let ended = loop {
                let message = match timeout(silence, next(&path, &at, &mut messages)).await {
                    Err(_) => break Ended::Silent,
                    Ok(Err(error)) => break Ended::Broke(error),
                    Ok(Ok(message)) => message,
                };
                outage.over();
                match message.content {
                    Some(Content::Header(header)) => {
                        at.store_id = header.store_id;
                        at.uid = header.run.map(|run| run.uid).unwrap_or_default();
                        let told = header.bookmark_interval.and_then(|interval| Duration::try_from(interval).ok());
                        silence = told.filter(|told| !told.is_zero()).map_or(SILENCE, |told| SILENT_BOOKMARKS * told);
                    }
                    Some(Content::Events(batch)) => {
                        for event in batch.events {
                            let seq = event.seq;
                            yield event;
                            at.seq = seq;
                        }
                    }
                    Some(Content::End(_)) => return,
                    Some(Content::Bookmark(_)) | None => {} // none: what a newer server says
                }
            };
            drop(messages);
            let error = match ended {
                Ended::Silent => {
                    path.give_up();
                    Error::call(Code::Unavailable, "nothing has come from the server for too long")
                }
                Ended::Broke(error) => error,
            };
            if !error.is_gone() {
                Err(error)?;
                return;
            }
            outage.wait(error).await?;
        }
    }
}

/// Returns the next message of a stream, which is opened if need be. Only the end message ends it well.
async fn next<P: Path>(path: &P, at: &Cursor, messages: &mut Option<P::Messages>) -> Result<WatchRunResponse, Error> {
    if messages.is_none() {
        *messages = Some(path.watch(at).await?);
    }
    let open = messages.as_mut().expect("it was opened above");
    let ended = || Error::call(Code::Unavailable, "the stream ended before the run did");
    open.next().await?.ok_or_else(ended)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::pin::pin;
    use std::rc::Rc;

    use tokio_stream::StreamExt;
    use tonic::Status;

    use super::*;
    use crate::v1::{EventBatch, Run, WatchEnd, WatchHeader};

    /// A message, an error, or with none the end without a last word. A stream that is used up is silent.
    type Came = Result<Option<WatchRunResponse>, Status>;

    /// Answers each watch with the next of some streams. Time is tokio's, paused: it goes on when all wait.
    #[derive(Clone)]
    struct Server(Rc<State>);

    struct State {
        streams: RefCell<VecDeque<VecDeque<Came>>>,
        asked: RefCell<Vec<Cursor>>,
        at: RefCell<Vec<Duration>>,
        given_up: Cell<u32>,
        dropped: Cell<u32>,
        began: Instant,
    }

    impl Server {
        fn new(streams: impl IntoIterator<Item = Vec<Came>>) -> Self {
            Self(Rc::new(State {
                streams: RefCell::new(streams.into_iter().map(VecDeque::from).collect()),
                asked: RefCell::default(),
                at: RefCell::default(),
                given_up: Cell::new(0),
                dropped: Cell::new(0),
                began: Instant::now(),
            }))
        }

        async fn seqs(&self, reconnect: u64) -> (Vec<u64>, Option<Error>) {
            let mut found = Vec::new();
            let follow = followed(|| self.clone(), Cursor::default(), Duration::from_secs(reconnect));
            let mut events = pin!(follow);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => found.push(event.seq),
                    Err(error) => return (found, Some(error)),
                }
            }
            (found, None)
        }
    }

    impl Path for Server {
        type Messages = Playing;

        async fn watch(&self, at: &Cursor) -> Result<Playing, Error> {
            self.0.asked.borrow_mut().push(at.clone());
            self.0.at.borrow_mut().push(self.0.began.elapsed());
            let next = self.0.streams.borrow_mut().pop_front();
            Ok(Playing(next.ok_or_else(|| Status::unavailable("connection refused"))?, self.clone()))
        }

        fn give_up(&self) {
            self.0.given_up.set(self.0.given_up.get() + 1);
        }
    }

    struct Playing(VecDeque<Came>, Server);

    impl Drop for Playing {
        fn drop(&mut self) {
            self.1.0.dropped.set(self.1.0.dropped.get() + 1);
        }
    }

    impl Messages for Playing {
        async fn next(&mut self) -> Result<Option<WatchRunResponse>, Error> {
            match self.0.pop_front() {
                Some(came) => Ok(came?),
                None => std::future::pending().await,
            }
        }
    }

    #[allow(clippy::unnecessary_wraps)] // it stands beside those that fail
    fn came(content: Content) -> Came {
        Ok(Some(WatchRunResponse { content: Some(content) }))
    }

    fn header(seconds: i64) -> Came {
        came(Content::Header(WatchHeader {
            run: Some(Run { uid: "u".into(), ..Run::default() }),
            store_id: "s".into(),
            bookmark_interval: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..WatchHeader::default()
        }))
    }

    fn batch(seqs: impl IntoIterator<Item = u64>) -> Came {
        let events = seqs.into_iter().map(|seq| Event { seq, ..Event::default() }).collect();
        came(Content::Events(EventBatch { events, ..EventBatch::default() }))
    }

    fn end() -> Came {
        came(Content::End(WatchEnd::default()))
    }

    fn cursor(seq: u64) -> Cursor {
        Cursor { seq, uid: "u".into(), store_id: "s".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_follow_goes_on_after_every_kind_of_break() {
        let codes = [Code::Unavailable, Code::Cancelled, Code::Internal, Code::Unknown, Code::DeadlineExceeded];
        let broken = codes.map(|code| Err(Status::new(code, "broken"))).into_iter().chain([Ok(None)]);
        for broken in broken {
            let server = Server::new([
                vec![header(0), batch([1, 2]), broken.clone()],
                vec![header(0), batch([3]), broken],
                vec![header(0), batch([4]), end()],
            ]);
            let (seqs, error) = server.seqs(60).await;
            assert!(error.is_none(), "{error:?}");
            assert_eq!(seqs, [1, 2, 3, 4]);
            assert_eq!(*server.0.asked.borrow(), [Cursor::default(), cursor(2), cursor(3)]);
            assert_eq!(server.0.given_up.get(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_left_after_three_bookmarks() {
        for (interval, silence) in [(15, 45), (2, 6), (0, 45)] {
            let server = Server::new([vec![header(interval), batch([1])], vec![batch([2]), end()]]);
            assert_eq!(server.seqs(60).await.0, [1, 2]);
            assert_eq!(server.0.given_up.get(), 1);
            let came_back = server.0.at.borrow()[1];
            assert_eq!(came_back.as_millis(), 1000 * silence + FIRST_PAUSE.as_millis());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_follow_gives_up_when_no_server_comes_back() {
        let server = Server::new([vec![header(0), batch([1]), Err(Status::unavailable("gone"))]]);
        let (seqs, error) = server.seqs(10).await;
        assert_eq!(seqs, [1]);
        assert!(error.is_some_and(|error| error.is_gone()));
        assert_eq!(server.0.began.elapsed().as_secs(), 10);
        assert!((10..20).contains(&server.0.asked.borrow().len()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_to_give_up_counts_from_the_last_answer() {
        let silent = (1..=8).map(|seq| vec![header(1), batch([seq])]);
        let server = Server::new(silent.chain([vec![end()]]));
        assert_eq!(server.seqs(2).await.0.len(), 8);
        assert!(server.0.began.elapsed().as_secs() > 20);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_the_server_ends_a_follow() {
        let server = Server::new([vec![Err(Status::not_found("no such run"))]]);
        assert!(server.seqs(60).await.1.is_some_and(|error| !error.is_gone()));
        assert_eq!(server.0.asked.borrow().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn to_drop_a_follow_ends_its_call() {
        let server = Server::new([vec![header(0), batch([1, 2, 3])]]);
        {
            let follow = followed(|| server.clone(), Cursor::default(), Duration::from_secs(60));
            let mut events = pin!(follow);
            assert_eq!(events.next().await.unwrap().unwrap().seq, 1);
            assert_eq!(server.0.dropped.get(), 0);
        }
        assert_eq!(server.0.dropped.get(), 1);
    }
}
