// The driver of the client in Go: commands in, answers out, as clients/conformance/README.md says.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	flujo "github.com/flujo/flujo/clients/go"
	"github.com/flujo/flujo/clients/go/flujov1"
	"google.golang.org/grpc/codes"
)

type command struct {
	Do, Client, Address, Token, CA, Certificate, Key string
	CallSeconds                                      any `json:"call_seconds"`
	Workflow, Name, Step, Inputs, Payload            string
	RunID                                            string   `json:"run_id"`
	RunIDs                                           []string `json:"run_ids"`
	RequestID                                        string   `json:"request_id"`
	NewRunID                                         string   `json:"new_run_id"`
	IDPrefix                                         string   `json:"id_prefix"`
	LeaveAt                                          string   `json:"leave_at"`
	Labels                                           map[string]string
	Definition, Flow                                 string
	SkipSteps                                        []string `json:"skip_steps"`
	StartFrom                                        string   `json:"start_from"`
	Timeout                                          float64
	Statuses                                         []string
	DryRun                                           bool `json:"dry_run"`
	Bare                                             bool
	Starts                                           []command
}

type object = map[string]any

var (
	printing sync.Mutex
	clients  = map[string]*flujo.Client{}
)

func say(line object) {
	text, err := flujo.Encode(line)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(text)
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		given := command{Client: "main"}
		if err := json.Unmarshal(line, &given); err != nil {
			panic(err)
		}
		answer, err := perform(context.Background(), given)
		if err != nil {
			say(object{"error": told(err)})
		} else {
			say(object{"ok": answer})
		}
	}
}

func told(err error) object {
	var found *flujo.Error
	if !errors.As(err, &found) {
		return object{"message": err.Error()}
	}
	fields := []string{}
	for _, each := range found.Fields {
		fields = append(fields, each.Field)
	}
	return object{"code": codeText(found.Code), "reason": found.Reason, "message": found.Message, "fields": fields, "hints": found.Hints}
}

// codeText returns a code as gRPC's documents spell it.
func codeText(code codes.Code) string {
	spaced := ""
	for i, letter := range code.String() {
		if i > 0 && letter >= 'A' && letter <= 'Z' {
			spaced += "_"
		}
		spaced += string(letter)
	}
	return strings.ToUpper(spaced)
}

// decoded reads the JSON text of a command as the client reads values.
func decoded(text string) any {
	if text == "" {
		return nil
	}
	var value any
	if err := flujo.Decode(text, &value); err != nil {
		panic(err)
	}
	return value
}

func open(given command) error {
	options := flujo.Options{Token: given.Token, CA: given.CA, Certificate: given.Certificate, Key: given.Key}
	switch seconds := given.CallSeconds.(type) {
	case float64:
		options.CallTimeout = time.Duration(seconds * float64(time.Second))
	case string:
		options.CallTimeout = -1
	}
	client, err := flujo.New(given.Address, options)
	if err != nil {
		return err
	}
	if old := clients[given.Client]; old != nil {
		_ = old.Close()
	}
	clients[given.Client] = client
	return nil
}

func perform(ctx context.Context, given command) (object, error) {
	if given.Do == "open" {
		return object{}, open(given)
	}
	client := clients[given.Client]
	switch given.Do {
	case "start":
		started, err := client.Start(ctx, given.Workflow, decoded(given.Inputs), startOptions(given))
		return object{"run_id": started.RunID, "created": started.Created}, err
	case "starts":
		return starts(ctx, client, given.Starts)
	case "get":
		run, err := client.Get(ctx, given.RunID)
		return object{"status": flujo.StatusText(run.GetStatus()), "seq": fmt.Sprint(run.GetSeq())}, err
	case "list":
		found := []string{}
		for run, err := range client.List(ctx, &flujov1.RunFilter{IdPrefix: given.IDPrefix}) {
			if err != nil {
				return nil, err
			}
			found = append(found, run.GetRunId())
		}
		return object{"run_ids": found}, nil
	case "wait":
		return wait(ctx, client, given.RunID)
	case "follow":
		return follow(ctx, client, given)
	case "follows":
		return follows(ctx, client, given.RunIDs)
	case "time":
		return timed(ctx, client, given)
	case "signal":
		outcome, err := client.Signal(ctx, given.RunID, given.Name, decoded(given.Payload), given.RequestID)
		return object{"outcome": outcome}, err
	case "cancel":
		outcome, err := client.Cancel(ctx, given.RunID, "")
		return object{"outcome": outcome}, err
	case "pause":
		outcome, err := client.Pause(ctx, given.RunID, "")
		return object{"outcome": outcome}, err
	case "resume":
		run, err := client.Resume(ctx, given.RunID, flujo.ResumeOptions{Inputs: decoded(given.Inputs)})
		return object{"run_id": run.GetRunId()}, err
	case "retry":
		run, err := client.Retry(ctx, given.RunID, given.Step)
		return object{"run_id": run.GetRunId()}, err
	case "fork":
		started, err := client.Fork(ctx, given.RunID, flujo.ForkOptions{NewRunID: given.NewRunID, Inputs: decoded(given.Inputs)})
		return object{"run_id": started.RunID, "created": started.Created}, err
	case "prune":
		return prune(ctx, client, given)
	}
	return nil, fmt.Errorf("no command %q", given.Do)
}

