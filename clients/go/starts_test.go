package flujo

import (
	"strings"
	"testing"

	"github.com/flujo/flujo/clients/go/flujov1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func TestStartsAreAskedForInAsFewCallsAsThereIsRoomFor(t *testing.T) {
	for _, test := range []struct{ sizes, calls []int }{
		{nil, nil},
		{[]int{10, 20, 30}, []int{3}},
		{[]int{mostStartBytes / 2, mostStartBytes / 2, 10}, []int{1, 2}}, // their frames need some bytes as well
		{[]int{10, 2 * mostStartBytes, 10}, []int{1, 1, 1}},
	} {
		var starts []*flujov1.StartRunRequest
		for _, size := range test.sizes {
			starts = append(starts, &flujov1.StartRunRequest{RunId: strings.Repeat("r", size)})
		}
		calls, at := inCalls(starts), 0
		if len(calls) != len(test.calls) {
			t.Errorf("%v: %d calls", test.sizes, len(calls))
			continue
		}
		for i, call := range calls {
			if len(call.GetStarts()) != test.calls[i] {
				t.Errorf("%v: call %d has %d starts", test.sizes, i, len(call.GetStarts()))
			}
			for _, start := range call.GetStarts() {
				if start != starts[at] {
					t.Errorf("%v: start %d is another one", test.sizes, at)
				}
				at++
			}
		}
	}
}

func TestARefusalIsTheErrorThatStartReturns(t *testing.T) {
	told, err := status.New(codes.InvalidArgument, "an id").WithDetails(
		&errdetails.ErrorInfo{Domain: "flujo", Reason: "INVALID_FIELD", Metadata: map[string]string{"hints": "do this"}},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "run_id", Description: "no"}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := proto.Marshal(told.Proto())
	if err != nil {
		t.Fatal(err)
	}
	refusal := &flujov1.StartRefusal{Code: uint32(codes.InvalidArgument), Reason: "INVALID_FIELD", Message: "an id", Status: whole}
	found := toRefusal(refusal).(*Error)
	if found.Reason != "INVALID_FIELD" || found.Hints[0] != "do this" || found.Fields[0].Field != "run_id" {
		t.Errorf("it tells %+v", found)
	}
	for _, status := range [][]byte{nil, {0xff}} {
		refusal.Status = status
		if found := toRefusal(refusal).(*Error); found.Code != codes.InvalidArgument || found.Reason != "INVALID_FIELD" || found.Message != "an id" {
			t.Errorf("without its details it tells %+v", found)
		}
	}
}

func TestTooManyStartsAndInputsThatAreNoJSONStartNothing(t *testing.T) {
	client, err := New("unix:no-such-socket")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.StartRuns(t.Context(), make([]NewRun, mostStarts+1))
	if ReasonOf(err) != "INVALID_FIELD" || !strings.Contains(err.Error(), "1001 starts") {
		t.Errorf("too many: %v", err)
	}
	_, err = client.StartRuns(t.Context(), []NewRun{{Workflow: "w"}, {Workflow: "w", Inputs: func() {}}})
	if err == nil || !strings.Contains(err.Error(), "the inputs of start 1") {
		t.Errorf("no JSON: %v", err)
	}
	if outcomes, err := client.StartRuns(t.Context(), nil); err != nil || len(outcomes) != 0 {
		t.Errorf("none: %v, %v", outcomes, err)
	}
}
