// Package flujo is a client of a flujo server, which runs workflows whose steps survive crashes.
//
//	client, err := flujo.New("unix:.flujo/server.sock")
//	…
//	defer client.Close()
//	started, err := client.Start(ctx, "hello", map[string]any{"whom": "Ada"}, flujo.StartOptions{RunID: "hello-1"})
//	for event, err := range client.Follow(ctx, started.RunID, flujo.FromStart) { … }
//	var output struct{ Greeting string }
//	err = client.Result(ctx, started.RunID, &output)
//
// A run lives in the server: it ends with no call, client or program. Follow, Wait and Result go on when the
// connection is lost or the server is restarted; every other call fails at once with an [Error], and may be repeated with
// the same RequestID, with which it is carried out once.
package flujo
