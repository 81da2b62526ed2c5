// kafkajs against the Kafka wire. It brings gzip itself; other codecs would be further packages.
'use strict'

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { AssignerProtocol, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require('kafkajs')

const LIMIT_MS = 30_000
let count = 0
// A name that no other test or run has used.
const unique = (prefix) => `${prefix}_node_${Date.now()}_${process.pid}_${count++}`

if (!process.env.KAFKA_BOOTSTRAP) throw new Error('set KAFKA_BOOTSTRAP to host:port, or use compat-tests/run')
const kafka = new Kafka({ clientId: 'compat', brokers: [process.env.KAFKA_BOOTSTRAP], logLevel: logLevel.NOTHING })
const admin = kafka.admin()
before(() => admin.connect())
after(() => admin.disconnect())

// A topic with a name of its own.
async function topicOf(numPartitions = 1, settings = {}) {
  const topic = unique('topic')
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] })
  // Apache Kafka answers the creation before the partitions have leaders; this asks until they answer.
  await admin.fetchTopicOffsets(topic)
  return topic
}

async function write(topic, messages, { compression, idempotent = false, acks = -1 } = {}) {
  const producer = kafka.producer({ idempotent, allowAutoTopicCreation: false, retry: { retries: 3 } })
  await producer.connect()
  try {
    return await producer.send({ topic, messages, compression, acks })
  } finally {
    await producer.disconnect()
  }
}

// Reads until `wanted` records came, commits them, and leaves the group.
async function read(topic, wanted, { groupId = unique('group'), fromBeginning = true, ready = async () => {} } = {}) {
  const consumer = kafka.consumer({ groupId, heartbeatInterval: 500, sessionTimeout: 6000, maxWaitTimeInMs: 200 })
  const found = []
  let joined
  const inGroup = new Promise((resolve) => { joined = resolve })
  consumer.on(consumer.events.GROUP_JOIN, joined)
  await consumer.connect()
  try {
    await consumer.subscribe({ topic, fromBeginning })
    let enough
    const done = new Promise((resolve, reject) => {
      enough = resolve
      setTimeout(() => reject(new Error(`${found.length} of ${wanted} records came`)), LIMIT_MS).unref()
    })
    await consumer.run({
      autoCommit: true,
      autoCommitThreshold: 1,
      eachMessage: async ({ partition, message }) => {
        found.push({ partition, ...message })
        if (found.length >= wanted) enough()
      },
    })
    await inGroup
    await ready()
    await done
    return found
  } finally {
    await consumer.disconnect()
  }
}

