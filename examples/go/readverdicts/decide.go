package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// A stage has an action in some minutes of every hour; moments are UTC milliseconds.
type stage struct {
	Stage    int   `avro:"stage"`
	StartsAt int64 `avro:"starts_at"`
	Throttle int   `avro:"throttle_minutes_per_hour"`
	Block    int   `avro:"block_minutes_per_hour"`
}

// A verdict has what decides of the record.
type verdict struct {
	ID               string  `avro:"verdict_id"`
	Stage            int     `avro:"stage"`
	Throttle         int     `avro:"throttle_minutes_per_hour"`
	Block            int     `avro:"block_minutes_per_hour"`
	Schedule         []stage `avro:"schedule"`
	PausedUntil      *int64  `avro:"paused_until"`
	TemplateThrottle *string `avro:"smtp_template_throttle"`
	TemplateBlock    *string `avro:"smtp_template_block"`
}

// decide says what is done with mail of this server at a moment, and the SMTP reply; nil where the mail is accepted.
func (v *verdict) decide(key string, at int64) (string, *string) {
	now := stage{Stage: v.Stage, Throttle: v.Throttle, Block: v.Block}
	next := ""
	for _, each := range v.Schedule { // the stages to come are in the verdict: they begin without another one
		if each.StartsAt <= at {
			now = each
		} else if each.Stage > now.Stage || each.Throttle > 0 || each.Block > 0 {
			next = time.UnixMilli(each.StartsAt).UTC().Format(" Next stage 2006-01-02T15:04:05.000Z.")
			break
		}
	}
	if v.PausedUntil != nil && at < *v.PausedUntil {
		now.Throttle, now.Block = 0, 0
	}
	// The minutes of a server begin at a minute of its own, so that not all servers share one.
	digest := sha256.Sum256([]byte(key))
	offset := int(binary.BigEndian.Uint64(digest[:8]) % 60)
	minute := (int(at/60_000%60) - offset + 60) % 60
	switch {
	case minute < now.Block:
		return "BLOCK", reply("550 5.7.230 ", v.TemplateBlock, "blocked", now.Block, next)
	case minute < now.Block+now.Throttle:
		return "THROTTLE", reply("450 4.7.230 ", v.TemplateThrottle, "throttled", now.Throttle, next)
	}
	return "ACCEPT", nil
}

// reply is one line that SMTP can carry, whatever the verdict's template has in it.
func reply(code string, template *string, verb string, minutes int, next string) *string {
	text := code + "Connecting Exchange server version is out-of-date; connection " + verb + " for {minutes} mins/hr."
	if template != nil && strings.HasPrefix(*template, code) && strings.TrimSpace((*template)[len(code):]) != "" {
		text = *template
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "{minutes}", fmt.Sprint(minutes)), "{next}", next)
	text = strings.Map(func(char rune) rune {
		if char < ' ' || char > '~' {
			return '?'
		}
		return char
	}, text)
	text = strings.TrimRight(text[:min(510, len(text))], " ")
	return &text
}
