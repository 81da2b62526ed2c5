// A producer of the upserts suite, made with kafkajs. See upserts/src/lib.rs for what it prints.
'use strict'

const { Kafka, logLevel } = require('kafkajs')

const [topic, count] = [process.argv[3], Number(process.argv[4])]

async function main() {
  const kafka = new Kafka({ clientId: 'upserter', brokers: [process.env.KAFKA_BOOTSTRAP], logLevel: logLevel.NOTHING })
  const producer = kafka.producer({ idempotent: true, allowAutoTopicCreation: false })
  await producer.connect()
  const messages = Array.from({ length: count }, (_, i) => ({ partition: 0, key: `{"id":${i}}`, value: `{"n":${i}}` }))
  // One result for each partition: kafkajs has no offsets of single records.
  const results = await producer.send({ topic, messages })
  await producer.disconnect()
  for (let i = 0; i < count; i++) console.log('offset', i, results[0].baseOffset)
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
