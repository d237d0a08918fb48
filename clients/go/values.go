package flujo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/flujo/flujo/clients/go/flujov1"
)

// Encode returns a value as JSON text. A json.RawMessage goes as it is.
func Encode(value any) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("flujo: %w", err)
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

// Decode reads JSON text into a value. A number that goes into an `any` is a json.Number, which keeps all its digits.
func Decode(text string, into any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("flujo: %w", err)
	}
	return nil
}

func payload(value any) (*flujov1.Payload, error) {
	if value == nil {
		return nil, nil
	}
	text, err := Encode(value)
	if err != nil {
		return nil, err
	}
	return &flujov1.Payload{Content: &flujov1.Payload_Json{Json: text}}, nil
}

// Text returns the JSON text of a value that came with a run or an event. A large one is read from the server: `runID`
// and `uid` are of the run it came with.
func (c *Client) Text(ctx context.Context, runID, uid string, value *flujov1.Payload) (string, error) {
	reference := value.GetReference()
	if reference == nil {
		return value.GetJson(), nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request := &flujov1.ReadPayloadRequest{RunId: runID, Uid: uid, Seq: reference.GetSeq(), Part: reference.GetPart()}
	stream, err := c.runs().ReadPayload(ctx, request)
	if err != nil {
		return "", toError(err)
	}
	var text bytes.Buffer
	for {
		piece, err := stream.Recv()
		if err == io.EOF {
			return text.String(), nil
		}
		if err != nil {
			return "", toError(err)
		}
		text.Write(piece.GetChunk())
	}
}

// StatusText returns a status as flujo says it everywhere: "completed". A status of a newer server is "unknown (42)".
func StatusText(status flujov1.RunStatus) string {
	return word(status.String(), "RUN_STATUS_", int32(status))
}

// word returns the name of an enum's value as a word.
func word(name, prefix string, number int32) string {
	short, known := strings.CutPrefix(name, prefix)
	if !known || number == 0 {
		return fmt.Sprintf("unknown (%d)", number)
	}
	return strings.ToLower(short)
}
