// Command produceconnection writes a connection of each named tenant: produceconnection BOOTSTRAP TENANT..., from the
// repository's root.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
)

const topic = "transport.connections.v1"

type version struct {
	ID     uint32          `json:"id"`
	Schema json.RawMessage `json:"schema"`
}

func newest() (version, *avro.Schema, error) {
	var found version
	text, err := os.ReadFile("schemas/registry.json")
	if err != nil {
		return found, nil, err
	}
	var registry map[string][]version
	if err := json.Unmarshal(text, &registry); err != nil {
		return found, nil, err
	}
	versions := registry[topic+"-value"]
	found = versions[len(versions)-1]
	schema, err := avro.Parse(string(found.Schema))
	return found, schema, err
}

func main() {
	registered, schema, err := newest()
	if err != nil {
		log.Fatal(err)
	}
	// The client's own partitioner is murmur2 of the key, as Kafka's Java client has it; workers check it.
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.DefaultProduceTopic(topic))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, tenant := range os.Args[2:] {
		event := map[string]any{
			"event_id":       rand.Text(), // a repeated event has the same one, and counts once
			"observed_at":    time.Now().UnixMilli(),
			"tenant_id":      tenant,
			"connector_id":   "inbound-" + tenant,
			"connector_type": "ON_PREMISES",
			"source_ip":      "192.0.2.1",
			"helo":           "mx1.example.com",
			"received": []string{"from client.example.com (10.0.0.5) by mx1.example.com (192.0.2.1) with Microsoft SMTP " +
				"Server id 15.1.2507.39; Tue, 1 Sep 2026 00:00:00 +0000"},
			"outcome":    "ACCEPTED",
			"recipients": 1,
		}
		value, err := schema.AppendEncode(binary.BigEndian.AppendUint32([]byte{0}, registered.ID), event)
		if err != nil {
			log.Fatal(err)
		}
		record := &kgo.Record{Key: []byte(tenant), Value: value}
		if err := client.ProduceSync(context.Background(), record).FirstErr(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(len(os.Args)-2, "written")
}
