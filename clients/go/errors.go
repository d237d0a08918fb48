package flujo

import (
	"errors"
	"fmt"
	"strings"

	"github.com/flujo/flujo/clients/go/flujov1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is what a call fails with.
type Error struct {
	// Code is that of gRPC.
	Code codes.Code
	// Reason says what is wrong, as listed in the contract, such as RUN_NOT_FOUND. It is stable. Empty for what the
	// server did not say, such as that it cannot be reached.
	Reason string
	// Message says it to people.
	Message string
	// Hints say what may help, a command each.
	Hints []string
	// Fields are the fields of the request that are wrong.
	Fields []FieldError
	// Metadata holds the values that the message mentions.
	Metadata map[string]string

	cause error
}

// FieldError says what is wrong with a field of a request, which it names by its path.
type FieldError struct{ Field, Description string }

func (e *Error) Error() string {
	text := "flujo: " + e.Message
	for _, hint := range e.Hints {
		text += "\n  " + hint
	}
	return text
}

// Unwrap returns the error of gRPC.
func (e *Error) Unwrap() error { return e.cause }

// ReasonOf returns the Reason of an [Error], and "" for any other error.
func ReasonOf(err error) string {
	var found *Error
	if errors.As(err, &found) {
		return found.Reason
	}
	return ""
}

// RunError is what Result returns for a run that has not completed.
type RunError struct{ Run *flujov1.Run }

func (e *RunError) Error() string {
	text := fmt.Sprintf("flujo: the run %s is %s", e.Run.GetRunId(), StatusText(e.Run.GetStatus()))
	if failure := e.Run.GetError(); failure != nil {
		text += fmt.Sprintf(": %s: %s", failure.GetType(), failure.GetMessage())
	}
	return text
}

// ErrInterrupted is what Wait and Result return for a run that ought to run and that no live process runs.
var ErrInterrupted = errors.New("flujo: no live process runs this run; resume it, or start a server that knows its workflow")

// toError makes an [Error] of one of gRPC; it leaves nil, and what is none.
func toError(err error) error {
	told, isStatus := status.FromError(err)
	if err == nil || !isStatus {
		return err
	}
	made := &Error{Code: told.Code(), Message: told.Message(), cause: err}
	for _, detail := range told.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() != "flujo" {
				continue
			}
			made.Reason, made.Metadata = detail.GetReason(), detail.GetMetadata()
			if hints := detail.GetMetadata()["hints"]; hints != "" {
				made.Hints = strings.Split(hints, "\n")
			}
		case *errdetails.BadRequest:
			for _, each := range detail.GetFieldViolations() {
				made.Fields = append(made.Fields, FieldError{each.GetField(), each.GetDescription()})
			}
		}
	}
	return made
}

// isGone reports whether a call that follows a run may go on later: no server answers, it is closing or busy, or the
// connection was lost in the middle. grpc-go says Canceled where the connection was closed, and Internal where a proxy
// has reset the stream.
func isGone(err error) bool {
	var found *Error
	if !errors.As(err, &found) {
		return false
	}
	switch found.Reason {
	case "SERVER_STOPPING", "TOO_MANY_CALLS":
		return true
	case "":
		switch found.Code {
		case codes.Unavailable, codes.Canceled, codes.Internal, codes.DeadlineExceeded:
			return true
		}
	}
	return false
}
