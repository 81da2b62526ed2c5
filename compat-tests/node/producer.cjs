// kafkajs as a program that sends what it reads. See harness/src/producer.rs for the lines.
'use strict'

const { Kafka, logLevel } = require('kafkajs')
const readline = require('node:readline')

const retry = { retries: Number.MAX_SAFE_INTEGER, initialRetryTime: 50, maxRetryTime: 200 }
const text = (part) => (part === '-' ? null : part)

async function main() {
  const kafka = new Kafka({ clientId: 'producer', brokers: [process.argv[2]], logLevel: logLevel.NOTHING, retry })
  const producer = kafka.producer({ idempotent: true, allowAutoTopicCreation: false })
  await producer.connect()
  let read = []
  let ended = false
  let wake = () => {}
  const lines = readline.createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    read.push(line.split('\t'))
    wake()
  })
  lines.on('close', () => {
    ended = true
    wake()
  })
  // An idempotent producer of kafkajs has one batch in flight: all lines that have come meanwhile.
  for (let first = 0; ; ) {
    if (read.length === 0) {
      if (ended) break
      await new Promise((resolve) => (wake = resolve))
      continue
    }
    const batch = read
    read = []
    const topics = new Map()
    for (const [topic, key, value] of batch) {
      if (!topics.has(topic)) topics.set(topic, [])
      topics.get(topic).push({ key: text(key), value: text(value) })
    }
    const topicMessages = [...topics].map(([topic, messages]) => ({ topic, messages }))
    const outcome = await producer.sendBatch({ topicMessages }).then(
      () => null,
      (error) => error
    )
    for (let i = 0; i < batch.length; i++) {
      console.log(outcome ? `failed ${first + i} ${outcome.name} ${outcome.message}` : `ok ${first + i}`)
    }
    first += batch.length
  }
  await producer.disconnect()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
