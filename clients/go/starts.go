package flujo

import (
	"context"
	"fmt"

	"github.com/flujo/flujo/clients/go/flujov1"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	mostStarts     = 1000
	mostStartBytes = 3 << 20 // of the starts of one call, which leaves room below what gRPC takes
)

// NewRun is one of many runs to start: what Start takes.
type NewRun struct {
	Workflow string
	Inputs   any
	StartOptions
}

// StartOutcome is what became of one of many starts: the run, or with Err why it was refused, which is an [*Error].
type StartOutcome struct {
	Started
	Err error
}

// StartRuns starts at most 1000 runs, with as few calls as gRPC has room for. It returns what became of each, in their
// order: one that is refused keeps no other from starting. An error is of a call as a whole, of which nothing else is
// known: repeat it with the same RunIDs or RequestIDs, and what was started is not started twice.
func (c *Client) StartRuns(ctx context.Context, runs []NewRun) ([]StartOutcome, error) {
	if len(runs) > mostStarts {
		return nil, tooManyStarts(len(runs))
	}
	requests := make([]*flujov1.StartRunRequest, 0, len(runs))
	for i, run := range runs {
		request, err := startRequest(run)
		if err != nil {
			return nil, fmt.Errorf("%w (the inputs of start %d)", err, i)
		}
		requests = append(requests, request)
	}
	outcomes := make([]StartOutcome, 0, len(runs))
	for _, request := range inCalls(requests) {
		answer, err := call(ctx, c, c.runs().StartRuns, request, 0)
		if err != nil {
			return nil, err
		}
		for _, told := range answer.GetOutcomes() {
			outcomes = append(outcomes, toOutcome(told))
		}
	}
	return outcomes, nil
}

func tooManyStarts(count int) error {
	return &Error{
		Code: codes.InvalidArgument, Reason: "INVALID_FIELD", Message: fmt.Sprintf("%d starts are more than one call takes", count),
		Hints:  []string{fmt.Sprintf("start at most %d of them at a time", mostStarts)},
		Fields: []FieldError{{"starts", fmt.Sprintf("at most %d of them", mostStarts)}},
	}
}

func startRequest(run NewRun) (*flujov1.StartRunRequest, error) {
	given, err := payload(run.Inputs)
	if err != nil {
		return nil, err
	}
	request := &flujov1.StartRunRequest{
		Source: &flujov1.StartRunRequest_Workflow{Workflow: run.Workflow}, RunId: run.RunID, Inputs: given,
		Labels: run.Labels, RequestId: requestID(run.RequestID), Flow: run.Flow, SkipSteps: run.SkipSteps,
		StartFrom: run.StartFrom,
	}
	if run.Timeout != 0 {
		request.Timeout = durationpb.New(run.Timeout)
	}
	if run.Definition != "" {
		request.Source = &flujov1.StartRunRequest_Definition{
			Definition: &flujov1.Definition{Text: run.Definition, Name: run.Workflow},
		}
	}
	return request, nil
}

// inCalls returns the requests that ask for these starts, in their order.
func inCalls(starts []*flujov1.StartRunRequest) []*flujov1.StartRunsRequest {
	var calls []*flujov1.StartRunsRequest
	room := 0
	for _, start := range starts {
		size := proto.Size(start)
		if len(calls) == 0 || size > room {
			calls, room = append(calls, &flujov1.StartRunsRequest{}), mostStartBytes
		}
		last := calls[len(calls)-1]
		last.Starts, room = append(last.Starts, start), room-size
	}
	return calls
}

func toOutcome(told *flujov1.StartOutcome) StartOutcome {
	outcome := StartOutcome{Started: Started{told.GetRunId(), told.GetCreated()}}
	if refusal := told.GetRefusal(); refusal != nil {
		outcome.Err = toRefusal(refusal)
	}
	return outcome
}

// toRefusal returns the error that Start would have returned; of a very long answer without its details.
func toRefusal(refusal *flujov1.StartRefusal) error {
	var whole status.Status
	if len(refusal.GetStatus()) > 0 && proto.Unmarshal(refusal.GetStatus(), &whole) == nil {
		return toError(grpcstatus.FromProto(&whole).Err())
	}
	return &Error{Code: codes.Code(refusal.GetCode()), Reason: refusal.GetReason(), Message: refusal.GetMessage()}
}
