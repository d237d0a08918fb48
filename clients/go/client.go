package flujo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/flujo/flujo/clients/go/flujov1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	defaultCallTimeout = 30 * time.Second
	defaultReconnect   = 60 * time.Second
	waitTime           = 20 * time.Second
	pruneTime          = 20 * time.Second
)

// Options say what a client shows a server, and how long it waits. The zero value is right for a unix socket.
type Options struct {
	// Token is shown to a server that listens on TCP.
	Token string
	// CA is the file with the authority that has signed the server's certificate. It turns TLS on.
	CA string
	// Certificate and Key are the files with a certificate of the client's own, for a server that asks for one.
	Certificate, Key string
	// CallTimeout bounds each call but Follow, Wait and Result, unless its context has a deadline. 0 means 30 s, below
	// 0 no bound.
	CallTimeout time.Duration
	// Reconnect is how long Follow, Wait and Result look for a server that has gone. 0 means 60 s.
	Reconnect time.Duration
}

// Client is a connection to one server. Any number of goroutines may use it.
type Client struct {
	dialer  *dialer
	options Options

	mutex sync.Mutex
	conn  *grpc.ClientConn
}

// New returns a client of the server at an address, `unix:PATH` or `tcp://HOST:PORT`. It connects with the first call.
func New(address string, options ...Options) (*Client, error) {
	var chosen Options
	if len(options) > 0 {
		chosen = options[0]
	}
	if chosen.CallTimeout == 0 {
		chosen.CallTimeout = defaultCallTimeout
	}
	if chosen.Reconnect == 0 {
		chosen.Reconnect = defaultReconnect
	}
	dialer, err := newDialer(address, chosen)
	if err != nil {
		return nil, err
	}
	conn, err := dialer.dial()
	if err != nil {
		return nil, fmt.Errorf("flujo: %w", err)
	}
	return &Client{dialer: dialer, options: chosen, conn: conn}, nil
}

// Close ends the connection. Calls under way fail.
func (c *Client) Close() error { return c.connection().Close() }

func (c *Client) connection() *grpc.ClientConn {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.conn
}

// Service returns the generated client of the whole contract, for what has no method here.
func (c *Client) Service() flujov1.RunServiceClient { return c.runs() }

func (c *Client) runs() flujov1.RunServiceClient { return flujov1.NewRunServiceClient(c.connection()) }

// giveUp takes a connection for lost, unless that was done already.
func (c *Client) giveUp(lost *grpc.ClientConn) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.conn != lost {
		return
	}
	if made, err := c.dialer.dial(); err == nil {
		c.conn = made
		_ = lost.Close()
	}
}

// call makes one call within the client's time.
func call[Request, Answer any](ctx context.Context, c *Client, method func(context.Context, Request, ...grpc.CallOption) (Answer, error), request Request, more time.Duration) (Answer, error) {
	if _, has := ctx.Deadline(); !has && c.options.CallTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.options.CallTimeout+more)
		defer cancel()
	}
	answer, err := method(ctx, request)
	return answer, toError(err)
}

// Info returns what the server is.
func (c *Client) Info(ctx context.Context) (*flujov1.GetSystemInfoResponse, error) {
	system := flujov1.NewSystemServiceClient(c.connection())
	return call(ctx, c, system.GetSystemInfo, &flujov1.GetSystemInfoRequest{}, 0)
}

// StartOptions say more about a start.
type StartOptions struct {
	// RunID names the run. Empty: the server makes an id.
	RunID string
	// RequestID makes a repeat of this start harmless. Empty: the client makes one.
	RequestID string
	// Labels are for finding the run.
	Labels map[string]string
	// Definition is a YAML document that is run instead of a workflow the server knows; the workflow that is named is what
	// messages call it.
	Definition string
	// Flow names the flow of the workflow whose steps are performed, or "all" for every step. Empty: the one that the
	// workflow names itself.
	Flow string
	// SkipSteps names steps to skip whenever they are reached.
	SkipSteps []string
	// StartFrom names the step to begin with: those that come before it are skipped.
	StartFrom string
	// Timeout is how long the run may take from its start, and again from each resume, before it fails. Zero: as long as
	// the workflow says.
	Timeout time.Duration
}

// Started is a run that was started, or was there.
type Started struct {
	RunID   string
	Created bool
}

