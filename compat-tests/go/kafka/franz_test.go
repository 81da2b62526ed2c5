package kafka

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestFranzReadsWhatItWroteInEveryCodec(t *testing.T) {
	codecs := map[string]kgo.CompressionCodec{
		"none":   kgo.NoCompression(),
		"gzip":   kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(),
		"lz4":    kgo.Lz4Compression(),
		"zstd":   kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			topic := topic(t, "codec", 1, nil)
			client := franz(t, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			written := values(strings.Repeat(name, 20), 300)
			write(t, client, topic, 0, written...)
			records := readFrom(t, topic, 0, kgo.NewOffset().AtStart(), 300)
			if !slices.Equal(texts(records), written) {
				t.Fatal("other values came back")
			}
			equal(t, "last offset", records[299].Offset, 299)
		})
	}
}

func TestFranzReadsKeysHeadersTimestampsAndNulls(t *testing.T) {
	topic := topic(t, "fields", 1, nil)
	stamp := time.UnixMilli(1_700_000_000_123)
	full := &kgo.Record{
		Topic: topic, Key: []byte("key"), Value: []byte("value"), Timestamp: stamp,
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}},
	}
	client := franz(t)
	must(t, client.ProduceSync(within(t), full, &kgo.Record{Topic: topic, Key: []byte("gone")}).FirstErr())
	records := readFrom(t, topic, 0, kgo.NewOffset().AtStart(), 2)
	equal(t, "key", string(records[0].Key), "key")
	equal(t, "timestamp", records[0].Timestamp.UnixMilli(), stamp.UnixMilli())
	equal(t, "headers", len(records[0].Headers), 3)
	equal(t, "first header", string(records[0].Headers[0].Value), "1")
	equal(t, "null header", records[0].Headers[1].Value == nil, true)
	equal(t, "null value", records[1].Value == nil, true)
	equal(t, "key of the null value", string(records[1].Key), "gone")
}

func TestFranzStartsAtTheEndOrAtATime(t *testing.T) {
	topic := topic(t, "start", 1, nil)
	client := franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for index, value := range values("v", 4) {
		record := &kgo.Record{Topic: topic, Value: []byte(value), Timestamp: time.UnixMilli(1_700_000_000_000 + int64(index)*1000)}
		must(t, client.ProduceSync(within(t), record).FirstErr())
	}
	records := readFrom(t, topic, 0, kgo.NewOffset().AfterMilli(1_700_000_001_500), 2)
	equal(t, "first at or after the time", string(records[0].Value), "v-2")
	records = readFrom(t, topic, 0, kgo.NewOffset().AtEnd().Relative(-1), 1)
	equal(t, "one before the end", string(records[0].Value), "v-3")
}

func TestFranzListsOffsets(t *testing.T) {
	topic := topic(t, "offsets", 2, nil)
	client := franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for index, value := range values("v", 3) {
		record := &kgo.Record{Topic: topic, Partition: 1, Value: []byte(value), Timestamp: time.UnixMilli(1_700_000_009_000 - int64(index)*1000)}
		must(t, client.ProduceSync(within(t), record).FirstErr())
	}
	admin := kadm.NewClient(client)
	at := func(list kadm.ListedOffsets, err error) int64 {
		must(t, err)
		found, there := list.Lookup(topic, 1)
		equal(t, "listed", there, true)
		must(t, found.Err)
		return found.Offset
	}
	equal(t, "start", at(admin.ListStartOffsets(within(t), topic)), 0)
	equal(t, "end", at(admin.ListEndOffsets(within(t), topic)), 3)
	equal(t, "committed", at(admin.ListCommittedOffsets(within(t), topic)), 3)
	equal(t, "after a time", at(admin.ListOffsetsAfterMilli(within(t), 1_700_000_008_500, topic)), 0)
	equal(t, "largest timestamp", at(admin.ListMaxTimestampOffsets(within(t), topic)), 0)
}

func TestFranzFindsTopicsById(t *testing.T) {
	topic := topic(t, "id", 1, nil)
	admin := kadm.NewClient(franz(t))
	details, err := admin.ListTopics(within(t), topic)
	must(t, err)
	id := details[topic].ID
	equal(t, "an id", id != kadm.TopicID{}, true)
	deleted, err := admin.DeleteTopics(within(t), topic)
	must(t, err)
	must(t, deleted[topic].Err)
	_, err = admin.CreateTopic(within(t), 1, 1, nil, topic)
	must(t, err)
	// Another client: this one may still answer from what it knows.
	details, err = kadm.NewClient(franz(t)).ListTopics(within(t), topic)
	must(t, err)
	equal(t, "another topic of the same name has another id", details[topic].ID != id, true)
}

