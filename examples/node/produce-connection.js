// Writes a connection of each named tenant: node produce-connection.js BOOTSTRAP TENANT..., from the repository's root.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import avro from 'avsc'
import { Kafka, logLevel, Partitioners } from 'kafkajs'

const TOPIC = 'transport.connections.v1'
const [bootstrap, ...tenants] = process.argv.slice(2)

const newest = JSON.parse(readFileSync('schemas/registry.json'))[`${TOPIC}-value`].at(-1)
const type = avro.Type.forSchema(newest.schema)
const header = Buffer.alloc(5)
header.writeUInt32BE(newest.id, 1)

const event = tenant => ({
  event_id: randomUUID(), // a repeated event has the same one, and counts once
  observed_at: Date.now(),
  tenant_id: tenant,
  connector_id: `inbound-${tenant}`,
  connector_type: 'ON_PREMISES',
  source_ip: '192.0.2.1',
  helo: 'mx1.example.com',
  received: [
    'from client.example.com (10.0.0.5) by mx1.example.com (192.0.2.1) with Microsoft SMTP Server ' +
      'id 15.1.2507.39; Tue, 1 Sep 2026 00:00:00 +0000'
  ],
  outcome: 'ACCEPTED',
  recipients: 1
})

const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR })
// Murmur2 of the key, as Kafka's Java client has it; LegacyPartitioner is not, and workers check it.
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, allowAutoTopicCreation: false })
await producer.connect()
const messages = tenants.map(tenant => ({ key: tenant, value: Buffer.concat([header, type.toBuffer(event(tenant))]) }))
await producer.send({ topic: TOPIC, acks: -1, messages })
await producer.disconnect()
console.log(`${messages.length} written`)
