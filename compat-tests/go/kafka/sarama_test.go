package kafka

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V4_0_0_0
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return config
}

func saramaWrite(t *testing.T, config *sarama.Config, topic string, values ...string) {
	t.Helper()
	producer, err := sarama.NewSyncProducer([]string{bootstrap(t)}, config)
	must(t, err)
	t.Cleanup(func() { producer.Close() })
	messages := make([]*sarama.ProducerMessage, len(values))
	for index, value := range values {
		messages[index] = &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)}
	}
	must(t, producer.SendMessages(messages))
}

func saramaRead(t *testing.T, topic string, offset int64, wanted int) []*sarama.ConsumerMessage {
	t.Helper()
	consumer, err := sarama.NewConsumer([]string{bootstrap(t)}, saramaConfig())
	must(t, err)
	t.Cleanup(func() { consumer.Close() })
	partition, err := consumer.ConsumePartition(topic, 0, offset)
	must(t, err)
	t.Cleanup(func() { partition.Close() })
	ctx := within(t)
	var found []*sarama.ConsumerMessage
	for len(found) < wanted {
		select {
		case message := <-partition.Messages():
			found = append(found, message)
		case problem := <-partition.Errors():
			t.Fatal(problem)
		case <-ctx.Done():
			t.Fatalf("%d of %d records came", len(found), wanted)
		}
	}
	return found
}

func TestSaramaReadsWhatItWroteInEveryCodec(t *testing.T) {
	for _, codec := range []sarama.CompressionCodec{
		sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD,
	} {
		t.Run(codec.String(), func(t *testing.T) {
			topic, config := topic(t, "sarama", 1, nil), saramaConfig()
			config.Producer.Compression = codec
			written := values(strings.Repeat(codec.String(), 20), 200)
			saramaWrite(t, config, topic, written...)
			var found []string
			for _, message := range saramaRead(t, topic, sarama.OffsetOldest, 200) {
				found = append(found, string(message.Value))
			}
			if !slices.Equal(found, written) {
				t.Fatal("other values came back")
			}
		})
	}
}

func TestSaramaProducesIdempotently(t *testing.T) {
	topic, config := topic(t, "sarama", 1, nil), saramaConfig()
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	saramaWrite(t, config, topic, values("v", 100)...)
	messages := saramaRead(t, topic, 90, 10)
	equal(t, "value", string(messages[0].Value), "v-90")
}

func TestSaramaReadsKeysHeadersAndTimestamps(t *testing.T) {
	topic := topic(t, "sarama", 1, nil)
	producer, err := sarama.NewSyncProducer([]string{bootstrap(t)}, saramaConfig())
	must(t, err)
	defer producer.Close()
	stamp := time.UnixMilli(1_700_000_000_456)
	_, offset, err := producer.SendMessage(&sarama.ProducerMessage{
		Topic: topic, Key: sarama.StringEncoder("key"), Value: nil, Timestamp: stamp,
		Headers: []sarama.RecordHeader{{Key: []byte("a"), Value: []byte("1")}},
	})
	must(t, err)
	equal(t, "offset", offset, 0)
	message := saramaRead(t, topic, sarama.OffsetOldest, 1)[0]
	equal(t, "key", string(message.Key), "key")
	equal(t, "null value", len(message.Value), 0)
	equal(t, "timestamp", message.Timestamp.UnixMilli(), stamp.UnixMilli())
	equal(t, "header", string(message.Headers[0].Value), "1")
}

type collector struct {
	messages chan *sarama.ConsumerMessage
}

func (collector) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (collector) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (c collector) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		session.MarkMessage(message, "")
		session.Commit()
		c.messages <- message
	}
	return nil
}

// consume joins the group, waits for one record and leaves.
func consume(t *testing.T, group, topic string) string {
	t.Helper()
	config := saramaConfig()
	config.Consumer.Offsets.AutoCommit.Enable = false
	client, err := sarama.NewConsumerGroup([]string{bootstrap(t)}, group, config)
	must(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	handler := collector{messages: make(chan *sarama.ConsumerMessage, 1)}
	done := make(chan error, 1)
	go func() { done <- client.Consume(ctx, []string{topic}, handler) }()
	select {
	case message := <-handler.messages:
		cancel()
		<-done
		return string(message.Value)
	case err := <-done:
		t.Fatalf("the session ended before a record came: %v", err)
	}
	return ""
}

func TestSaramaResumesWhereItsGroupCommitted(t *testing.T) {
	topic, group := topic(t, "sarama", 1, nil), unique("group")
	saramaWrite(t, saramaConfig(), topic, "first")
	equal(t, "read", consume(t, group, topic), "first")
	saramaWrite(t, saramaConfig(), topic, "second")
	equal(t, "read after coming back", consume(t, group, topic), "second")
}

func TestSaramaAdministrates(t *testing.T) {
	admin, err := sarama.NewClusterAdmin([]string{bootstrap(t)}, saramaConfig())
	must(t, err)
	defer admin.Close()
	name := unique("sarama")
	retention := "3600000"
	detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &retention}}
	must(t, admin.CreateTopic(name, detail, false))
	err = admin.CreateTopic(name, detail, false)
	equal(t, "made twice", errors.Is(err, sarama.ErrTopicAlreadyExists), true)
	topics, err := admin.ListTopics()
	must(t, err)
	equal(t, "partitions", topics[name].NumPartitions, 2)
	must(t, admin.CreatePartitions(name, 3, nil, false))
	changed := "7200000"
	must(t, admin.IncrementalAlterConfig(sarama.TopicResource, name, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &changed},
	}, false))
	entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: name, ConfigNames: []string{"retention.ms"}})
	must(t, err)
	equal(t, "setting", entries[0].Value, changed)
	must(t, admin.DeleteTopic(name))
}

func TestSaramaFindsOffsetsByTime(t *testing.T) {
	topic := topic(t, "sarama", 1, nil)
	client, err := sarama.NewClient([]string{bootstrap(t)}, saramaConfig())
	must(t, err)
	defer client.Close()
	producer, err := sarama.NewSyncProducerFromClient(client)
	must(t, err)
	for index := range 3 {
		_, _, err = producer.SendMessage(&sarama.ProducerMessage{
			Topic: topic, Value: sarama.StringEncoder("v"), Timestamp: time.UnixMilli(1_700_000_000_000 + int64(index)*1000),
		})
		must(t, err)
	}
	offset, err := client.GetOffset(topic, 0, 1_700_000_000_500)
	must(t, err)
	equal(t, "offset", offset, 1)
	newest, err := client.GetOffset(topic, 0, sarama.OffsetNewest)
	must(t, err)
	equal(t, "newest", newest, 3)
}