func TestFranzAdministratesTopics(t *testing.T) {
	topic := topic(t, "admin", 1, map[string]string{"retention.ms": "3600000"})
	admin := kadm.NewClient(franz(t))
	_, err := admin.CreateTopic(within(t), 1, 1, nil, topic)
	equal(t, "made twice", errors.Is(err, kerr.TopicAlreadyExists), true)
	grown, err := admin.CreatePartitions(within(t), 2, topic)
	must(t, err)
	must(t, grown.Error())
	details, err := admin.ListTopics(within(t), topic)
	must(t, err)
	equal(t, "partitions", len(details[topic].Partitions), 3)
	altered, err := admin.AlterTopicConfigs(within(t), []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "retention.bytes", Value: kadm.StringPtr("1000000")},
		{Op: kadm.DeleteConfig, Name: "retention.ms"},
	}, topic)
	must(t, err)
	must(t, altered[0].Err)
	configs, err := admin.DescribeTopicConfigs(within(t), topic)
	must(t, err)
	described, err := configs.On(topic, nil)
	must(t, err)
	equal(t, "set", setting(described, "retention.bytes"), "1000000")
	equal(t, "deleted goes back to the default", setting(described, "retention.ms"), "604800000")
}

func setting(resource kadm.ResourceConfig, name string) string {
	for _, config := range resource.Configs {
		if config.Key == name && config.Value != nil {
			return *config.Value
		}
	}
	return ""
}

func TestFranzDeletesRecords(t *testing.T) {
	topic := topic(t, "cut", 1, nil)
	client := franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	write(t, client, topic, 0, values("v", 10)...)
	var upTo kadm.Offsets
	upTo.Add(kadm.Offset{Topic: topic, Partition: 0, At: 7, LeaderEpoch: -1})
	answers, err := kadm.NewClient(client).DeleteRecords(within(t), upTo)
	must(t, err)
	must(t, answers.Error())
	records := readFrom(t, topic, 0, kgo.NewOffset().AtStart(), 3)
	equal(t, "first that is left", records[0].Offset, 7)
}

func TestFranzResumesWhereItsGroupCommitted(t *testing.T) {
	topic, group := topic(t, "resume", 2, nil), unique("group")
	client := franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	write(t, client, topic, 0, values("a", 5)...)
	write(t, client, topic, 1, values("b", 5)...)
	options := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
	first := franz(t, options...)
	records := read(t, first, 10)
	must(t, first.CommitRecords(within(t), records...))
	first.Close()
	write(t, client, topic, 1, "later")
	second := franz(t, options...)
	records = read(t, second, 1)
	equal(t, "the first uncommitted record", string(records[0].Value), "later")
}

func TestFranzSharesPartitionsInAGroup(t *testing.T) {
	for name, balancer := range map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "cooperative": kgo.CooperativeStickyBalancer(),
	} {
		t.Run(name, func(t *testing.T) {
			topic, group := topic(t, "shared", 4, nil), unique("group")
			options := []kgo.Opt{
				kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer),
				kgo.HeartbeatInterval(500 * time.Millisecond), kgo.SessionTimeout(6 * time.Second),
			}
			franz(t, options...)
			settle(t, group, 1)
			second := franz(t, options...)
			settle(t, group, 2)
			second.Close()
			settle(t, group, 1)
		})
	}
}

