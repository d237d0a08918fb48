// Starts a run, shows how far it is, also while the server is killed and started again, prints its result, lists the runs
// of its workflow, and forgets those that have ended.
//
//	go run ./examples/bar unix:.flujo/server.sock
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	flujo "github.com/flujo/flujo/clients/go"
	"github.com/flujo/flujo/clients/go/flujov1"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: bar ADDRESS")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := show(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func show(ctx context.Context, address string) error {
	client, err := flujo.New(address, flujo.Options{Token: os.Getenv("FLUJO_TOKEN"), CA: os.Getenv("FLUJO_TLS_CA")})
	if err != nil {
		return err
	}
	defer client.Close()
	started, err := client.Start(ctx, "ten-parts", map[string]any{"pause": "1s"}, flujo.StartOptions{Labels: map[string]string{"from": "go"}})
	if err != nil {
		return err
	}
	done := 0
	for event, err := range client.Follow(ctx, started.RunID, flujo.FromStart) {
		if err != nil {
			return err
		}
		if strings.HasPrefix(event.GetStepCompleted().GetStep(), "parts[") {
			done++
			fmt.Printf("\r[%-10s] %d of 10", strings.Repeat("#", done), done)
		}
	}
	fmt.Println()
	var result map[string]any
	if err := client.Result(ctx, started.RunID, &result); err != nil {
		return err
	}
	fmt.Println("result:", result)
	for run, err := range client.List(ctx, &flujov1.RunFilter{Workflow: "ten-parts"}) {
		if err != nil {
			return err
		}
		fmt.Println(run.GetRunId(), flujo.StatusText(run.GetStatus()), run.GetCreatedAt().AsTime().Format(time.RFC3339))
	}
	pruned, err := client.Prune(ctx, &flujov1.PruneRunsRequest{Filter: &flujov1.RunFilter{Workflow: "ten-parts"}})
	if err != nil {
		return err
	}
	fmt.Println("forgotten:", pruned.GetTotal())
	return nil
}
