package flujo

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flujo/flujo/clients/go/flujov1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// server answers each watch with the next of some streams. Time is that of a synctest bubble: it goes on when all wait.
type server struct {
	streams []stream
	asked   []Cursor
	at      []time.Duration
	givenUp int
	ended   atomic.Int32
	began   time.Time
}

// stream is what comes over one connection, and the error it ends with; without one it goes silent.
type stream struct {
	messages []*flujov1.WatchRunResponse
	err      error
}

func (s *server) giveUp() { s.givenUp++ }

func (s *server) watch(ctx context.Context, at Cursor) (watchStream, error) {
	s.asked = append(s.asked, at)
	s.at = append(s.at, time.Since(s.began))
	if len(s.streams) == 0 {
		return nil, gone
	}
	next := s.streams[0]
	s.streams = s.streams[1:]
	context.AfterFunc(ctx, func() { s.ended.Add(1) })
	return &playing{ctx, next}, nil
}

type playing struct {
	ctx    context.Context
	stream stream
}

func (p *playing) Recv() (*flujov1.WatchRunResponse, error) {
	if len(p.stream.messages) > 0 {
		message := p.stream.messages[0]
		p.stream.messages = p.stream.messages[1:]
		return message, nil
	}
	if p.stream.err != nil {
		return nil, p.stream.err
	}
	<-p.ctx.Done()
	return nil, p.ctx.Err()
}

var gone = status.Error(codes.Unavailable, "connection refused")

func header(interval time.Duration) *flujov1.WatchRunResponse {
	return &flujov1.WatchRunResponse{Content: &flujov1.WatchRunResponse_Header{Header: &flujov1.WatchHeader{
		Run: &flujov1.Run{Uid: "u"}, StoreId: "s", BookmarkInterval: durationpb.New(interval),
	}}}
}

func batch(seqs ...uint64) *flujov1.WatchRunResponse {
	made := &flujov1.EventBatch{}
	for _, seq := range seqs {
		made.Events = append(made.Events, &flujov1.Event{Seq: seq})
	}
	return &flujov1.WatchRunResponse{Content: &flujov1.WatchRunResponse_Events{Events: made}}
}

func end() *flujov1.WatchRunResponse {
	return &flujov1.WatchRunResponse{Content: &flujov1.WatchRunResponse_End{End: &flujov1.WatchEnd{}}}
}

func messages(all ...*flujov1.WatchRunResponse) []*flujov1.WatchRunResponse { return all }

// followed returns the events that come, the error at their end, and how long that took.
func followed(s *server, reconnect time.Duration, leaveAt uint64) (seqs []uint64, err error) {
	s.began = time.Now()
	follower := &follower{connect: func() path { return s }, reconnect: reconnect}
	for event, failed := range follower.events(context.Background()) {
		if failed != nil {
			return seqs, failed
		}
		if seqs = append(seqs, event.GetSeq()); event.GetSeq() == leaveAt {
			break
		}
	}
	return seqs, nil
}

func TestAFollowGoesOnAfterEveryKindOfBreak(t *testing.T) {
	for name, broken := range map[string]error{
		"unavailable":                gone,
		"closed on this side":        status.Error(codes.Canceled, "the client connection is closing"),
		"reset":                      status.Error(codes.Internal, "stream terminated by RST_STREAM"),
		"an end without a last word": io.EOF,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{streams: []stream{
					{messages(header(0), batch(1, 2)), broken},
					{messages(header(0), batch(3)), broken},
					{messages(header(0), batch(4), end()), nil},
				}}
				seqs, err := followed(s, time.Minute, 0)
				if err != nil || !slices.Equal(seqs, []uint64{1, 2, 3, 4}) {
					t.Errorf("events %v, error %v", seqs, err)
				}
				if want := []Cursor{{}, {2, "u", "s"}, {3, "u", "s"}}; !slices.Equal(s.asked, want) {
					t.Errorf("asked for %v, not %v", s.asked, want)
				}
				if s.givenUp != 0 {
					t.Errorf("left %d connections that were not silent", s.givenUp)
				}
			})
		})
	}
}

func TestASilentConnectionIsLeftAfterThreeBookmarks(t *testing.T) {
	for name, test := range map[string]struct{ interval, silence time.Duration }{
		"of the interval that the server tells": {15 * time.Second, 45 * time.Second},
		"of a shorter one":                      {2 * time.Second, 6 * time.Second},
		"of a server that tells none":           {0, silence},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{streams: []stream{{messages(header(test.interval), batch(1)), nil}, {messages(batch(2), end()), nil}}}
				seqs, err := followed(s, time.Minute, 0)
				if err != nil || !slices.Equal(seqs, []uint64{1, 2}) || s.givenUp != 1 {
					t.Errorf("events %v, error %v, left %d connections", seqs, err, s.givenUp)
				}
				if want := test.silence + firstPause; s.at[1] != want {
					t.Errorf("came back after %v, not %v", s.at[1], want)
				}
			})
		})
	}
}

func TestAFollowGivesUpWhenNoServerComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{streams: []stream{{messages(header(0), batch(1)), gone}}}
		seqs, err := followed(s, 10*time.Second, 0)
		var found *Error
		if !slices.Equal(seqs, []uint64{1}) || !errors.As(err, &found) || found.Code != codes.Unavailable {
			t.Errorf("events %v, error %v", seqs, err)
		}
		if took := time.Since(s.began); took != 10*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if tries := len(s.asked); tries < 10 || tries > 20 {
			t.Errorf("tried %d times", tries)
		}
	})
}

func TestTheTimeToGiveUpCountsFromTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		for seq := range uint64(8) {
			s.streams = append(s.streams, stream{messages(header(time.Second), batch(seq+1)), nil})
		}
		s.streams = append(s.streams, stream{messages(end()), nil})
		seqs, err := followed(s, 2*time.Second, 0)
		if err != nil || len(seqs) != 8 || time.Since(s.began) < 20*time.Second {
			t.Errorf("events %v, error %v after %v", seqs, err, time.Since(s.began))
		}
	})
}

func TestAnErrorOfTheServerEndsAFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{streams: []stream{{nil, status.Error(codes.NotFound, "no such run")}}}
		_, err := followed(s, time.Minute, 0)
		var found *Error
		if !errors.As(err, &found) || found.Code != codes.NotFound || len(s.asked) != 1 {
			t.Errorf("error %v after %d calls", err, len(s.asked))
		}
	})
}

func TestLeavingTheLoopEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{streams: []stream{{messages(header(0), batch(1, 2, 3)), nil}}}
		seqs, err := followed(s, time.Minute, 2)
		synctest.Wait()
		if err != nil || !slices.Equal(seqs, []uint64{1, 2}) || s.ended.Load() != 1 {
			t.Errorf("events %v, error %v, %d calls ended", seqs, err, s.ended.Load())
		}
	})
}

func TestACancelledContextEndsAFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		s := &server{streams: []stream{{messages(header(0), batch(1)), nil}}}
		follower := &follower{connect: func() path { return s }, reconnect: time.Minute}
		var last error
		for _, err := range follower.events(ctx) {
			last = err
		}
		if !errors.Is(last, context.DeadlineExceeded) {
			t.Errorf("the error is %v", last)
		}
	})
}