// The first true answer; fails after LIMIT_MS.
async function until(condition, what) {
  const deadline = Date.now() + LIMIT_MS
  while (Date.now() < deadline) {
    const value = await condition()
    if (value) return value
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.fail(`${what}: not within ${LIMIT_MS} ms`)
}

const valuesOf = (records) => records.map(({ value }) => value && value.toString())

for (const codec of ['None', 'GZIP']) {
  test(`reads what it wrote with codec ${codec}`, async () => {
    const topic = await topicOf()
    const values = Array.from({ length: 200 }, (_, index) => `${codec}-${index}`.repeat(20))
    await write(topic, values.map((value) => ({ value })), { compression: CompressionTypes[codec] })
    const found = await read(topic, 200)
    assert.deepEqual(valuesOf(found), values)
    assert.deepEqual(found.map(({ offset }) => Number(offset)), values.map((_, index) => index))
  })
}

test('reads keys, headers, timestamps and nulls', async () => {
  const topic = await topicOf()
  await write(topic, [
    { key: 'key', value: 'value', timestamp: '1700000000123', headers: { one: '1', two: ['a', 'b'] } },
    { key: 'gone', value: null, timestamp: '1700000000124' },
  ])
  const [full, gone] = await read(topic, 2)
  assert.equal(full.key.toString(), 'key')
  assert.equal(full.timestamp, '1700000000123')
  assert.equal(full.headers.one.toString(), '1')
  assert.deepEqual(full.headers.two.map(String), ['a', 'b'])
  assert.equal(gone.value, null)
})

test('produces idempotently', async () => {
  const topic = await topicOf()
  const [{ baseOffset }] = await write(topic, Array.from({ length: 50 }, (_, i) => ({ value: `${i}` })), { idempotent: true })
  assert.equal(baseOffset, '0')
  assert.equal((await read(topic, 50))[49].value.toString(), '49')
})

test('a group resumes where it committed', async () => {
  const topic = await topicOf()
  const groupId = unique('group')
  await write(topic, [{ value: 'a' }, { value: 'b' }])
  assert.deepEqual(valuesOf(await read(topic, 2, { groupId })), ['a', 'b'])
  await write(topic, [{ value: 'c' }])
  assert.deepEqual(valuesOf(await read(topic, 1, { groupId })), ['c'])
})

test('a consumer from the end sees only what comes later', async () => {
  const topic = await topicOf()
  await write(topic, [{ value: 'old' }])
  // The end is looked up at the first fetch, so new records are written until one arrives.
  let writing = true
  const keepWriting = async () => {
    (async () => { while (writing) await write(topic, [{ value: 'new' }]) })().catch(() => {})
  }
  const [first] = await read(topic, 1, { fromBeginning: false, ready: keepWriting })
  writing = false
  assert.equal(first.value.toString(), 'new')
})

test('members share partitions and take over from one that leaves', async () => {
  const topic = await topicOf(4)
  const groupId = unique('group')
  const members = []
  for (let number = 0; number < 2; number++) {
    const consumer = kafka.consumer({ groupId, heartbeatInterval: 500, sessionTimeout: 6000, maxWaitTimeInMs: 200 })
    await consumer.connect()
    await consumer.subscribe({ topic })
    await consumer.run({ eachMessage: async () => {} })
    members.push(consumer)
  }
  const sizes = async () => {
    const { groups: [group] } = await admin.describeGroups([groupId])
    if (group.state !== 'Stable') return ''
    const assigned = group.members.map(({ memberAssignment }) =>
      AssignerProtocol.MemberAssignment.decode(memberAssignment).assignment[topic].length)
    return assigned.sort().join()
  }
  await until(async () => (await sizes()) === '2,2', 'two members with two partitions each')
  await members[1].disconnect()
  await until(async () => (await sizes()) === '4', 'one member with all partitions')
  await members[0].disconnect()
})

test('creates, grows, describes and deletes topics', async () => {
  const topic = await topicOf(2, { 'retention.ms': '3600000' })
  assert.equal(await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }), false, 'it exists')
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  const { topics: [{ partitions }] } = await admin.fetchTopicMetadata({ topics: [topic] })
  assert.equal(partitions.length, 3)
  assert.ok((await admin.listTopics()).includes(topic))
  await admin.deleteTopics({ topics: [topic] })
  await until(async () => !(await admin.listTopics()).includes(topic), 'gone')
})

test('describes and changes settings', async () => {
  const topic = await topicOf(1, { 'retention.ms': '3600000' })
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
  const setting = async () => {
    const { resources: [{ configEntries }] } = await admin.describeConfigs({ resources: [resource] })
    return configEntries.find(({ configName }) => configName === 'retention.ms').configValue
  }
  assert.equal(await setting(), '3600000')
  await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '7200000' }] }] })
  assert.equal(await setting(), '7200000')
})

test('finds offsets of ends and times, and deletes records', async () => {
  const topic = await topicOf()
  await write(topic, [0, 1, 2, 3].map((second) => ({ value: 'v', timestamp: `${1_700_000_000_000 + second * 1000}` })))
  const ends = async () => {
    const [{ low, high }] = await admin.fetchTopicOffsets(topic)
    return `${low}-${high}`
  }
  assert.equal(await ends(), '0-4')
  const [{ offset }] = await admin.fetchTopicOffsetsByTimestamp(topic, 1_700_000_001_500)
  assert.equal(offset, '2')
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '3' }] })
  assert.equal(await ends(), '3-4')
})

test('lists, describes and deletes groups and moves their offsets', async () => {
  const topic = await topicOf()
  const groupId = unique('group')
  await write(topic, [{ value: 'a' }, { value: 'b' }])
  await read(topic, 2, { groupId })
  assert.ok((await admin.listGroups()).groups.some((group) => group.groupId === groupId))
  assert.equal((await admin.describeGroups([groupId])).groups[0].state, 'Empty')
  const committed = async () => (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset
  assert.equal(await committed(), '2')
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '1' }] })
  assert.equal(await committed(), '1')
  await admin.deleteGroups([groupId])
  assert.ok(!(await admin.listGroups()).groups.some((group) => group.groupId === groupId))
})

test('describes the cluster', async () => {
  const { brokers, clusterId } = await admin.describeCluster()
  assert.ok(brokers.length > 0)
  assert.ok(clusterId.length > 0)
})