// Start starts a run. Inputs are anything that is a JSON object, or nil. The same RunID with the same inputs, or the same
// RequestID, is started once.
func (c *Client) Start(ctx context.Context, workflow string, inputs any, options StartOptions) (Started, error) {
	request, err := startRequest(NewRun{workflow, inputs, options})
	if err != nil {
		return Started{}, err
	}
	answer, err := call(ctx, c, c.runs().StartRun, request, 0)
	return Started{answer.GetRun().GetRunId(), answer.GetCreated()}, err
}

// Get returns a run as it stands, without its details.
func (c *Client) Get(ctx context.Context, runID string) (*flujov1.Run, error) {
	answer, err := call(ctx, c, c.runs().GetRun, &flujov1.GetRunRequest{RunId: runID}, 0)
	return answer.GetRun(), err
}

// Inspect returns a run with its details, as far as an answer has room for them.
func (c *Client) Inspect(ctx context.Context, runID string) (*flujov1.Run, error) {
	request := &flujov1.GetRunRequest{RunId: runID, View: flujov1.RunView_RUN_VIEW_FULL}
	answer, err := call(ctx, c, c.runs().GetRun, request, 0)
	return answer.GetRun(), err
}

// List yields the runs that match, newest first, page after page. An error is the last thing it yields.
func (c *Client) List(ctx context.Context, filter *flujov1.RunFilter) iter.Seq2[*flujov1.Run, error] {
	return func(yield func(*flujov1.Run, error) bool) {
		request := &flujov1.ListRunsRequest{Filter: filter, PageSize: 1000}
		for {
			answer, err := call(ctx, c, c.runs().ListRuns, request, 0)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, run := range answer.GetRuns() {
				if !yield(run, nil) {
					return
				}
			}
			if request.PageToken = answer.GetNextPageToken(); request.PageToken == "" {
				return
			}
		}
	}
}

// Follow yields the events of a run behind a cursor, stored or new, each once and in order, until the run is final and
// everything has come. It goes on over lost connections and restarts of the server, behind the last event whose body of
// the loop has ended. Leaving the loop ends the call. An error is the last thing it yields.
func (c *Client) Follow(ctx context.Context, runID string, from Cursor) iter.Seq2[*flujov1.Event, error] {
	following := &follower{
		connect:   func() path { return watchPath{c, c.connection(), runID} },
		reconnect: c.options.Reconnect,
		cursor:    from,
	}
	return following.events(ctx)
}

// watchPath is the way to the events of a run over one connection.
type watchPath struct {
	client *Client
	conn   *grpc.ClientConn
	runID  string
}

func (p watchPath) watch(ctx context.Context, at Cursor) (watchStream, error) {
	request := &flujov1.WatchRunRequest{RunId: p.runID, AfterSeq: at.Seq, Uid: at.UID, StoreId: at.StoreID}
	return flujov1.NewRunServiceClient(p.conn).WatchRun(ctx, request)
}

func (p watchPath) giveUp() { p.client.giveUp(p.conn) }

// Wait returns a run, with its details, once it has ended or is paused. It goes on as Follow does. Returns
// [ErrInterrupted] for a run that nobody runs.
func (c *Client) Wait(ctx context.Context, runID string) (*flujov1.Run, error) {
	outage := outage{longest: c.options.Reconnect}
	request := &flujov1.WaitRunRequest{RunId: runID, MaxWait: durationpb.New(waitTime), View: flujov1.RunView_RUN_VIEW_FULL}
	for {
		conn := c.connection()
		asking, cancel := context.WithTimeout(ctx, waitTime+max(c.options.CallTimeout, time.Second))
		answer, err := flujov1.NewRunServiceClient(conn).WaitRun(asking, request)
		late := asking.Err() != nil && ctx.Err() == nil
		cancel()
		switch err = toError(err); {
		case err == nil && answer.GetReached():
			return answer.GetRun(), nil
		case err == nil && answer.GetRun().GetInterrupted():
			return answer.GetRun(), ErrInterrupted
		case err == nil:
			outage.over()
			continue
		case ctx.Err() != nil || !isGone(err):
			return nil, err
		}
		if late {
			c.giveUp(conn)
		}
		if !outage.pause(ctx) {
			return nil, err
		}
	}
}

// Result waits for a run and reads its output into a value. Returns a [*RunError] for a run that has not completed.
func (c *Client) Result(ctx context.Context, runID string, into any) error {
	run, err := c.Wait(ctx, runID)
	if err != nil {
		return err
	}
	if run.GetStatus() != flujov1.RunStatus_RUN_STATUS_COMPLETED {
		return &RunError{run}
	}
	text, err := c.Text(ctx, runID, run.GetUid(), run.GetDetails().GetOutput())
	if err != nil {
		return err
	}
	return Decode(text, into)
}

