package flujo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/flujo/flujo/clients/go/flujov1"
	"google.golang.org/grpc/codes"
)

// Cursor is a place in the events of a run: behind the event Seq of the run with this UID, which tells it from another
// run of the same id, in the store with this StoreID, which tells it from the store of before a backup took its place.
type Cursor struct {
	Seq     uint64
	UID     string
	StoreID string
}

// FromStart is the place before the first event.
var FromStart = Cursor{}

const (
	silence         = 45 * time.Second // unless the server says how often it brings a sign of life
	silentBookmarks = 3
	firstPause      = 50 * time.Millisecond
	longestPause    = time.Second
)

type watchStream interface {
	Recv() (*flujov1.WatchRunResponse, error)
}

// path is a connection, as a follow sees it.
type path interface {
	watch(context.Context, Cursor) (watchStream, error)
	giveUp() // the client leaves it, for all of its calls
}

// follower goes on after streams that break: at its cursor, over a new connection when the old one was silent.
type follower struct {
	connect   func() path
	reconnect time.Duration
	cursor    Cursor
}

// errSilent says that nothing has come over a connection for too long.
var errSilent = &Error{Code: codes.Unavailable, Message: "nothing has come from the server for too long"}

// events yields the events behind the cursor until the end message, and the error that ends it before.
func (f *follower) events(ctx context.Context) iter.Seq2[*flujov1.Event, error] {
	return func(yield func(*flujov1.Event, error) bool) {
		outage := outage{longest: f.reconnect}
		for {
			path := f.connect()
			done, err := f.stream(ctx, path, &outage, yield)
			if done {
				return
			}
			if ctx.Err() != nil {
				yield(nil, fmt.Errorf("flujo: %w", context.Cause(ctx)))
				return
			}
			if !isGone(err) {
				yield(nil, err)
				return
			}
			if errors.Is(err, errSilent) {
				path.giveUp()
			}
			if !outage.pause(ctx) {
				yield(nil, err)
				return
			}
		}
	}
}

// stream yields the events of one stream. It is done at the end message, and when the caller has left.
func (f *follower) stream(ctx context.Context, path path, outage *outage, yield func(*flujov1.Event, error) bool) (done bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // or the call would go on, here and on the server
	received := f.receive(ctx, path)
	longest := silence
	for {
		message, err := f.next(ctx, received, longest)
		if err == io.EOF {
			return false, &Error{Code: codes.Unavailable, Message: "the stream ended before the run did"}
		}
		if err != nil {
			return false, toError(err)
		}
		outage.over()
		switch content := message.GetContent().(type) {
		case *flujov1.WatchRunResponse_Header:
			f.cursor.UID = content.Header.GetRun().GetUid()
			f.cursor.StoreID = content.Header.GetStoreId()
			if interval := content.Header.GetBookmarkInterval().AsDuration(); interval > 0 {
				longest = silentBookmarks * interval
			}
		case *flujov1.WatchRunResponse_Events:
			for _, event := range content.Events.GetEvents() {
				if !yield(event, nil) {
					return true, nil
				}
				f.cursor.Seq = event.GetSeq() // only now: an event that was not handled comes again
			}
		case *flujov1.WatchRunResponse_End:
			return true, nil
		}
	}
}

type received struct {
	message *flujov1.WatchRunResponse
	err     error
}

// receive opens a stream, and sends what comes until an error.
func (f *follower) receive(ctx context.Context, path path) <-chan received {
	sent, at := make(chan received), f.cursor
	go func() {
		stream, err := path.watch(ctx, at)
		for {
			var message *flujov1.WatchRunResponse
			if err == nil {
				message, err = stream.Recv()
			}
			select {
			case sent <- received{message, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return sent
}

func (f *follower) next(ctx context.Context, from <-chan received, longest time.Duration) (*flujov1.WatchRunResponse, error) {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case got := <-from:
		return got.message, got.err
	case <-timer.C:
		return nil, errSilent
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// outage counts how long a server has been gone, from when that is first noticed.
type outage struct {
	longest time.Duration
	since   time.Time
	last    time.Duration
}

// over says that the server has answered.
func (o *outage) over() { o.since, o.last = time.Time{}, 0 }

// pause waits before the next try, longer each time; it returns false once the time is up, or the caller has left.
func (o *outage) pause(ctx context.Context) bool {
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	left := o.longest - now.Sub(o.since)
	if left <= 0 {
		return false
	}
	o.last = min(max(2*o.last, firstPause), longestPause)
	timer := time.NewTimer(min(o.last, left))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