// settle waits until the group is stable with this many members, each with as many of the four partitions.
func settle(t *testing.T, group string, members int) {
	t.Helper()
	admin, ctx := kadm.NewClient(franz(t)), within(t)
	for {
		described, err := admin.DescribeGroups(ctx, group)
		must(t, err)
		found := described[group]
		if found.State == "Stable" && len(found.Members) == members {
			even := true
			for _, member := range found.Members {
				assigned, consumer := member.Assigned.AsConsumer()
				even = even && consumer && len(assigned.Topics) == 1 && len(assigned.Topics[0].Partitions) == 4/members
			}
			if even {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d members in state %s, wanted %d", len(found.Members), found.State, members)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestFranzKeepsAStaticMembersPlace(t *testing.T) {
	topic, group := topic(t, "static", 2, nil), unique("group")
	write(t, franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), topic, 0, "v")
	member := func() *kgo.Client {
		return franz(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.InstanceID("one"),
			kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	first := member()
	read(t, first, 1)
	_, generation := first.GroupMetadata()
	// A static member closes without leaving: the group waits for it.
	first.Close()
	second := member()
	read(t, second, 1)
	id, again := second.GroupMetadata()
	equal(t, "no rebalance", again, generation)
	equal(t, "a member id", id != "", true)
}

func TestFranzListsDescribesAndDeletesGroupsAndTheirOffsets(t *testing.T) {
	topic, group := topic(t, "groups", 1, nil), unique("group")
	client := franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	write(t, client, topic, 0, values("v", 5)...)
	admin := kadm.NewClient(client)
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: 3, LeaderEpoch: -1, Metadata: "note"})
	_, err := admin.CommitOffsets(within(t), group, offsets)
	must(t, err)
	fetched, err := admin.FetchOffsets(within(t), group)
	must(t, err)
	committed, there := fetched.Lookup(topic, 0)
	equal(t, "committed", there && committed.At == 3 && committed.Metadata == "note", true)
	lags, err := admin.Lag(within(t), group)
	must(t, err)
	equal(t, "lag", lags[group].Lag.Total(), 2)
	listed, err := admin.ListGroups(within(t))
	must(t, err)
	_, there = listed[group]
	equal(t, "listed", there, true)
	described, err := admin.DescribeGroups(within(t), group)
	must(t, err)
	equal(t, "state", described[group].State, "Empty")
	var set kadm.TopicsSet
	set.Add(topic, 0)
	removed, err := admin.DeleteOffsets(within(t), group, set)
	must(t, err)
	must(t, removed.Error())
	deleted, err := admin.DeleteGroups(within(t), group)
	must(t, err)
	// With its last offset a group may have gone by itself.
	if err := deleted[group].Err; err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		t.Fatal(err)
	}
}

func TestFranzSeesTheClusterAndItsLogDirectories(t *testing.T) {
	topic := topic(t, "dirs", 1, nil)
	client := franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	write(t, client, topic, 0, values("v", 100)...)
	admin := kadm.NewClient(client)
	metadata, err := admin.BrokerMetadata(within(t))
	must(t, err)
	equal(t, "a cluster id", metadata.Cluster != "", true)
	equal(t, "a controller", metadata.Controller >= 0, true)
	var set kadm.TopicsSet
	set.Add(topic, 0)
	directories, err := admin.DescribeAllLogDirs(within(t), set)
	must(t, err)
	size := int64(0)
	directories.Each(func(directory kadm.DescribedLogDir) { size += directory.Size() })
	equal(t, "a size", size > 0, true)
	versions, err := admin.ApiVersions(within(t))
	must(t, err)
	equal(t, "versions", len(versions) > 0, true)
}

func TestFranzDescribesProducers(t *testing.T) {
	topic := topic(t, "producers", 1, nil)
	client := franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	write(t, client, topic, 0, values("v", 3)...)
	id, _, err := client.ProducerID(within(t))
	must(t, err)
	var set kadm.TopicsSet
	set.Add(topic, 0)
	described, err := kadm.NewClient(client).DescribeProducers(within(t), set)
	must(t, err)
	producers := described[topic].Partitions[0].ActiveProducers.Sorted()
	equal(t, "producers", len(producers), 1)
	equal(t, "id", producers[0].ProducerID, id)
}

func TestFranzIsToldOfUnknownTopics(t *testing.T) {
	client := franz(t, kgo.UnknownTopicRetries(1), kgo.RecordDeliveryTimeout(5*time.Second))
	err := client.ProduceSync(within(t), &kgo.Record{Topic: unique("nowhere"), Value: []byte("x")}).FirstErr()
	equal(t, "unknown topic", errors.Is(err, kerr.UnknownTopicOrPartition), true)
}

func TestFranzReadsBackAnIdempotentProducersOrder(t *testing.T) {
	topic := topic(t, "idempotent", 1, nil)
	client := franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(2_000), kgo.ProducerLinger(0))
	written := values("v", 2_000)
	write(t, client, topic, 0, written...)
	if !slices.Equal(texts(readFrom(t, topic, 0, kgo.NewOffset().AtStart(), 2_000)), written) {
		t.Fatal("the order is another")
	}
}
