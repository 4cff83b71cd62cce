package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"
	"strings"
	"sync"
)

// fields are what an event tells beside its name.
type fields map[string]any

var stdout sync.Mutex

// say tells the harness that something has happened.
func say(event string, more fields) {
	told := fields{"event": event}
	for name, value := range more {
		told[name] = value
	}
	line, err := json.Marshal(told)
	if err != nil {
		log.Fatal(err)
	}
	stdout.Lock()
	defer stdout.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

// commands are the lines of stdin, for the roles that take any.
var commands = make(chan command, 64)

// command is a line of stdin: an object, or the name of a command that needs nothing else. Each kind of command uses some of
// the members.
type command struct {
	Do      string `json:"do"`
	Channel string `json:"channel"`
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	// Fields are in hexadecimal digits.
	Fields string `json:"fields"`
	Reply  bool   `json:"reply"`
	Stderr bool   `json:"stderr"`
	Length int64  `json:"length"`
}

// obey hands on the commands, and ends the program with stdin.
func obey() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		given := command{Do: lines.Text()}
		if strings.HasPrefix(given.Do, "{") {
			if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
				log.Fatalf("a command that is none: %v", err)
			}
		}
		commands <- given
	}
	os.Exit(0)
}
