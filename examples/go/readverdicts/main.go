// Command readverdicts follows the verdicts as an edge host does: readverdicts BOOTSTRAP, from the repository's root. A line
// of stdin asks about a moment, as {"key": "tenant/server", "at": "2026-09-01T12:00:00.000Z"}; stdout has the answer.
package main

import (
	"encoding/json"
	"log"
	"os"
	"time"
)

func check(err error) {
	if err != nil {
		log.Fatal(err) // who follows no verdicts must not decide
	}
}

func main() {
	complete := make(chan struct{})
	go follow(os.Args[1], complete)
	<-complete
	questions, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	answers.SetEscapeHTML(false)
	var asked struct {
		Key string
		At  time.Time
	}
	for questions.Decode(&asked) == nil {
		answer := map[string]any{"verdict_id": nil, "action": "ACCEPT", "reply": nil}
		if found, isKnown := verdicts.Load(asked.Key); isKnown {
			answer["verdict_id"] = found.(*verdict).ID
			answer["action"], answer["reply"] = found.(*verdict).decide(asked.Key, asked.At.UnixMilli())
		}
		check(answers.Encode(answer))
	}
}
