// Command upserter is a producer of the upserts suite, made with franz-go or sarama. See upserts/src/lib.rs for what it prints.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	library, topic := os.Args[1], os.Args[2]
	count, err := strconv.Atoi(os.Args[3])
	if err == nil {
		if library == "franz" {
			err = franz(topic, count)
		} else {
			err = throughSarama(topic, count)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func key(i int) string   { return fmt.Sprintf(`{"id":%d}`, i) }
func value(i int) string { return fmt.Sprintf(`{"n":%d}`, i) }

func franz(topic string, count int) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("KAFKA_BOOTSTRAP")),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(200*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	var records []*kgo.Record
	for i := range count {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(key(i)), Value: []byte(value(i))})
	}
	results := client.ProduceSync(context.Background(), records...)
	if err := results.FirstErr(); err != nil {
		return err
	}
	for i, record := range records {
		fmt.Println("offset", i, record.Offset)
	}
	return nil
}

func throughSarama(topic string, count int) error {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Net.MaxOpenRequests = 1
	// All in one batch.
	config.Producer.Flush.Messages = count
	producer, err := sarama.NewSyncProducer([]string{os.Getenv("KAFKA_BOOTSTRAP")}, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for i := range count {
		messages = append(messages, &sarama.ProducerMessage{
			Topic: topic, Key: sarama.StringEncoder(key(i)), Value: sarama.StringEncoder(value(i)),
		})
	}
	if err := producer.SendMessages(messages); err != nil {
		return err
	}
	for i, message := range messages {
		fmt.Println("offset", i, message.Offset)
	}
	return nil
}
