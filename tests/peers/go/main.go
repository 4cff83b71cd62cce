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

// roles has a function for each; it returns when there is nothing left to do.
var roles = map[string]func(settings) error{
	"algorithms":   runAlgorithms,
	"client":       runClient,
	"login":        runLogin,
	"server":       runServer,
	"end_client":   runEndClient,
	"end_server":   runEndServer,
	"relay_client": runRelayClient,
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
	role, ok := roles[arguments[0]]
	if !ok {
		return fmt.Errorf("there is no role %q", arguments[0])
	}
	var chosen settings
	if err := json.Unmarshal([]byte(arguments[1]), &chosen); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	// This one needs no end: it has one.
	if arguments[0] != "algorithms" {
		go obey()
	}
	return role(chosen)
}
