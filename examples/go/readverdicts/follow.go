package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"sync"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const topic = "enforcement.verdicts.v1"

var verdicts sync.Map // from key to *verdict

func schemas() map[uint32]*avro.Schema {
	var registry map[string][]struct {
		ID     uint32
		Schema json.RawMessage
	}
	text, err := os.ReadFile("schemas/registry.json")
	check(err)
	check(json.Unmarshal(text, &registry))
	text, err = os.ReadFile("schemas/verdict.avsc")
	check(err)
	reader, found := avro.MustParse(string(text)), map[uint32]*avro.Schema{}
	for _, version := range registry[topic+"-value"] {
		found[version.ID], err = avro.Resolve(avro.MustParse(string(version.Schema)), reader)
		check(err)
	}
	return found
}

// follow keeps the table current: the last record of a key applies, and one without a value takes it away.
func follow(bootstrap string, complete chan<- struct{}) {
	ctx, written := context.Background(), schemas()
	// No group: every host needs every partition, from its beginning. Control records tell where transactions end.
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	check(err)
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	check(err)
	starts, err := kadm.NewClient(client).ListStartOffsets(ctx, topic)
	check(err)
	unread := map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		check(end.Err)
		if start, _ := starts.Lookup(topic, end.Partition); start.Offset < end.Offset {
			unread[end.Partition] = end.Offset
		}
	})
	for isComplete := false; ; {
		if !isComplete && len(unread) == 0 {
			close(complete)
			isComplete = true
		}
		fetches := client.PollFetches(ctx)
		check(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			if !record.Attrs.IsControl() && record.Value == nil {
				verdicts.Delete(string(record.Key))
			} else if !record.Attrs.IsControl() {
				found := &verdict{}
				_, err := written[binary.BigEndian.Uint32(record.Value[1:])].Decode(record.Value[5:], found, avro.SkipUnknown())
				check(err)
				verdicts.Store(string(record.Key), found)
			}
			if record.Offset+1 >= unread[record.Partition] {
				delete(unread, record.Partition)
			}
		})
	}
}