// Signal sends a signal with a payload, which may be nil. With the same request id, empty for a new one, it arrives once.
// Returns what became of it: "recorded", "posted" or "stored".
func (c *Client) Signal(ctx context.Context, runID, name string, value any, request string) (string, error) {
	given, err := payload(value)
	if err != nil {
		return "", err
	}
	answer, err := call(ctx, c, c.runs().SignalRun, &flujov1.SignalRunRequest{RunId: runID, Name: name, Payload: given, RequestId: requestID(request)}, 0)
	return word(answer.GetOutcome().String(), "SIGNAL_OUTCOME_", int32(answer.GetOutcome())), err
}

// Cancel asks a run to stop. Returns what becomes of it: "requested", "cancelled" or "already_finished".
func (c *Client) Cancel(ctx context.Context, runID, reason string) (string, error) {
	answer, err := call(ctx, c, c.runs().CancelRun, &flujov1.CancelRunRequest{RunId: runID, Reason: reason, RequestId: requestID("")}, 0)
	return word(answer.GetOutcome().String(), "CANCEL_OUTCOME_", int32(answer.GetOutcome())), err
}

// Pause asks a run to pause. Returns what becomes of it: "requested", "paused" or "already_paused".
func (c *Client) Pause(ctx context.Context, runID, reason string) (string, error) {
	answer, err := call(ctx, c, c.runs().PauseRun, &flujov1.PauseRunRequest{RunId: runID, Reason: reason, RequestId: requestID("")}, 0)
	return word(answer.GetOutcome().String(), "PAUSE_OUTCOME_", int32(answer.GetOutcome())), err
}

// ResumeOptions say how to resume.
type ResumeOptions struct {
	// FromStep is run again, with what follows on it. Empty: only what failed.
	FromStep string
	// Inputs are merged over the recorded ones.
	Inputs any
	// Retry names steps that are run again, and no others.
	Retry []string
	// RequestID makes a repeat harmless. Empty: the client makes one.
	RequestID string
}

// Resume takes up a run that is failed, paused, cancelled or interrupted.
func (c *Client) Resume(ctx context.Context, runID string, options ResumeOptions) (*flujov1.Run, error) {
	given, err := payload(options.Inputs)
	if err != nil {
		return nil, err
	}
	request := &flujov1.ResumeRunRequest{
		RunId: runID, FromStep: options.FromStep, Inputs: given, Retry: options.Retry, RequestId: requestID(options.RequestID),
	}
	answer, err := call(ctx, c, c.runs().ResumeRun, request, 0)
	return answer.GetRun(), err
}

// Retry runs a step of a run again, and goes on from there.
func (c *Client) Retry(ctx context.Context, runID, step string) (*flujov1.Run, error) {
	return c.Resume(ctx, runID, ResumeOptions{Retry: []string{step}})
}

// ForkOptions say how to fork.
type ForkOptions struct {
	// NewRunID names the new run. Empty: the server makes an id.
	NewRunID string
	// FromStep is left out, with what follows on it.
	FromStep string
	// Inputs and Labels are merged over those of the run.
	Inputs any
	Labels map[string]string
	// RequestID makes a repeat harmless. Empty: the client makes one.
	RequestID string
}

// Fork starts a run with the history of another one.
func (c *Client) Fork(ctx context.Context, runID string, options ForkOptions) (Started, error) {
	given, err := payload(options.Inputs)
	if err != nil {
		return Started{}, err
	}
	request := &flujov1.ForkRunRequest{
		RunId: runID, NewRunId: options.NewRunID, FromStep: options.FromStep, Inputs: given, Labels: options.Labels,
		RequestId: requestID(options.RequestID),
	}
	answer, err := call(ctx, c, c.runs().ForkRun, request, 0)
	return Started{answer.GetRun().GetRunId(), answer.GetCreated()}, err
}

// Prune forgets runs that have settled, or says which would go. Call it again while the answer says More.
func (c *Client) Prune(ctx context.Context, request *flujov1.PruneRunsRequest) (*flujov1.PruneRunsResponse, error) {
	if request == nil {
		return nil, errors.New("flujo: prune needs to be told which runs")
	}
	return call(ctx, c, c.runs().PruneRuns, request, pruneTime)
}

// requestID returns the id given, or a new one.
func requestID(given string) string {
	if given != "" {
		return given
	}
	return rand.Text()
}