func startOptions(given command) flujo.StartOptions {
	return flujo.StartOptions{
		RunID: given.RunID, RequestID: given.RequestID, Labels: given.Labels, Definition: given.Definition, Flow: given.Flow,
		SkipSteps: given.SkipSteps, StartFrom: given.StartFrom, Timeout: time.Duration(given.Timeout * float64(time.Second)),
	}
}

func starts(ctx context.Context, client *flujo.Client, asked []command) (object, error) {
	runs := []flujo.NewRun{}
	for _, each := range asked {
		runs = append(runs, flujo.NewRun{Workflow: each.Workflow, Inputs: decoded(each.Inputs), StartOptions: startOptions(each)})
	}
	outcomes, err := client.StartRuns(ctx, runs)
	answers := []object{}
	for _, each := range outcomes {
		if each.Err != nil {
			answers = append(answers, object{"error": told(each.Err)})
		} else {
			answers = append(answers, object{"run_id": each.RunID, "created": each.Created})
		}
	}
	return object{"outcomes": answers}, err
}

func wait(ctx context.Context, client *flujo.Client, runID string) (object, error) {
	run, err := client.Wait(ctx, runID)
	if err != nil {
		return nil, err
	}
	answer := object{"status": flujo.StatusText(run.GetStatus())}
	if run.GetStatus() != flujov1.RunStatus_RUN_STATUS_COMPLETED {
		return answer, nil
	}
	var output any
	if err := client.Result(ctx, runID, &output); err != nil {
		return nil, err
	}
	answer["output"], err = flujo.Encode(output)
	return answer, err
}

func follow(ctx context.Context, client *flujo.Client, given command) (object, error) {
	for event, err := range client.Follow(ctx, given.RunID, flujo.FromStart) {
		if err != nil {
			return nil, err
		}
		seq := fmt.Sprint(event.GetSeq())
		say(object{"event": object{"seq": seq, "type": event.GetType()}})
		if seq == given.LeaveAt {
			return object{"left": true}, nil
		}
	}
	run, err := client.Get(ctx, given.RunID)
	return object{"status": flujo.StatusText(run.GetStatus())}, err
}

func follows(ctx context.Context, client *flujo.Client, runIDs []string) (object, error) {
	counts, errs := make([]int, len(runIDs)), make([]error, len(runIDs))
	var all, begun sync.WaitGroup
	begun.Add(len(runIDs))
	for i, runID := range runIDs {
		all.Go(func() {
			for _, err := range client.Follow(ctx, runID, flujo.FromStart) {
				if errs[i] = err; err == nil {
					counts[i]++
				}
				if counts[i] == 1 {
					begun.Done()
				}
			}
		})
	}
	begun.Wait()
	say(object{"event": object{"open": len(runIDs)}})
	all.Wait()
	return object{"events": counts}, errors.Join(errs...)
}

func timed(ctx context.Context, client *flujo.Client, given command) (object, error) {
	began, count := time.Now(), 0
	if !given.Bare {
		for _, err := range client.Follow(ctx, given.RunID, flujo.FromStart) {
			if err != nil {
				return nil, err
			}
			count++
		}
		return object{"seconds": time.Since(began).Seconds(), "events": count}, nil
	}
	stream, err := client.Service().WatchRun(ctx, &flujov1.WatchRunRequest{RunId: given.RunID})
	for err == nil {
		var message *flujov1.WatchRunResponse
		message, err = stream.Recv()
		count += len(message.GetEvents().GetEvents())
	}
	if err != io.EOF {
		return nil, err
	}
	return object{"seconds": time.Since(began).Seconds(), "events": count}, nil
}

func prune(ctx context.Context, client *flujo.Client, given command) (object, error) {
	filter := &flujov1.RunFilter{IdPrefix: given.IDPrefix}
	for _, name := range given.Statuses {
		filter.Statuses = append(filter.Statuses, flujov1.RunStatus(flujov1.RunStatus_value["RUN_STATUS_"+strings.ToUpper(name)]))
	}
	answer, err := client.Prune(ctx, &flujov1.PruneRunsRequest{Filter: filter, DryRun: given.DryRun})
	return object{"total": answer.GetTotal()}, err
}
