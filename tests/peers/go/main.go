// An SSH peer on golang.org/x/crypto/ssh that the harness runs: `peer ROLE SETTINGS`, the settings a JSON object.
//
// It tells what happens as JSON lines on stdout, logs for people on stderr, and ends when its stdin does, so that it
// cannot outlive the test that started it.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
)

// roles has a function for each. It lasts until it fails, or until stdin ends.
var roles = map[string]func(settings) error{
	"client":       runClient,
	"login":        runLogin,
	"server":       runServer,
	"end_client":   runEndClient,
	"end_server":   runEndServer,
	"relay_client": runRelayClient,
}

// tools are roles that only tell something. They take no commands, and may be started without a stdin.
var tools = map[string]func(settings) error{
	"algorithms": runAlgorithms,
	"certify":    runCertify,
}

func main() {
	log.SetFlags(log.Lmicroseconds)
	if err := run(os.Args[1:]); err != nil {
		say("error", fields{"message": err.Error()})
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("peer ROLE SETTINGS")
	}
	var chosen settings
	if err := json.Unmarshal([]byte(arguments[1]), &chosen); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if tool, ok := tools[arguments[0]]; ok {
		return tool(chosen)
	}
	role, ok := roles[arguments[0]]
	if !ok {
		return fmt.Errorf("there is no role %q", arguments[0])
	}
	go obey()
	return role(chosen)
}
