// Package kafka runs franz-go and sarama against the Kafka wire.
package kafka

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// limit is longer than any answer takes on a loaded machine.
const limit = 30 * time.Second

var count atomic.Int64

// unique returns a name that no other test or run has used.
func unique(prefix string) string {
	return fmt.Sprintf("%s_go_%d_%d", prefix, time.Now().UnixNano(), count.Add(1))
}

func bootstrap(t *testing.T) string {
	t.Helper()
	address := os.Getenv("KAFKA_BOOTSTRAP")
	if address == "" {
		t.Fatal("set KAFKA_BOOTSTRAP to host:port, or use compat-tests/run")
	}
	return address
}

// within gives each test one deadline for all that it does.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// franz returns a franz-go client that is closed with the test.
func franz(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap(t))}, options...)...)
	must(t, err)
	t.Cleanup(client.Close)
	return client
}

// topic makes a topic with a name of its own.
func topic(t *testing.T, prefix string, partitions int32, settings map[string]string) string {
	t.Helper()
	name := unique(prefix)
	configs := make(map[string]*string, len(settings))
	for key, value := range settings {
		configs[key] = &value
	}
	admin, ctx := kadm.NewClient(franz(t)), within(t)
	_, err := admin.CreateTopic(ctx, partitions, 1, configs, name)
	must(t, err)
	// Apache Kafka answers the creation before the partitions have leaders, and an idempotent producer with several
	// batches in flight may then never recover.
	for {
		offsets, err := admin.ListEndOffsets(ctx, name)
		if err == nil && offsets.Error() == nil && len(offsets[name]) == int(partitions) {
			return name
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s has no leaders: %v %v", name, err, offsets.Error())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, found, wanted T) {
	t.Helper()
	if found != wanted {
		t.Fatalf("%s: found %v, wanted %v", what, found, wanted)
	}
}

// values returns prefix-0, prefix-1, and so on.
func values(prefix string, count int) []string {
	all := make([]string, count)
	for index := range all {
		all[index] = fmt.Sprintf("%s-%d", prefix, index)
	}
	return all
}

// write produces values to one partition and waits for them.
func write(t *testing.T, client *kgo.Client, topic string, partition int32, values ...string) {
	t.Helper()
	records := make([]*kgo.Record, len(values))
	for index, value := range values {
		records[index] = &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}
	}
	must(t, client.ProduceSync(within(t), records...).FirstErr())
}

// read polls until it has wanted records.
func read(t *testing.T, client *kgo.Client, wanted int) []*kgo.Record {
	t.Helper()
	ctx := within(t)
	var found []*kgo.Record
	for len(found) < wanted {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d records came", len(found), wanted)
		}
		for _, problem := range fetches.Errors() {
			t.Fatal(problem.Err)
		}
		found = append(found, fetches.Records()...)
	}
	return found
}

// readFrom reads one partition from an offset.
func readFrom(t *testing.T, topic string, partition int32, offset kgo.Offset, wanted int) []*kgo.Record {
	t.Helper()
	client := franz(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: offset}}))
	return read(t, client, wanted)
}

func texts(records []*kgo.Record) []string {
	all := make([]string, len(records))
	for index, record := range records {
		all[index] = string(record.Value)
	}
	return all
}
