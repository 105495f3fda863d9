// Follows the verdicts as an edge host does: node read-verdicts.js BOOTSTRAP, from the repository's root. A line of stdin asks
// about a moment, as {"key": "tenant/server", "at": "2026-09-01T12:00:00.000Z"}; stdout has the answer.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import avro from 'avsc'
import { Kafka, logLevel } from 'kafkajs'
import { decide } from './decide.js'

const TOPIC = 'enforcement.verdicts.v1'
const verdicts = new Map()
const reader = avro.Type.forSchema(JSON.parse(readFileSync('schemas/verdict.avsc')))
const resolvers = new Map()
for (const { id, schema } of JSON.parse(readFileSync('schemas/registry.json'))[`${TOPIC}-value`]) {
  resolvers.set(id, reader.createResolver(avro.Type.forSchema(schema)))
}

// Keep the table current: the last record of a key applies, and one without a value takes it away.
function take({ key, value }) {
  if (value === null) {
    verdicts.delete(key.toString())
  } else {
    verdicts.set(key.toString(), reader.decode(value, 5, resolvers.get(value.readUInt32BE(1))).value)
  }
}

// Kafka's transactions are filtered by the client, which reads what is committed unless it is told otherwise.
const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR })
const admin = kafka.admin()
await admin.connect()
const unread = new Map()
for (const { partition, low, high } of await admin.fetchTopicOffsets(TOPIC)) {
  if (BigInt(low) < BigInt(high)) unread.set(partition, BigInt(high))
}
await admin.disconnect()

// Every host needs every partition, from its beginning. The client insists on a group: this one has no other member.
const consumer = kafka.consumer({ groupId: `verdicts-${randomUUID()}`, allowAutoTopicCreation: false })
consumer.on(consumer.events.CRASH, () => process.exit(1)) // who follows no verdicts must not decide
const complete = new Promise(resolve => {
  if (unread.size === 0) resolve()
  consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
    // The last offset also passes the markers of transactions, which are no records.
    if (BigInt(lastOffset) + 1n >= (unread.get(partition) ?? 0n)) unread.delete(partition)
    if (unread.size === 0) resolve()
  })
})
await consumer.connect()
await consumer.subscribe({ topic: TOPIC, fromBeginning: true })
await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => take(message) })
await complete

for await (const line of createInterface({ input: process.stdin })) {
  const { key, at } = JSON.parse(line)
  const verdict = verdicts.get(key)
  const { action, reply } = verdict ? decide(key, verdict, Date.parse(at)) : { action: 'ACCEPT', reply: null }
  console.log(JSON.stringify({ verdict_id: verdict?.verdict_id ?? null, action, reply }))
}
await consumer.disconnect()
