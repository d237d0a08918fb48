package flujo

import (
	"strings"
	"testing"

	"github.com/flujo/flujo/clients/go/flujov1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	for _, test := range []struct {
		address string
		options Options
		says    string
	}{
		{"", Options{}, "neither unix:PATH nor tcp://HOST:PORT"},
		{"unix:", Options{}, "names no file"},
		{"tcp://localhost", Options{}, "neither unix:PATH nor tcp://HOST:PORT"},
		{"tcp://example.org:7777", Options{Token: "t"}, "without TLS everybody"},
		{"tcp://localhost:7777", Options{CA: "/no/such/file"}, "no such file"},
		{"tcp://localhost:7777", Options{Key: "k"}, "go together"},
		{"tcp://localhost:7777", Options{Key: "k", Certificate: "c"}, "set Options.CA"},
		{"tcp://localhost:65536", Options{}, "neither unix:PATH nor tcp://HOST:PORT"},
		{"tcp://localhost:7777/path", Options{}, "neither unix:PATH nor tcp://HOST:PORT"},
		{"tcp://eve@localhost:7777", Options{}, "neither unix:PATH nor tcp://HOST:PORT"},
		{"dns:///localhost:7777", Options{}, "neither unix:PATH nor tcp://HOST:PORT"},
		{"unix:s", Options{Token: "secret\n"}, "visible ASCII"},
		{"unix:s", Options{Token: "sécret"}, "visible ASCII"},
	} {
		if _, err := New(test.address, test.options); err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "cret") {
			t.Errorf("%q: %v", test.address, err)
		}
	}
	for _, address := range []string{"unix:C#/a%41?", "unix:///run/flujo", "tcp://127.0.0.1:7777", "[::1]:7777", "localhost:7777"} {
		client, err := New(address)
		if err != nil {
			t.Errorf("%q: %v", address, err)
			continue
		}
		_ = client.Close()
	}
}

func TestAnErrorTellsWhatTheServerSaid(t *testing.T) {
	told, err := status.New(codes.InvalidArgument, "a name").WithDetails(
		&errdetails.ErrorInfo{Domain: "flujo", Reason: "INVALID_FIELD", Metadata: map[string]string{"hints": "do this\ndo that"}},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "labels[\"a\"]", Description: "no"}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	found := toError(told.Err()).(*Error)
	if found.Reason != "INVALID_FIELD" || len(found.Hints) != 2 || found.Fields[0] != (FieldError{"labels[\"a\"]", "no"}) {
		t.Errorf("it tells %+v", found)
	}
	if text := found.Error(); text != "flujo: a name\n  do this\n  do that" {
		t.Errorf("it reads %q", text)
	}
	if isGone(found) || ReasonOf(found) != "INVALID_FIELD" {
		t.Error("it is taken for a lost connection")
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	for _, text := range []string{"18446744073709551615", "[-9223372036854775808,0.1]", `{"<é\u0000>":null}`} {
		var value any
		if err := Decode(text, &value); err != nil {
			t.Fatal(err)
		}
		if again, err := Encode(value); err != nil || again != text {
			t.Errorf("%s became %s (%v)", text, again, err)
		}
	}
	if _, err := Encode(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}

func TestAStatusOfANewerServerIsShownAsUnknown(t *testing.T) {
	if found := StatusText(flujov1.RunStatus_RUN_STATUS_COMPLETED); found != "completed" {
		t.Error(found)
	}
	for _, number := range []flujov1.RunStatus{0, 42} {
		if found := StatusText(number); !strings.HasPrefix(found, "unknown (") {
			t.Error(found)
		}
	}
}
